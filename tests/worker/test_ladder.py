"""The ladder on traces, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from brushcast_worker.ladder import (
    IMPLEMENTED,
    ORDER,
    PRESSURE_SETTLE_NS,
    SETTLE_NS,
    UP_AFTER_NS,
    Ladder,
    Rung,
    rungs_for,
)

S = 1_000_000_000


class Stream:
    """Feeds chunks to a ladder: one every `period_s`, of an age that `age` tells from the rung."""

    def __init__(self, steps: int, age: Callable[[Rung, float], float], period_s: float = 0.2):
        self.ladder = Ladder(steps)
        self.changes: list[tuple[float, int]] = []
        self.now_s = 0.0
        self.pressed: Callable[[float], bool] = lambda now_s: False
        self._age, self._period_s = age, period_s

    def run(self, seconds: float) -> Stream:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += self._period_s
            age = self._age(self.ladder.rung, self.now_s)
            pressed = self.pressed(self.now_s)
            if self.ladder.observe(int(self.now_s * S), age=age, pressed=pressed) is not None:
                self.changes.append((self.now_s, self.ladder.index))
        return self


def test_the_order_is_the_designs_and_only_what_is_built_can_be_reached() -> None:
    assert [kind for kind, _, _ in ORDER] == [
        "steps",
        "interpolate",
        "size",
        "size",
        "rate",
        "hold",
    ]
    reachable = rungs_for(4)
    assert [(rung.steps, rung.area) for rung in reachable] == [
        (4, 1.0),
        (2, 1.0),
        (1, 1.0),
        (1, 0.62),
        (1, 0.38),
    ]
    assert {rung.kind for rung in reachable[1:]} <= IMPLEMENTED
    assert [rung.name for rung in rungs_for(1)] == ["full", "smaller picture", "small picture"]


def test_a_stream_in_time_stays_at_the_top() -> None:
    assert Stream(2, lambda rung, now_s: 0.9).run(600).changes == []


def test_overload_takes_a_rung_within_3_s_and_goes_on_until_it_fits() -> None:
    stream = Stream(2, lambda rung, now_s: 2.0 * rung.cost / 2.0).run(30)
    assert stream.changes[0][0] <= 3
    assert stream.ladder.index == 2  # 0.62 * 1.5 is in time, 1.5 is not
    assert all(later > earlier for (_, earlier), (_, later) in pairwise(stream.changes))


def test_a_single_late_chunk_changes_nothing() -> None:
    stream = Stream(2, lambda rung, now_s: 1.5 if round(now_s * 10) % 20 == 0 else 0.5)
    assert stream.run(120).changes == []


def test_a_hopeless_chunk_is_enough() -> None:
    ladder = Ladder(2)
    rung = ladder.observe(S, age=2.5)
    assert rung is not None
    assert rung.steps == 1


def test_dropped_pictures_count_as_late() -> None:
    ladder = Ladder(2)
    changes = [ladder.observe(i * S, age=0.5, dropped=2) for i in range(3)]
    assert changes[:2] == [None, None]
    assert changes[2] is not None


def test_the_way_up_takes_ten_good_seconds_for_each_rung() -> None:
    busy_until_s = 5.0
    stream = Stream(2, lambda rung, now_s: 9.0 if now_s < busy_until_s else 0.2).run(60)
    bottom = len(rungs_for(2)) - 1
    ups = [(at, to) for at, to in stream.changes if at > busy_until_s]
    assert [to for _, to in ups] == list(range(bottom - 1, -1, -1))
    gaps = [b[0] - a[0] for a, b in pairwise(ups)]
    assert all(gap >= UP_AFTER_NS / S for gap in gaps)
    assert stream.ladder.index == 0


def test_no_way_up_without_headroom() -> None:
    """At rung 1 the stream is just in time; one rung up it would be late: it must not even try."""
    stream = Stream(2, lambda rung, now_s: 0.7 * rung.cost / 1.5).run(1)
    stream.ladder.observe(int(1.1 * S), age=3.0)
    assert stream.ladder.index == 1
    stream.run(300)
    assert stream.ladder.index == 1


def test_a_step_up_that_fails_is_tried_ever_more_rarely() -> None:
    """The measured ages promise headroom that is not there: a fixed cost that no rung saves."""
    stream = Stream(2, lambda rung, now_s: 0.5 if rung.steps == 1 else 1.4).run(600)
    ups = [at for at, to in stream.changes if to == 0]
    gaps = [b - a for a, b in pairwise(ups)]
    assert len(ups) >= 3
    assert all(later > earlier for earlier, later in pairwise(gaps[:4]))
    assert len(stream.changes) < 20  # in ten minutes


def test_chunks_that_were_under_way_at_a_change_are_not_held_against_the_new_rung() -> None:
    ladder = Ladder(2)
    assert ladder.observe(S, age=3.0) is not None
    assert ladder.observe(S + S // 10, age=3.0) is None
    assert ladder.index == 1


def test_out_of_memory_goes_to_a_smaller_picture_and_never_back() -> None:
    ladder = Ladder(2)
    rung = ladder.out_of_memory(0)
    assert rung is not None
    assert rung.area < 1
    at = ladder.index
    for i in range(1000):
        ladder.observe(i * S, age=0.05)
    assert ladder.index == at
    assert ladder.out_of_memory(1000 * S) is not None
    assert ladder.out_of_memory(1001 * S) is None


def test_a_size_that_the_user_chose_is_kept_by_a_slow_worker_but_not_without_memory() -> None:
    ladder = Ladder(2, fixed_size=True)
    for i in range(1000):
        ladder.observe(i * S, age=3.0)
    assert (ladder.rung.steps, ladder.rung.area) == (1, 1.0), "fewer steps, the whole size"
    rung = ladder.out_of_memory(1000 * S)
    assert rung is not None
    assert rung.area < 1


def test_pressure_costs_one_rung_and_the_next_only_when_it_outlasts_that() -> None:
    stream = Stream(4, lambda rung, now_s: 0.2)
    stream.pressed = lambda now_s: 10 <= now_s < 50
    stream.run(50)
    downs = [at for at, _ in stream.changes]
    assert 10 < downs[0] < 11, "three chunks"
    settle_s = PRESSURE_SETTLE_NS / S
    assert all(settle_s <= b - a < settle_s + 2 for a, b in pairwise(downs))
    assert stream.ladder.index == 3


def test_a_pressure_that_one_rung_cured_costs_no_other() -> None:
    """The bridge takes pressure away after ten calm seconds: before that nobody knows."""
    stream = Stream(4, lambda rung, now_s: 0.2)
    stream.pressed = lambda now_s: 10 <= now_s < 10 + 1 + 5 + 10
    stream.run(30)
    assert [to for _, to in stream.changes] == [1]


def test_what_loading_did_to_obs_is_not_held_against_the_stream() -> None:
    stream = Stream(4, lambda rung, now_s: 0.2)
    stream.pressed = lambda now_s: now_s < 10
    assert stream.run(60).changes == []
    lasting = Stream(4, lambda rung, now_s: 0.2)
    lasting.pressed = lambda now_s: True
    assert lasting.run(20).ladder.index == 1


def test_under_pressure_there_is_no_way_up_and_after_it_the_usual_one() -> None:
    stream = Stream(2, lambda rung, now_s: 9.0 if now_s < 0.3 else 0.2)
    stream.pressed = lambda now_s: now_s < 300
    stream.run(300)
    bottom = len(rungs_for(2)) - 1
    assert stream.ladder.index == bottom
    stream.run(300)
    ups = [at for at, to in stream.changes if at > 300]
    assert stream.ladder.index == 0
    assert ups[0] >= 300 + UP_AFTER_NS / S


def test_lateness_goes_on_as_ever_under_pressure() -> None:
    ladder = Ladder(4)
    assert ladder.observe(0, age=0.2) is None
    first = ladder.observe(S, age=3.0, pressed=True)
    again = ladder.observe(S + SETTLE_NS, age=3.0, pressed=True)
    assert first is not None
    assert again is not None
    assert again.steps < first.steps


def test_at_the_bottom_there_is_nothing_left_to_give() -> None:
    stream = Stream(1, lambda rung, now_s: 9.0).run(60)
    assert stream.ladder.index == len(rungs_for(1)) - 1
    assert len(stream.changes) == len(rungs_for(1)) - 1
