"""Health by what happened last. The clock is only a number."""

from __future__ import annotations

from brushcast.health import Health, Verdict

S = 1_000_000_000


def test_a_loop_that_turns_is_live_and_one_that_stops_is_stuck() -> None:
    health = Health(0)
    assert health.live(2 * S) == Verdict(True, "live")
    assert health.live(2 * S + 1) == Verdict(False, "stuck")
    health.turned(5 * S)
    assert health.live(7 * S).good


def test_ready_is_a_finished_picture_and_nothing_else() -> None:
    health = Health(0)
    health.explain("loading")
    health.turned(10 * S)
    assert health.ready(10 * S) == Verdict(False, "loading")
    health.frame_done(10 * S)
    health.turned(12 * S)
    assert health.ready(12 * S) == Verdict(True, "ready")
    health.explain("held")
    assert health.ready(12 * S + 1) == Verdict(False, "held")


def test_a_stuck_loop_is_never_ready() -> None:
    health = Health(0)
    health.frame_done(3 * S)
    assert health.ready(3 * S) == Verdict(False, "stuck")
