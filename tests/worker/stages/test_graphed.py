"""Static rows give what every stream gives alone, operator by operator: on a GPU by graphs, here by
what stands for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from brushcast.frame import Pixels, Size
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk, read_back
from brushcast_worker.engine import Job
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.causal_state import CausalState
from brushcast_worker.engines.pocket import random_pocket
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from tests.worker.conftest import SIZE, chunks, moving, rolling
from tests.worker.stages.recording import record

Presets = dict[str, Preset]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
# 0..255: how far bfloat16 may be off (an H200, trained weights: 2 at most); a look is 100 away.
LEVELS = {"cpu": 0, "cuda": 4}
OUTLIERS = 1e-3  # of the pixels may be further off


class Tape:
    """One stream's pictures as they were put out, and how."""

    def __init__(self, engine: CausalEngine, preset: Preset, size: Size = SIZE) -> None:
        self.state: CausalState = engine.open(preset, size)
        self.preset, self.steps = preset, 1
        self.pictures: list[Pixels] = []
        self.seqs: list[int] = []
        self.reused: list[bool] = []

    def job(self, chunk: Chunk) -> Job:
        return Job(state=self.state, chunk=chunk, preset=self.preset, steps=self.steps)

    def put(self, chunk: Chunk) -> None:
        self.pictures += read_back(chunk).pictures
        self.seqs += chunk.seqs
        self.reused += [chunk.reused] * len(chunk.seqs)


def tick(engine: CausalEngine, tapes: Sequence[Tape], sent: Sequence[Chunk]) -> None:
    if isinstance(engine._networks, Graphed):  # with the pictures there, as on a GPU
        sent = [
            dataclasses.replace(chunk, levels_THWC=torch.from_numpy(np.stack(chunk.pixels)))
            if chunk.levels_THWC is None
            else chunk
            for chunk in sent
        ]
    jobs = [tape.job(chunk) for tape, chunk in zip(tapes, sent, strict=True)]
    engine.step(jobs, lambda n, chunk: tapes[n].put(chunk))


def engines(device: str) -> Iterator[CausalEngine]:
    """The same one operator by operator, and by way of static rows: graphs, or what stands for
    them."""
    for eager in (True, False):
        engine = random_pocket(device)
        parts = _networks(engine)
        if eager:
            engine._networks = Eager(*parts)
        else:
            graphed = Graphed(*parts, torch.device(device), capture=device == "cuda")
            if device == "cpu":
                record(graphed.graphs)
            engine._networks = graphed
        yield engine


def _networks(engine: CausalEngine) -> tuple[object, object, torch.dtype]:
    old = engine._networks
    return old._transformer, old._autoencoder, old._dtype  # type: ignore[attr-defined]


def assert_alike(device: str, tapes: Sequence[Tape], wanted: Sequence[Tape]) -> None:
    for tape, want in zip(tapes, wanted, strict=True):
        assert tape.seqs == want.seqs
        assert len(tape.pictures) == len(want.pictures) > 0
        for got, like in zip(tape.pictures, want.pictures, strict=True):
            off = np.abs(got.astype(int) - like.astype(int))
            wrong = (off > LEVELS[device]).mean()
            assert wrong <= OUTLIERS, (wrong, off.max(), off.mean())
            assert device == "cuda" or off.max() <= 1  # batched products round elsewhere


