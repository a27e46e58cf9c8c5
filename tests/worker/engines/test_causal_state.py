"""What a stream keeps: names first in, first out; finished latent frames by scene."""

from __future__ import annotations

import dataclasses

import torch

from brushcast.presets import Preset
from brushcast_worker.engines.causal_state import (
    MIXED,
    CausalState,
    LatentFrame,
    Temporal,
    again,
    finished,
    latents,
    source,
)
from brushcast_worker.engines.pocket import random_pocket
from brushcast_worker.engines.wan import random_wan
from brushcast_worker.stages.schedule import Step
from tests.worker.conftest import SIZE, chunks, moving, rolling

STEP = Step(timestep=0.0, sigma=0.0, level=0.0)


def opened(presets: dict[str, Preset]) -> CausalState:
    state = random_pocket("cpu").open(presets["ink"], SIZE)
    assert isinstance(state, CausalState)
    return state


def frame(temporal: Temporal, done: int, *lead: float) -> LatentFrame:
    (chunk,) = chunks(moving(4))
    latent = torch.full((1,), float(done))
    before = [torch.full((1,), value) for value in lead]
    return LatentFrame(chunk, temporal, latent, latent, (STEP, STEP), None, before, done=done)


def test_names_go_in_the_order_in_which_they_came(presets: dict[str, Preset]) -> None:
    state = opened(presets)
    for chunk in chunks(moving(8)):
        state.take(chunk)
    assert state.give(3)[0] == (0, 1, 2)
    assert state.give(5)[0] == (3, 4, 5, 6, 7)
    assert state.came == 8
    assert not state.names


def test_only_the_oldest_finished_ones_come_out_in_runs_of_one_scene(
    presets: dict[str, Preset],
) -> None:
    state = opened(presets)
    before, after = state.temporal, dataclasses.replace(state.temporal)
    frames = [frame(before, 2), frame(before, 2), frame(after, 2), frame(after, 1)]
    frames.append(frame(after, 2))  # it waits for the one before it
    state.under_way = list(frames)
    assert finished(state) == [frames[:2], frames[2:3]]
    assert state.under_way == frames[3:]
    assert finished(state) == []


def test_a_run_is_decoded_with_what_its_stream_begins_with_in_front(
    presets: dict[str, Preset],
) -> None:
    run = [frame(opened(presets).temporal, 2, 7.0, 8.0), frame(opened(presets).temporal, 2)]
    assert [x.item() for x in latents(run)] == [7.0, 8.0, 2.0, 2.0]
    assert source(run).shape[0] == 8
    assert source(run[:1]) is run[0].chunk.x_TCHW


def test_a_picture_again_has_the_names_that_wait(presets: dict[str, Preset]) -> None:
    state = opened(presets)
    first, second = chunks(moving(8))
    state.take(second)
    shown = again(state, first, 2)
    assert shown.reused
    assert shown.seqs == (4, 5)
    assert torch.equal(shown.x_TCHW[1], first.x_TCHW[-1])


def test_a_sink_is_stale_once_every_cache_has_it_and_the_look_is_another(
    presets: dict[str, Preset],
) -> None:
    state = random_wan("wan-small", "cpu").open(presets["ink"], SIZE)
    temporal = state.temporal
    first, second = map(rolling, temporal.caches)
    state.note_sinks()
    assert temporal.made_under == []
    first.begin()
    state.note_sinks()
    state.note_sinks()
    assert temporal.made_under == [0]
    assert temporal.stale_sink(0) is None
    assert temporal.stale_sink(1) is None  # the second step has not got there
    second.begin()
    assert temporal.stale_sink(1) == 0


def test_a_sink_made_under_a_mixture_is_of_no_look(presets: dict[str, Preset]) -> None:
    state = random_wan("wan-small", "cpu").open(presets["ink"], SIZE)
    state.fade = state.fade.towards(state.fade.end)
    for cache in map(rolling, state.temporal.caches):
        cache.begin()
    state.note_sinks()
    assert state.temporal.made_under == [MIXED]
    assert state.temporal.stale_sink(0) == 0
