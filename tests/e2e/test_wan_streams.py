"""The Wan engines behind the worker's loop: pictures that come late, memory that does not do."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.engine import load_engine
from brushcast_worker.engines.wan import random_wan
from brushcast_worker.mail import Changed, Problem
from brushcast_worker.stages.cache import Cache, Grid, RollingCache
from tests.worker.conftest import Clock, moving
from tests.worker.loop_rig import STATE, A, B, Rig


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("lossless", [False, True])
def test_a_real_late_engine_gives_every_picture_back(clock: Clock, lossless: bool) -> None:
    engine = load_engine("wan-small-tiny-random", "cpu")
    rig = Rig(clock, real=engine).open(steps=2, lossless=lossless)
    pictures = moving(22, Size(64, 64))
    for seq in range(22):
        rig.send(seq, end=lossless and seq == 21, allowed_ms=600, pictures=pictures).turn(2)
        clock.sleep_ms(33)
    for _ in range(40):
        rig.turn()
        clock.sleep_ms(20)
    assert rig.painted() == list(range(22))
    assert rig.refused() == []


def test_a_new_stream_that_does_not_fit_leaves_the_others_alone(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool cannot double: the largest picture gets smaller, and that is the newest one's."""
    engine = random_wan("wan-small", "cpu")
    rig = Rig(clock, real=engine).open(A).send(*range(8)).turn(2)
    before = rig.loop._sessions[A].engine_state
    cache, calls = engine._networks.cache, iter((True, *[False] * 99))

    def full(grid: Grid) -> Cache:
        if next(calls):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return cache(grid)

    monkeypatch.setattr(engine._networks, "cache", full)
    rig.open(B, width=96, height=96).send(*range(8, 16))
    rig.send(*range(8), stream=B, pictures=moving(8, Size(96, 96))).turn(6)
    rig.send(*range(16, 20)).send(*range(8, 12), stream=B, pictures=moving(12, Size(96, 96)))
    rig.turn(6)
    assert rig.loop._sessions[A].engine_state is before
    assert rig.painted(A) == list(range(16))  # two steps: a chunk is still inside
    assert rig.painted(B) == list(range(12)), "a smaller picture, and one step"
    assert rig.refused() == []
    (message,) = [letter.message for letter in rig.posted if isinstance(letter, Problem)]
    assert message.startswith("out of memory at 96x96: the picture is now painted at ")
    assert rig.loop._sessions[B].size.area_px < 96 * 96


def test_a_further_step_that_does_not_fit_leaves_the_others_alone(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = random_wan("wan-small", "cpu")
    rig = Rig(clock, real=engine).open(A, width=96, height=96).open(B, width=96, height=96)
    pictures = moving(24, Size(96, 96))
    for stream in (A, B):
        rig.send(*range(8), stream=stream, pictures=pictures)
    rig.turn(6)
    states = [rig.loop._sessions[stream].engine_state for stream in (A, B)]

    def full(_: object) -> Cache:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr(RollingCache, "fork", full)
    rig.inbox.put(Changed(B, dataclasses.replace(STATE, revision=2, width=96, height=96, steps=4)))
    for stream in (A, B):
        rig.send(*range(8, 12), stream=stream, pictures=pictures)
    rig.turn(3)
    assert rig.loop._sessions[A].engine_state is states[0]
    assert rig.loop._sessions[B].engine_state is not states[1]
    assert rig.problems() == [("memory", False)]


def test_what_ran_out_of_memory_is_let_go_before_less_is_asked_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = random_wan("wan-small", "cpu")
    rig = Rig(clock, real=engine).open(width=96, height=96)
    pictures = moving(16, Size(96, 96))
    rig.send(*range(8), pictures=pictures).turn(2)
    state = rig.loop._sessions[A].engine_state
    assert state is not None
    temporal = state.temporal
    held = [weakref.ref(temporal.noise_CHW), weakref.ref(temporal.caches[0])]
    del temporal, state
    open_state, left = engine.open, []

    def opened(preset: Preset, size: Size) -> object:
        left.append([reference() is not None for reference in held])
        return open_state(preset, size)

    def full(rows: object) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr(engine, "open", opened)
    with monkeypatch.context() as patch:
        patch.setattr(engine._networks, "denoise", full)
        rig.send(*range(8, 12), pictures=pictures).turn()
    rig.send(*range(12, 16), pictures=pictures).turn(3)
    assert left == [[False, False]]


def test_streams_that_cannot_be_decoded_together_are_decoded_one_after_the_other(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = random_wan("wan-small", "cpu")
    decode: Callable[..., Any] = engine._networks.decode

    def short(x0_TCHW: Sequence[torch.Tensor], *others: Any) -> Any:
        if len(x0_TCHW) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return decode(x0_TCHW, *others)

    monkeypatch.setattr(engine._networks, "decode", short)
    rig = Rig(clock, real=engine).open(A, steps=1).open(B, steps=1, seed=8)
    for first in range(0, 16, 4):
        rig.send(*range(first, first + 4)).send(*range(first, first + 4), stream=B).turn(3)
    assert rig.painted(A) == rig.painted(B) == list(range(16))
    assert rig.refused() == []
    told = [letter.message for letter in rig.posted if isinstance(letter, Problem)]
    assert told == ["out of memory at 64x64: from now on less is painted at once"] * 2
    assert rig.loop._sessions[A].size == Size(64, 64)