def looks(presets: Presets) -> list[Preset]:
    return [
        dataclasses.replace(presets[name], seed=seed)
        for seed, name in enumerate(("ink", "neon", "watercolour", "ink", "neon"))
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_streams_in_any_company_get_what_they_get_alone(device: str, presets: Presets) -> None:
    """Each begins at another time, so their caches stand in all states at once; every second one is
    painted in two steps."""
    sources = [chunks(moving(64, seed=seed), device) for seed in range(5)]
    companies = [[0], [0, 1], [0, 1, 2, 3, 4], [2, 0], [1, 3, 4], [4, 1, 0], [0, 1, 2, 3, 4], [3]]
    companies *= 2
    eager, graphed = engines(device)
    together = [Tape(graphed, look) for look in looks(presets)]
    alone = [Tape(eager, look) for look in looks(presets)]
    for n, tape in [*enumerate(together), *enumerate(alone)]:
        tape.steps = 1 + n % 2
    at = [0] * 5
    for company in companies:
        sent = [sources[n][at[n]] for n in company]
        tick(graphed, [together[n] for n in company], sent)
        for n in company:
            tick(eager, [alone[n]], [sources[n][at[n]]])
            at[n] += 1
    assert_alike(device, together, alone)


@pytest.mark.parametrize("device", DEVICES)
def test_a_look_a_seed_and_the_steps_may_change(device: str, presets: Presets) -> None:
    source = chunks(moving(80), device)
    tapes = []
    for engine in engines(device):
        tape, other = Tape(engine, presets["ink"]), Tape(engine, presets["neon"])
        for number, chunk in enumerate(source):
            if number == 3:
                tape.preset = presets["neon"]
            if number == 9:
                tape.preset = dataclasses.replace(presets["neon"], seed=99)
            tape.steps = 2 if 6 <= number < 12 else 1
            tick(engine, [tape, other], [chunk, chunk])
        tapes.append((tape, other))
    assert tapes[0][0].seqs == list(range(80))
    assert_alike(device, tapes[1], tapes[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps", [1, 2])
def test_cuts_and_still_pictures(device: str, steps: int, presets: Presets) -> None:
    dark = [picture // 4 for picture in moving(20, seed=3)]
    bright = [255 - picture // 4 for picture in moving(20, seed=4)]
    source = chunks([*dark, *[dark[-1]] * 20, *bright, *dark], device)
    tapes, scenes = [], []
    for engine in engines(device):
        tape, other = Tape(engine, presets["ink"]), Tape(engine, presets["neon"])
        tape.steps = steps
        for number, chunk in enumerate(source):
            tick(engine, [tape, other], [chunk, source[-1 - number]])
            scenes.append(tape.state.temporal)
        tapes.append((tape, other))
    assert any(tapes[0][0].reused)
    assert tapes[0][0].reused == tapes[1][0].reused
    assert len({id(scene) for scene in scenes[: len(source)]}) == 3
    assert_alike(device, tapes[1], tapes[0])


def test_a_streams_memory_is_its_own(presets: Presets) -> None:
    """What its ticks left must not change with the next streams that pass through the same rows."""
    _, engine = engines("cpu")
    source = chunks(moving(24), "cpu")
    first, second = Tape(engine, presets["ink"]), Tape(engine, presets["neon"])
    first.steps = second.steps = 2
    for chunk in source[:3]:  # from here on everything is replayed
        tick(engine, [second], [chunk])
    kept: list[Chunk] = []
    for chunk in source[:2]:
        engine.step([first.job(chunk)], lambda _, painted: kept.append(painted))
    temporal, (frame,) = first.state.temporal, first.state.under_way
    assert temporal.encoder is not None
    assert temporal.decoder is not None
    mine = [kept[0].x_TCHW, *temporal.encoder, *temporal.decoder, frame.x0_CHW, frame.source_CHW]
    mine += [x for cache in temporal.caches for x in rolling(cache).stored()]
    before = [x.clone() for x in mine]
    assert all(x.any() for x in before)
    pictures = np.array(read_back(kept[0]).pictures)
    for chunk in source[3:]:
        tick(engine, [second], [chunk])
    assert all(torch.equal(a, b) for a, b in zip(mine, before, strict=True))
    assert np.array_equal(read_back(kept[0]).pictures, pictures)
    from_device = read_back(dataclasses.replace(kept[0], arrival=None))
    assert np.array_equal(from_device.pictures, pictures)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_finite_is_told_for_its_stream_alone(device: str, presets: Presets) -> None:
    _, engine = engines(device)
    tapes = [Tape(engine, presets[name]) for name in ("ink", "neon")]
    source = chunks(moving(8), device)
    tick(engine, tapes, [source[0]] * 2)
    temporal = tapes[0].state.temporal
    temporal.noise_CHW = torch.full_like(temporal.noise_CHW, torch.nan)
    highs: dict[int, float] = {}
    jobs = [tape.job(source[1]) for tape in tapes]
    engine.step(jobs, lambda n, chunk: highs.update({n: read_back(chunk).high}))
    assert np.isnan(highs[0])
    assert np.isfinite(highs[1])


@pytest.mark.gpu
def test_one_graph_a_stage_serves_all_that_a_stream_goes_through(presets: Presets) -> None:
    engine = random_pocket("cuda")
    networks = engine._networks
    assert isinstance(networks, Graphed)
    tape = Tape(engine, presets["ink"])
    dark = [picture // 4 for picture in moving(40, seed=3)]
    bright = [255 - picture // 4 for picture in moving(20, seed=4)]
    for chunk in chunks([*dark, *bright], "cuda"):
        tick(engine, [tape], [chunk])
    assert networks.graphs.recorded == 4  # motion, encode, denoise, decode


@pytest.mark.gpu
def test_the_same_jobs_give_the_same_bits_by_graph(presets: Presets) -> None:
    engine = random_pocket("cuda")
    runs = []
    for _ in range(3):
        tape = Tape(engine, presets["ink"])
        for chunk in chunks(moving(24), "cuda"):
            tick(engine, [tape], [chunk])
        runs.append(tape.pictures)
    assert np.array_equal(runs[1], runs[2])
    assert np.abs(np.array(runs[0], int) - np.array(runs[1], int)).max() <= LEVELS["cuda"]
