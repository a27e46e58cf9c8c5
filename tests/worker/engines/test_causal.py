"""What the causal engine does beyond the promises of every engine (tests/worker/test_engine.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from brushcast.errors import OutOfMemory
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk
from brushcast_worker.engine import Job
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.causal_state import CausalState
from brushcast_worker.engines.pocket import random_pocket
from brushcast_worker.engines.wan import ROWS, random_wan, wan_engine
from brushcast_worker.models.dit import DiT
from brushcast_worker.quirks import Quirks
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from brushcast_worker.stages.look import FADE_CHUNKS
from brushcast_worker.stages.schedule import sigma_table, wan_steps
from tests.worker.conftest import SIZE, chunks, moving, outcome, rolling

Presets = dict[str, Preset]


class Stages:
    """A timer that only writes down."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, stage: str) -> None:
        self.seen.append(stage)


def step(
    engine: CausalEngine, state: CausalState, chunk: Chunk, preset: Preset, steps: int = 1
) -> Chunk | None:
    return outcome(engine, [Job(state=state, chunk=chunk, preset=preset, steps=steps)])[0]


def test_the_stages_come_in_the_order_of_the_map(presets: Presets) -> None:
    stages = Stages()
    engine = random_pocket("cpu", timer=stages)
    state = engine.open(presets["ink"], SIZE)
    source = chunks(moving(4) + [moving(4)[-1]] * 8)
    for chunk in source:
        step(engine, state, chunk, presets["ink"])
    painting = {"decode"}  # once more for every part that came out
    assert painting == {*stages.seen[3 : stages.seen.index("other")]}
    computed = ["motion", "encode", "denoise", *["decode"] * stages.seen.count("decode"), "other"]
    assert stages.seen == [*computed, "motion", "other", "motion", "other"]


