"""The ladder on traces, with a clock of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast_worker.ladder import (
    APART_NS,
    HOPELESS_AGE,
    ORDER,
    PRESSURE_SETTLE_NS,
    SETTLE_NS,
    UP_AFTER_NS,
    Ladder,
    Outcome,
    Rung,
    rungs_for,
)

S = 1_000_000_000
Load = Callable[[Rung, float], Outcome]


def aged(age: Callable[[Rung, float], float]) -> Load:
    return lambda rung, now_s: Outcome(age=age(rung, now_s))


class Stream:
    """Feeds chunks to a ladder: one every `period_s`, as `load` tells from the rung."""

    def __init__(self, ladder: Ladder, load: Load, period_s: float = 0.2) -> None:
        self.ladder = ladder
        self.changes: list[tuple[float, int]] = []
        self.rungs: list[Rung] = []
        self.now_s = 0.0
        self._load, self._period_s = load, period_s

    def run(self, seconds: float) -> Stream:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += self._period_s
            now_ns, rung = int(self.now_s * S), self.ladder.rung
            changed = (
                self.ladder.observe(now_ns, self._load(rung, self.now_s))
                if rung.takes
                else self.ladder.idle(now_ns)
            )
            if changed is not None:
                self.changes.append((self.now_s, self.ladder.index))
                self.rungs.append(changed)
        return self


def begun(steps: int = 2) -> Ladder:
    """A ladder that has heard of a good chunk, before the time that tests begin at."""
    ladder = Ladder(steps)
    assert ladder.observe(-S, Outcome(age=0.5)) is None
    return ladder


def late(ladder: Ladder, at_ns: int, age: float) -> Rung | None:
    """Three chunks of that age; what came of it."""
    changes = [ladder.observe(at_ns + n, Outcome(age=age)) for n in range(3)]
    return next((rung for rung in changes if rung is not None), None)


def test_the_order_is_the_designs() -> None:
    kinds = [kind for kind, _ in ORDER]
    assert list(dict.fromkeys(kinds)) == ["steps", "interpolate", "size", "rate", "hold"]
    assert [(r.steps, r.every, r.area, r.takes) for r in rungs_for(4)] == [
        (4, 1, 1.0, 1),
        (2, 1, 1.0, 1),
        (1, 1, 1.0, 1),
        (1, 2, 1.0, 1),
        (1, 2, 0.62, 1),
        (1, 2, 0.38, 1),
        (1, 2, 0.38, 2),
        (1, 2, 0.38, 3),
        (1, 2, 0.38, 0),
    ]


@pytest.mark.parametrize("fixed_size", [False, True])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_every_rung_costs_less_than_the_one_above(
    fixed_size: bool, waits: bool, told: bool
) -> None:
    rungs = rungs_for(4, fixed_size=fixed_size, told=told, waits=waits)
    assert all(b.cost < a.cost for a, b in pairwise(rungs))
    assert all(rung.area == 1 for rung in rungs) == fixed_size
    assert (rungs[-1].kind == "hold") == told


def test_a_short_deadline_paints_smaller_before_it_waits_for_a_second_picture() -> None:
    kinds = [rung.kind for rung in rungs_for(1, waits=False)]
    assert kinds == [None, "size", "size", "interpolate", "rate", "rate", "hold"]


def test_a_stream_in_time_stays_at_the_top() -> None:
    assert Stream(Ladder(2), aged(lambda rung, now_s: 0.9)).run(600).changes == []


def test_an_overload_costs_one_change_within_3_s_and_that_one_is_enough() -> None:
    """Five times too slow for all of it: not a rung every ten seconds, but one jump."""
    stream = Stream(Ladder(2), aged(lambda rung, now_s: 2.0 * rung.chunk_cost / 2.0)).run(30)
    assert stream.changes[0][0] <= 3
    assert len(stream.changes) == 1
    assert stream.rungs[0].area == 0.38, "1.5 is late, and 0.62 of it is too near"
    slightly = Stream(Ladder(4), aged(lambda rung, now_s: 1.1 * rung.chunk_cost / 3)).run(30)
    assert [rung.steps for rung in slightly.rungs] == [2]


@pytest.mark.parametrize("chunk_s", [0.1, 0.3, 0.7, 1.2, 1.9, 2.8])
def test_slow_chunks_too_are_answered_within_3_s_of_the_first_missed_deadline(
    chunk_s: float,
) -> None:
    age = max(chunk_s / 0.6, 1.05)
    stream = Stream(Ladder(2), aged(lambda rung, now_s: age), chunk_s).run(10)
    first_missed_s = 2 * chunk_s - (age - 1) * 0.6  # of the second: the first says nothing
    assert stream.changes[0][0] - first_missed_s <= 3


def test_a_single_late_chunk_changes_nothing() -> None:
    hiccup = aged(lambda rung, now_s: 2.5 if round(now_s * 10) % 20 == 0 else 0.5)
    assert Stream(Ladder(2), hiccup).run(120).changes == []


def test_a_chunk_that_is_three_deadlines_old_is_enough() -> None:
    assert begun().observe(S, Outcome(age=2.9)) is None
    assert begun().observe(S, Outcome(age=3.0)) is not None


def test_the_first_chunk_waited_for_the_model_and_says_nothing() -> None:
    assert Ladder(2).observe(S, Outcome(age=30.0)) is None


def test_dropped_pictures_count_as_late_and_cost_one_rung() -> None:
    ladder = begun(4)
    changes = [ladder.observe(i * S, Outcome(age=0.9, dropped=2)) for i in range(3)]
    assert changes[:2] == [None, None]
    assert changes[2] is not None
    assert ladder.index == 1


def test_a_rate_that_is_wanted_is_kept_by_painting_less() -> None:
    """The pictures are in time, for fewer of them are sent: but the user asked for 24 a second."""

    def load(rung: Rung, now_s: float) -> Outcome:
        return Outcome(age=0.6, load=1.5 * rung.cost / Ladder(1).rung.cost)

    stream = Stream(Ladder(1), load).run(300)
    assert [rung.kind for rung in stream.rungs] == ["interpolate"]
    without = Stream(Ladder(1), lambda rung, now_s: Outcome(age=0.6)).run(300)
    assert without.changes == []


def test_a_rate_that_is_missed_by_a_little_costs_nothing() -> None:
    assert Stream(Ladder(1), lambda rung, now_s: Outcome(age=0.6, load=1.05)).run(300).changes == []


def test_the_way_up_takes_ten_good_seconds_for_each_rung() -> None:
    stream = Stream(Ladder(2), aged(lambda rung, now_s: 3.0 if now_s < 2 else 0.2)).run(150)
    bottom = stream.changes[0][1]
    assert bottom > 3
    assert [to for _, to in stream.changes[1:]] == list(range(bottom - 1, -1, -1))
    gaps = [b[0] - a[0] for a, b in pairwise(stream.changes)]
    assert all(gap >= UP_AFTER_NS / S for gap in gaps)
    assert stream.ladder.index == 0


def test_no_way_up_without_headroom() -> None:
    """One rung down the stream is just in time; one up it would be late: it must not even try."""
    ladder = begun()
    assert late(ladder, S, 1.05) is not None
    assert ladder.index == 1
    stream = Stream(ladder, aged(lambda rung, now_s: 0.7 * rung.chunk_cost / 1.5))
    stream.now_s = 2
    assert stream.run(300).changes == []


def test_a_step_up_that_fails_is_tried_ever_more_rarely() -> None:
    """The measured ages promise headroom that is not there: a fixed cost that no rung saves."""
    stream = Stream(Ladder(2), aged(lambda rung, now_s: 0.4 if rung.steps == 1 else 1.4)).run(900)
    ups = [at for at, to in stream.changes if to == 0]
    gaps = [b - a for a, b in pairwise(ups)]
    assert len(ups) >= 3
    assert all(later > earlier for earlier, later in pairwise(gaps[:4]))
    assert len(stream.changes) < 30  # in fifteen minutes


def test_chunks_that_were_under_way_at_a_change_are_not_held_against_the_new_rung() -> None:
    ladder = begun()
    assert ladder.observe(S, Outcome(age=3.0)) is not None
    at = ladder.index
    assert ladder.observe(S + SETTLE_NS // 2, Outcome(age=9.0)) is None
    old = Outcome(age=9.0, begun_ns=S - 1)
    assert [ladder.observe(3 * S + n, old) for n in range(5)] == [None] * 5, "however long it took"
    assert ladder.index == at
    assert ladder.observe(3 * S, Outcome(age=9.0, begun_ns=S)) is not None


def test_lower_rates_may_be_later_and_are_left_again() -> None:
    """A chunk takes the longer to come together the fewer pictures are taken."""
    ladder = Ladder(1)

    def load(rung: Rung, now_s: float) -> Outcome:
        slow = 8.0 if now_s < 60 else 1.0
        work, collect = 0.3 * slow * rung.chunk_cost, 0.1 * rung.takes * rung.every
        return Outcome(age=work + collect, collect=collect)

    stream = Stream(ladder, load).run(60)
    assert ladder.rung.kind == "rate"
    assert stream.run(300).ladder.index == 0


def test_hold_computes_nothing_and_is_tried_out_of_again_and_again() -> None:
    ladder = Ladder(1)
    stream = Stream(ladder, aged(lambda rung, now_s: 50.0 if now_s < 200 else 0.1)).run(40)
    assert ladder.rung.kind == "hold"
    assert ladder.rung.cost == 0
    kinds = [rung.kind for rung in stream.rungs]
    assert kinds[0] == "rate", "nobody jumps into it"
    stream.run(160)
    tries = [b - a for (a, _), (b, _) in pairwise(stream.changes) if b < 200]
    assert max(tries) > 3 * min(tries), "ever more rarely"
    assert stream.run(600).ladder.index == 0


def test_pressure_never_stops_the_picture() -> None:
    ladder = Ladder(1)
    stream = Stream(ladder, lambda rung, now_s: Outcome(age=0.1, pressed=now_s > 1)).run(600)
    assert ladder.rung.kind == "rate"
    assert stream.ladder.rung.takes == 3


def test_out_of_memory_goes_to_a_smaller_picture_and_one_step_and_never_back() -> None:
    ladder = Ladder(2)
    rung = ladder.out_of_memory(0)
    assert rung is not None
    assert (rung.area, rung.steps, rung.every, rung.name) == (0.62, 1, 1, "smaller picture")
    for i in range(1000):
        ladder.observe(i * S, Outcome(age=0.05))
    assert (ladder.rung.area, ladder.rung.steps) == (0.62, 1)
    assert ladder.out_of_memory(1000 * S) is not None
    assert ladder.out_of_memory(1001 * S) is None
    assert ladder.rung.area == 0.38


def test_memory_that_runs_short_costs_one_size_before_it_is_gone() -> None:
    ladder = Ladder(2)
    stream = Stream(ladder, lambda rung, now_s: Outcome(age=0.2, memory=0.97)).run(300)
    assert [(rung.area, rung.steps) for rung in stream.rungs] == [(0.62, 2)], "and it was not us"
    calm = Stream(ladder, lambda rung, now_s: Outcome(age=0.2, memory=0.5))
    calm.now_s = stream.now_s
    assert [rung.area for rung in calm.run(60).rungs] == [1.0]


def test_a_slow_link_takes_fewer_and_smaller_pictures_and_as_many_steps() -> None:
    ladder = Ladder(4)
    stream = Stream(ladder, lambda rung, now_s: Outcome(age=0.2, network=now_s < 100)).run(100)
    seen = [(r.area, r.takes, r.steps, r.every) for r in stream.rungs]
    assert seen == [(0.62, 1, 4, 1), (0.38, 1, 4, 1), (0.38, 2, 4, 1), (0.38, 3, 4, 1)]
    stream.run(300)
    assert ladder.rung == ladder.rungs[0]
    fixed = Stream(Ladder(4, fixed_size=True), lambda rung, now_s: Outcome(age=0.2, network=True))
    assert {rung.area for rung in fixed.run(100).rungs} == {1.0}
    assert fixed.ladder.rung.takes == 3


def test_a_size_that_the_user_chose_is_kept_by_a_slow_worker_but_not_without_memory() -> None:
    ladder = Ladder(2, fixed_size=True)
    stream = Stream(ladder, aged(lambda rung, now_s: 9.0)).run(100)
    assert {rung.area for rung in stream.rungs} == {1.0}
    assert {"rate", "hold"} <= {rung.kind for rung in stream.rungs}
    rung = ladder.out_of_memory(1000 * S)
    assert rung is not None
    assert rung.area < 1


def test_pressure_costs_one_rung_and_the_next_only_when_it_outlasts_that() -> None:
    stream = Stream(Ladder(4), lambda _, now_s: Outcome(age=0.2, pressed=10 <= now_s < 50)).run(50)
    downs = [at for at, _ in stream.changes]
    assert 10 < downs[0] < 11, "three chunks"
    settle_s = PRESSURE_SETTLE_NS / S
    assert all(settle_s <= b - a < settle_s + 2 for a, b in pairwise(downs))
    assert stream.ladder.index == 3


def test_a_pressure_that_one_rung_cured_costs_no_other() -> None:
    """The bridge takes pressure away after ten calm seconds: before that nobody knows."""
    stream = Stream(Ladder(4), lambda _, now_s: Outcome(age=0.9, pressed=10 <= now_s < 26)).run(30)
    assert [to for _, to in stream.changes] == [1]


def test_what_loading_did_to_obs_is_not_held_against_the_stream() -> None:
    stream = Stream(Ladder(4), lambda _, now_s: Outcome(age=0.2, pressed=now_s < 10))
    assert stream.run(60).changes == []
    lasting = Stream(Ladder(4), lambda _, now_s: Outcome(age=0.2, pressed=True))
    assert lasting.run(20).ladder.index == 1


def test_under_pressure_there_is_no_way_up_and_after_it_the_usual_one() -> None:
    def load(_: Rung, now_s: float) -> Outcome:
        return Outcome(age=9.0 if now_s < 0.7 else 0.2, pressed=now_s < 300)

    stream = Stream(Ladder(2), load).run(300)
    bottom = stream.ladder.index
    assert bottom > 3
    assert all(later >= earlier for (_, earlier), (_, later) in pairwise(stream.changes))
    stream.run(300)
    ups = [at for at, to in stream.changes if at > 300]
    assert stream.ladder.index == 0
    assert ups[0] >= 300 + UP_AFTER_NS / S


def test_without_a_bridge_that_is_told_the_bottom_is_a_small_picture() -> None:
    stream = Stream(Ladder(1, told=False), aged(lambda rung, now_s: 9.0)).run(60)
    assert stream.ladder.index == len(rungs_for(1, told=False)) - 1
    assert stream.ladder.rung.takes == 1
    assert len(stream.changes) <= 2


OUTCOMES = st.builds(
    Outcome,
    age=st.one_of(st.floats(0, 1.2), st.floats(0, 40)),
    load=st.floats(0, 3),
    dropped=st.integers(0, 2),
    pressed=st.booleans(),
    network=st.booleans(),
    memory=st.floats(0, 1),
)
STRETCHES = st.lists(st.tuples(OUTCOMES, st.integers(1, 60)), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(
    stretches=STRETCHES,
    steps=st.integers(1, 4),
    gap_ms=st.integers(30, 900),
    fixed_size=st.booleans(),
    told=st.booleans(),
    waits=st.booleans(),
)
def test_under_any_load_nothing_flaps(
    stretches: list[tuple[Outcome, int]],
    steps: int,
    gap_ms: int,
    fixed_size: bool,
    told: bool,
    waits: bool,
) -> None:
    """Two changes are ten seconds apart, but for a way down under an overload without hope; such a
    hurry comes once in ten seconds, and nothing ever goes up in less."""
    ladder = Ladder(steps, fixed_size=fixed_size, told=told, waits=waits)
    now_ns, changed_ns, hurried_ns = 0, -APART_NS, -APART_NS
    for chunk, times in stretches:
        for _ in range(times):
            now_ns += gap_ms * 1_000_000
            before = ladder.rung
            if before.takes:
                after = ladder.observe(now_ns, chunk)
            else:
                after = ladder.idle(now_ns)
            assert 0 <= ladder.index < len(ladder.rungs)
            if after is None:
                assert ladder.rung == before
                continue
            if now_ns - changed_ns < APART_NS:
                assert after.cost < before.cost, "up, too soon"
                assert chunk.age > HOPELESS_AGE
                assert now_ns - hurried_ns >= APART_NS
                hurried_ns = now_ns
            changed_ns = now_ns


@given(stretches=STRETCHES)
def test_what_is_not_hopeless_never_hurries(stretches: list[tuple[Outcome, int]]) -> None:
    ladder, now_ns, changed_ns = Ladder(2), 0, -APART_NS
    for chunk, times in stretches:
        chunk = dataclasses.replace(chunk, age=min(chunk.age, HOPELESS_AGE))
        for _ in range(times):
            now_ns += S // 5
            busy = ladder.rung.takes
            if (ladder.observe(now_ns, chunk) if busy else ladder.idle(now_ns)) is not None:
                assert now_ns - changed_ns >= APART_NS
                changed_ns = now_ns
