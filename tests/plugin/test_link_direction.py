"""One direction of a link: its queue, its budget, and the least of the last while."""

from __future__ import annotations

import pytest

from brushcast.link_direction import BASE_WINDOW_NS, Direction, Least

NS = 1_000_000_000


def test_a_budget_falls_to_what_was_delivered_and_grows_as_it_is_used() -> None:
    way = Direction()
    for number in range(20):  # 100 kB/s pass, ever later
        way.measured(number * NS // 4, number * 250.0, number * 30.0, number * 25_000, NS // 10)
    assert way.budget is not None
    assert 70_000 < way.budget < 90_000
    low = way.budget
    for number in range(20, 60):  # a quarter of it is used: nothing is learnt
        way.measured(number * NS // 4, number * 250.0, 0.0, number * 5_000, NS // 10)
    assert way.budget == low
    for number in range(60, 100):
        way.measured(number * NS // 4, number * 250.0, 0.0, number * 20_000, NS // 10)
    assert low * 1.05 < way.budget < low * 1.15, "slowly, near the last jam"
    for number in range(100, 240):
        way.measured(number * NS // 4, number * 250.0, 0.0, number * 40_000, NS // 10)
    assert way.budget > 1.5 * low, "and quickly beyond it"


def test_a_budget_is_given_back_where_as_much_passes_without_a_queue() -> None:
    """A worker that is busy for a moment answers late, whatever is sent."""
    way = Direction()
    number = 0

    def pass_by(count: int, late_ms: float, step_ms: float, length: int) -> None:
        nonlocal number
        for step in range(count):
            number += 1
            passed.append(passed[-1] + length)
            late = late_ms + step * step_ms
            way.measured(number * NS // 4, number * 250.0, late, passed[-1], NS // 10)

    passed = [0]
    pass_by(8, 0.0, 60.0, 100_000)  # a real jam at 400 kB/s
    jammed = way.budget
    assert jammed is not None
    assert 300_000 < jammed < 380_000
    pass_by(20, 0.0, 0.0, 20_000)  # 80 kB/s are used
    assert way.budget == jammed
    pass_by(4, 110.0, 60.0, 20_000)
    assert way.budget is not None
    assert way.budget < 0.6 * jammed
    pass_by(8, 0.0, 0.0, 20_000)
    assert way.budget == jammed
    pass_by(4, 110.0, 60.0, 20_000)
    pass_by(8, 0.0, 0.0, 10_000)
    assert way.budget < 0.6 * jammed, "less passes: it may have been ours"


def test_a_queue_is_what_a_question_is_later_than_the_quickest() -> None:
    way = Direction()
    assert way.is_calm, "nothing is known"
    for number, late_ms in enumerate((7_000.0, 7_090.0, 7_030.0, 7_095.0)):
        way.measured(number * NS // 4, number * 250.0, late_ms, 0, NS // 10)
    assert way.queue_ms == pytest.approx(90.0), "the median of the last three: one late is none"
    assert not way.is_calm
    way.connected()
    way.measured(2 * NS, 0.0, -500.0, 0, NS // 10)
    assert way.is_calm, "another connection, another clock"


def test_the_least_is_forgotten_after_a_while() -> None:
    least = Least()
    assert least.value is None
    for number, value in enumerate((5.0, 3.0, 4.0)):
        least.add(number * NS, value)
    assert least.value == 3.0
    least.add(BASE_WINDOW_NS + NS, 9.0)
    assert least.value == 3.0
    least.add(BASE_WINDOW_NS + 2 * NS, 9.0)
    assert least.value == 4.0