def test_a_cut_makes_a_new_memory_and_leaves_the_old_ones_frames_theirs(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    dark = [picture // 4 for picture in moving(12, seed=3)]
    bright = [255 - picture // 4 for picture in moving(12, seed=4)]
    source = chunks([*dark, *bright])
    seqs: list[int] = []
    for chunk in source[:3]:
        result = step(engine, state, chunk, presets["ink"], 2)
        seqs += result.seqs if result is not None else ()
    old = state.temporal
    result = step(engine, state, source[3], presets["ink"], 2)
    assert result is not None
    assert state.temporal is not old
    assert state.temporal.caches[0].filled == 1
    assert old.caches[1].filled == 3
    assert [*seqs, *result.seqs] == list(range(12))


def test_a_pan_across_one_scene_keeps_its_memory(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    before = state.temporal
    for chunk in chunks(moving(32, speed_px=11)):
        step(engine, state, chunk, presets["ink"])
    assert state.temporal is before


def test_another_seed_is_another_noise_and_a_new_memory(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    source = chunks(moving(8))
    step(engine, state, source[0], presets["ink"])
    before = state.temporal
    step(engine, state, source[1], dataclasses.replace(presets["ink"], seed=1))
    assert not torch.equal(state.temporal.noise_CHW, before.noise_CHW)


def test_the_noise_of_a_stream_is_fixed(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    noise_CHW = state.temporal.noise_CHW.clone()
    for chunk in chunks(moving(24)):
        step(engine, state, chunk, presets["ink"])
    assert torch.equal(state.temporal.noise_CHW, noise_CHW)


def test_fast_motion_lowers_the_noise(presets: Presets) -> None:
    engine = random_pocket("cpu")
    levels = []
    for speed_px in (1, 24):
        state = engine.open(presets["ink"], SIZE)
        faint = [100 + picture // 8 for picture in moving(24, speed_px=speed_px)]
        for chunk in chunks(faint):
            step(engine, state, chunk, presets["ink"])
        assert state.temporal.level is not None
        levels.append(state.temporal.level)
    assert levels[1] < levels[0]


def test_the_prompts_keys_are_made_once_unless_the_look_changes(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    source = chunks(moving(60))
    contexts = []
    for tick, chunk in enumerate(source):
        step(engine, state, chunk, presets["ink" if tick < 5 else "neon"])
        contexts.append(id(state.context))
    assert len(set(contexts[:5])) == 1
    assert len(set(contexts[5 : 5 + FADE_CHUNKS])) == FADE_CHUNKS
    assert len(set(contexts[5 + FADE_CHUNKS :])) <= 2


def test_memory_per_stream_does_not_grow(presets: Presets) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)

    def held_bytes() -> int:
        temporal = state.temporal
        tensors = [temporal.noise_CHW, *(temporal.encoder or ()), *(temporal.decoder or ())]
        for cache in map(rolling, temporal.caches):
            tensors += [cache._k_LBSND, cache._v_LBSND]
        frames = [frame.x0_CHW for frame in state.under_way]
        return sum(tensor.nbytes for tensor in tensors + frames)

    sizes = []
    for chunk in chunks(moving(80)):
        step(engine, state, chunk, presets["ink"], 2)
        sizes.append(held_bytes())
    assert len(set(sizes[2:])) == 1
    assert len(state.under_way) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes"),
    ],
)
def test_running_out_of_memory_is_told_as_such(
    error: Exception, presets: Presets, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(engine._networks, "encode", fail)
    with pytest.raises(OutOfMemory, match="96x64, 1 streams"):
        step(engine, state, chunks(moving(4))[0], presets["ink"])


def test_other_errors_of_a_model_stay_what_they_are(
    presets: Presets, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = random_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)

    def fail(*_: object) -> None:
        raise RuntimeError("a shape")

    monkeypatch.setattr(engine._networks, "encode", fail)
    with pytest.raises(RuntimeError, match="a shape"):
        step(engine, state, chunks(moving(4))[0], presets["ink"])


@pytest.mark.parametrize(
    ("device", "networks"), [("cpu", Eager), pytest.param("cuda", Graphed, marks=pytest.mark.gpu)]
)
def test_graphs_are_for_gpus_alone(device: str, networks: type) -> None:
    assert type(random_pocket(device)._networks) is networks


@pytest.mark.parametrize("form", ["pixel", "latent"])
def test_what_moves_lowers_the_noise_for_as_long_as_is_asked(form: Any, presets: Presets) -> None:
    """A hand that goes by: still before it and after it."""
    here = moving(1)[0]
    source = [here] * 8 + moving(8, speed_px=9)[4:] + [here] * 16

    def levels(window: int) -> list[float]:
        quirks = Quirks(noise=form, noise_window=window)
        engine = random_pocket("cpu", quirks=quirks)
        state, found = engine.open(presets["ink"], SIZE), []
        for chunk in chunks([picture + n % 2 for n, picture in enumerate(source)]):
            step(engine, state, chunk, presets["ink"])
            assert state.temporal.level is not None
            found.append(state.temporal.level)
        return found

    short, long = levels(1), levels(3)
    assert short[2] < min(*short[:2], *short[4:]) - 1e-3
    assert max(long[2:6]) < long[1] - 0.02, "remembered"
    assert long[6] > max(long[2:6]) + 0.02


def painted(
    engine: CausalEngine, names: Sequence[str], presets: Presets, steps: Sequence[int]
) -> tuple[list[torch.Tensor], CausalState]:
    """A steadily moving scene, one look a chunk: the pictures that came out, and the state."""
    state, seen = engine.open(presets[names[0]], SIZE), []
    for tick, chunk in enumerate(chunks(moving(4 * len(names)))):
        result = step(engine, state, chunk, presets[names[tick]], steps[tick % len(steps)])
        if result is not None:
            seen.append(result.x_TCHW.clone())
    return seen, state


def keys(state: CausalState) -> torch.Tensor:
    """Of the sinks of every step."""
    sinks = state.temporal.sinks
    return torch.stack([rolling(cache).stored()[0][:, :sinks] for cache in state.temporal.caches])


@pytest.mark.parametrize("steps", [1, 2])
def test_a_new_prompt_leaves_no_sink_of_the_old_one(steps: int, presets: Presets) -> None:
    """What a stream has that never had another, where the noise is the same."""
    made, kept = (random_wan("wan-small", "cpu", quirks=Quirks(recache=on)) for on in (True, False))
    for engine in (made, kept):
        engine._schedule = lambda count, _: wan_steps(count, 0.5, sigma_table())
    names = ["ink"] * 7 + ["neon"] * 6
    _, ever = painted(made, ["neon"] * 13, presets, [steps])
    _, anew = painted(made, names, presets, [steps])
    _, stale = painted(kept, names, presets, [steps])
    off, off_stale = (float((keys(s) - keys(ever)).abs().mean()) for s in (anew, stale))
    assert off < 1e-5 < off_stale
    assert made.counts(anew)["made anew"] == anew.temporal.sinks
    assert kept.counts(stale)["made anew"] == 0


def test_every_sink_is_made_anew_whatever_changes_meanwhile(presets: Presets) -> None:
    """A prompt changed again in the middle, steps that rise and fall."""
    engine = three_sinks()
    names = ["ink"] * 9 + ["neon"] * 2 + ["oil"] * 10
    steps = [2] * 10 + [1] + [3] * 3 + [2] * 7
    result, state = painted(engine, names, presets, steps)
    assert state.temporal.made_under == [state.look] * 3 == [2] * 3
    # Two for neon before oil came; all three for that.
    assert engine.counts(state)["made anew"] == 5
    assert len(state.temporal.caches) == 2
    assert sum(len(x) for x in result) == 4 * (len(names) - 1)
    _, always = painted(engine, ["oil"] * len(names), presets, [2])
    assert float((keys(state) - keys(always)).abs().mean()) < 0.02


def test_one_sink_a_chunk_and_every_chunk_comes_out(presets: Presets) -> None:
    engine = three_sinks()
    state = engine.open(presets["ink"], SIZE)
    before, seqs = 0, []
    for tick, chunk in enumerate(chunks(moving(64))):
        result = step(engine, state, chunk, presets["ink" if tick < 8 else "neon"], 1)
        assert result is not None
        seqs += result.seqs
        now = engine.counts(state)["made anew"]
        assert now - before == (tick in (8, 9, 10))
        before = now
    assert seqs == list(range(64))


def test_a_scene_that_begins_while_the_look_changes_has_nothing_to_make_anew_but_its_own(
    presets: Presets,
) -> None:
    engine = three_sinks()
    state = engine.open(presets["ink"], SIZE)
    dark = [picture // 4 for picture in moving(36, seed=3)]
    bright = [255 - picture // 4 for picture in moving(36, seed=4)]
    for tick, chunk in enumerate(chunks([*dark, *bright])):
        step(engine, state, chunk, presets["ink" if tick < 8 else "neon"])
    counts = engine.counts(state)
    assert counts["cuts"] == 1
    # One of the scene before; its lead and its first latent frame lie in the fade.
    assert counts["made anew"] == 1 + 2
    assert state.temporal.made_under == [1, 1, 1]


def test_what_the_memory_did_is_counted(presets: Presets) -> None:
    engine = random_pocket("cpu", quirks=Quirks(sinks=0.99))
    state = engine.open(presets["ink"], SIZE)
    dark = [picture // 4 for picture in moving(16, seed=3)]
    bright = [255 - picture // 4 for picture in moving(16, seed=4)]
    slow = [(a * (1 - n / 16) + b * (n / 16)).astype("uint8")
            for n, (a, b) in enumerate(zip(bright, dark, strict=True))]  # fmt: skip
    for chunk in chunks([*dark, *[dark[-1]] * 8, *bright, *slow]):
        step(engine, state, chunk, presets["ink"])
    counts = engine.counts(state)
    assert (counts["chunks"], counts["remembered"], counts["cuts"]) == (14, 12, 1)
    assert counts["still"] == 2
    assert counts["replaced"] > 0


def three_sinks() -> CausalEngine:
    """The published window, small."""
    config = dataclasses.replace(ROWS["wan-small"].transformer, sinks=3, window=6)
    torch.manual_seed(0)
    transformer = DiT(config).eval().requires_grad_(False)
    like: Any = random_wan("wan-small", "cpu")
    vae, device = like._networks._autoencoder._autoencoder, torch.device("cpu")
    return wan_engine("wan-small", transformer, vae, like._looks, device, torch.float32, None)


@pytest.mark.parametrize("name", ["wan-small", "wan-small-tiny"])
def test_streams_that_are_decoded_one_by_one_are_the_same(name: str, presets: Presets) -> None:
    """Once three at a time were too many."""
    whole, parts = (random_wan(name, "cpu") for _ in range(2))
    assert parts._portions.too_many(SIZE, 3)
    rows: list[int] = []
    decode = parts._networks.decode

    def counted(x0_TCHW: Sequence[torch.Tensor], *others: Any) -> Any:
        rows.append(len(x0_TCHW))
        return decode(x0_TCHW, *others)

    parts._networks.decode = counted
    painted: list[list[torch.Tensor]] = [[], []]
    for engine, out in zip((whole, parts), painted, strict=True):
        states = [engine.open(presets["ink"], SIZE) for _ in range(3)]
        for chunk in chunks(moving(16)):
            jobs = [
                Job(state=state, chunk=chunk, preset=presets["ink"], steps=2) for state in states
            ]
            out += [found.x_TCHW for found in outcome(engine, jobs) if found is not None]
    assert set(rows) == {1}
    torch.testing.assert_close(torch.cat(painted[1]), torch.cat(painted[0]), atol=1e-5, rtol=0)


def test_a_decode_without_room_is_tried_again_with_less(presets: Presets) -> None:
    """First with fewer streams, then with one picture after the other; then it is over."""
    engine = random_wan("wan-small", "cpu")
    states = [engine.open(presets["ink"], SIZE) for _ in range(2)]
    again = []

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    engine._networks.decode = full
    (chunk,) = chunks(moving(4))
    for company in (states, states[:1], states[:1]):
        jobs = [
            Job(
                state=engine.open(presets["ink"], SIZE), chunk=chunk, preset=presets["ink"], steps=1
            )
            for _ in company
        ]
        with pytest.raises(OutOfMemory) as caught:
            engine.step(jobs, lambda *_: None)
        again.append(caught.value.again)
    assert again == [True, True, False]
