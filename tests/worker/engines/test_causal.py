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
from brushcast_worker.engines.causal import CausalEngine, CausalState
from brushcast_worker.engines.pocket import random_pocket
from brushcast_worker.engines.wan import random_wan
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from brushcast_worker.stages.look import FADE_CHUNKS
from tests.worker.conftest import SIZE, chunks, moving, outcome

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
        for cache in temporal.caches:
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

    parts._networks.decode = counted  # type: ignore[method-assign]
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
