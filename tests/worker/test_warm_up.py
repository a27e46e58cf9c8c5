"""Warming up, with an engine that obeys the test."""

import dataclasses

from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.stages.motion import CUT_ABOVE, STILL_BELOW, Picture, Seen, measure
from brushcast_worker.warm_up import warm_up
from tests.worker.conftest import Clock
from tests.worker.loop_rig import FakeEngine

INK = Preset(name="ink", title="Ink", prompt="ink")


def test_it_runs_whole_chunks_and_tells_the_cost_of_each(clock: Clock) -> None:
    engine = FakeEngine(clock, steps=(1, 2))
    engine.info = dataclasses.replace(engine.info, warm_up_chunks=4)
    assert warm_up(engine, INK, Size(64, 64), clock) == [10_000_000] * 4
    assert len(engine.batches) == 4


def test_it_is_one_scene_that_moves(clock: Clock) -> None:
    """After a cut a stream begins anew, and what it needs from then on would not be there."""
    engine = FakeEngine(clock)
    engine.info = dataclasses.replace(engine.info, warm_up_chunks=3)
    warm_up(engine, INK, Size(64, 64), clock)
    seen = None
    for number, (job,) in enumerate(engine.batches):
        motion = measure(job.chunk.pixels, seen)
        if number:
            assert motion.peak >= STILL_BELOW
            assert motion.cut < CUT_ABOVE
        last = Picture(job.chunk.pixels[-1], None)
        seen = Seen(last, last)
    assert seen is not None
