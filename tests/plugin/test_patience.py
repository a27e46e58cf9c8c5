"""Patience with children, with a clock that is only a number."""

from brushcast.patience import TURN_MOST_S, Patience

SECOND_NS = 1_000_000_000


def pass_s(patience: Patience, begin_s: float, seconds: float) -> list[str]:
    """Looks ten times a second; all that were named."""
    named: list[str] = []
    for turn in range(round(10 * seconds) + 1):
        named += patience.overdue(round((begin_s + turn / 10) * SECOND_NS))
    return named


def test_a_child_that_is_silent_is_named_once_and_one_that_speaks_never() -> None:
    patience = Patience()
    patience.expect("camera", 5)
    patience.expect("bridge", 5)
    assert pass_s(patience, 0, 4) == []
    patience.expect("bridge", 5)
    assert pass_s(patience, 4, 3) == ["camera"]
    assert pass_s(patience, 7, 1.5) == []
    assert pass_s(patience, 8.5, 60) == ["bridge"]


def test_what_is_forgotten_is_not_waited_for() -> None:
    patience = Patience()
    patience.expect("worker", 5)
    patience.forget("worker")
    patience.forget("nobody")
    assert pass_s(patience, 0, 60) == []


def test_time_in_which_nobody_looked_blames_nobody() -> None:
    patience = Patience()
    patience.expect("camera", 5)
    assert pass_s(patience, 0, 1) == []
    assert patience.overdue(3600 * SECOND_NS) == [], "the machine slept for an hour"
    assert pass_s(patience, 3600, 4 - 2 * TURN_MOST_S) == []
    assert pass_s(patience, 3603, 2) == ["camera"]
