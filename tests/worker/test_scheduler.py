"""The scheduler, with times that the test makes up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast_worker.latency import MEASURED, Shape
from brushcast_worker.scheduler import Batch, Scheduler, Wait, Waiting

MS = 1_000_000
SMALL = Shape(384, 384, 1)
LARGE = Shape(640, 352, 2)


def stream(
    name: str,
    *deadlines_ms: int,
    shape: Shape = SMALL,
    owed_ms: int | None = None,
    quiet_ms: int = 0,
) -> Waiting:
    return Waiting(
        id=name,
        shape=shape,
        wanted=4,
        deadlines_ns=tuple(deadline * MS for deadline in deadlines_ms),
        owed_ns=None if owed_ms is None else owed_ms * MS,
        quiet_ns=quiet_ms * MS,
    )


def lossless(name: str, count: int, *, ended: bool = False, inside: bool = False) -> Waiting:
    deadlines_ns = tuple([60_000 * MS] * count)
    return Waiting(
        id=name,
        shape=SMALL,
        wanted=4,
        deadlines_ns=deadlines_ns,
        owed_ns=60_000 * MS if inside else None,
        lossless=True,
        ended=ended,
    )


def scheduler(*known: tuple[Shape, int, int]) -> Scheduler:
    """A scheduler that has measured batches of so many streams at so many ms."""
    made = Scheduler()
    for shape, streams, took_ms in known:
        for _ in range(MEASURED):
            made.latency.learn(shape, streams, 4, took_ms * MS)
    return made


class TestChoice:
    def test_nothing_waits(self) -> None:
        assert scheduler().next([], 0) == Wait(None)
        assert scheduler().next([stream("a")], 0) == Wait(None)

    def test_a_full_chunk_runs_at_once(self) -> None:
        choice = scheduler((SMALL, 1, 100)).next([stream("a", 500, 533, 566, 600)], 0)
        assert choice == Batch(("a",), 100 * MS)

    def test_a_part_of_a_chunk_waits_until_its_first_picture_would_be_late(self) -> None:
        choice = scheduler((SMALL, 1, 100)).next([stream("a", 500, 533)], 0)
        assert choice == Wait(395 * MS)
        assert isinstance(scheduler((SMALL, 1, 100)).next([stream("a", 500, 533)], 395 * MS), Batch)

    def test_what_is_inside_the_engine_is_flushed_when_no_more_comes(self) -> None:
        owed = stream("a", owed_ms=500)
        assert scheduler((SMALL, 1, 100)).next([owed], 0) == Wait(395 * MS)
        assert isinstance(scheduler((SMALL, 1, 100)).next([owed], 400 * MS), Batch)

    def test_what_is_inside_is_left_to_a_source_that_goes_on(self) -> None:
        """Its next pictures bring it out; a padded chunk would be a jerk in the model's time."""
        made = scheduler((SMALL, 1, 100))
        goes_on = stream("a", 900, owed_ms=500, quiet_ms=700)
        assert made.next([goes_on], 600 * MS) == Wait(700 * MS)
        assert isinstance(made.next([goes_on], 700 * MS), Batch)

    def test_what_is_inside_makes_no_full_chunk_urgent(self) -> None:
        """Its deadline was met when it was taken: the batch is as large as those waiting allow."""
        streams = [stream(name, 500, 500, 500, 500, owed_ms=0) for name in "ab"]
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 190))
        assert made.next(streams, 0) == Batch(("a", "b"), 190 * MS)

    def test_the_most_urgent_stream_comes_first(self) -> None:
        streams = [
            stream("late", 900, 900, 900, 900, shape=LARGE),
            stream("soon", 300, 300, 300, 300),
        ]
        choice = scheduler((SMALL, 1, 100), (LARGE, 1, 100)).next(streams, 0)
        assert isinstance(choice, Batch)
        assert choice.ids == ("soon",)

    def test_streams_of_one_shape_share_a_forward_if_the_deadline_allows(self) -> None:
        streams = [stream(name, 500, 500, 500, 500) for name in "abc"]
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 150), (SMALL, 3, 200))
        assert made.next(streams, 0) == Batch(("a", "b", "c"), 200 * MS)
        assert made.next(streams, 340 * MS) == Batch(("a", "b"), 150 * MS)

    def test_streams_of_other_shapes_do_not(self) -> None:
        streams = [stream("a", 500, 500, 500, 500), stream("b", 500, 500, 500, 500, shape=LARGE)]
        choice = scheduler((SMALL, 1, 10)).next(streams, 0)
        assert isinstance(choice, Batch)
        assert choice.ids == ("a",)

    def test_when_every_deadline_is_lost_throughput_decides(self) -> None:
        streams = [stream(name, 50, 50, 50, 50) for name in "ab"]
        cheap_together = scheduler((SMALL, 1, 100), (SMALL, 2, 120))
        assert cheap_together.next(streams, 0) == Batch(("a", "b"), 120 * MS)
        dear_together = scheduler((SMALL, 1, 100), (SMALL, 2, 300))
        assert dear_together.next(streams, 0) == Batch(("a",), 100 * MS)


# Milliseconds of B streams, on devices of which nobody tells the scheduler.
DEVICES: dict[str, Callable[[int], float]] = {
    "launch-bound up to six streams": lambda b: max(30.0, 5.0 * b),
    "compute-bound": lambda b: 20.0 * b,
    "half and half": lambda b: 40.0 + 10.0 * b,
    "full at three, and worse beyond": lambda b: 30.0 if b <= 3 else 14.0 * b,
}


class TestKnee:
    @pytest.mark.parametrize("device", DEVICES)
    @given(noise=st.lists(st.floats(0.95, 1.05), min_size=1, max_size=9), slow=st.integers(2, 30))
    @settings(max_examples=8, deadline=None)
    def test_is_found_on_any_device(self, device: str, noise: list[float], slow: int) -> None:
        """Streams come one after the other. Every first run of a B is a compiler's, and now and
        then the machine sleeps."""
        takes_ms, made, seen = DEVICES[device], Scheduler(), set[int]()
        streams = [stream(name, *[9000] * 4) for name in "abcdefgh"]
        count = 0
        for n in range(60):
            choice = made.next(streams[: 1 + n // 6], 0)
            assert isinstance(choice, Batch)
            count = len(choice.ids)
            took_ms = takes_ms(count) * noise[n % len(noise)]
            if count not in seen or n % 17 == 16:
                took_ms *= slow
            seen.add(count)
            made.latency.learn(SMALL, count, 4, int(took_ms * MS))
        best = max(b / takes_ms(b) for b in range(1, 9))
        assert count / takes_ms(count) >= 0.85 * best

    def test_is_the_smallest_batch_that_pays(self) -> None:
        streams = [stream(name, *[9000] * 4) for name in "abcd"]
        flat = scheduler((SMALL, 1, 100), (SMALL, 2, 110), (SMALL, 3, 165), (SMALL, 4, 220))
        assert flat.next(streams, 0) == Batch(("a", "b"), 110 * MS)
        none = scheduler((SMALL, 1, 100), (SMALL, 2, 200), (SMALL, 3, 300), (SMALL, 4, 400))
        assert none.next(streams, 0) == Batch(("a",), 100 * MS)

    @given(
        st.lists(st.integers(1, 400), min_size=1, max_size=8),
        st.lists(st.integers(1, 900), min_size=1, max_size=8),
    )
    @settings(max_examples=50, deadline=None)
    def test_no_batch_misses_a_deadline_that_a_smaller_one_meets(
        self, costs_ms: list[int], deadlines_ms: list[int]
    ) -> None:
        made = scheduler(*((SMALL, b, cost) for b, cost in enumerate(costs_ms, 1)))
        streams = [stream(str(n), *[due] * 4) for n, due in enumerate(deadlines_ms)]
        choice = made.next(streams, 0)
        assert isinstance(choice, Batch)
        due_ns = min(deadlines_ms) * MS
        if made.latency.expect_ns(SMALL, 1, 4) <= due_ns:
            assert choice.expected_ns <= due_ns


class TestWaitingForCompany:
    ready = stream("a", 500, 500, 500, 500)
    soon = dataclasses.replace(stream("b", 520, 520, 520), full_ns=20 * MS)

    def test_waits_for_a_stream_that_makes_the_batch_cheaper(self) -> None:
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 110))
        assert made.next([self.ready, self.soon], 0) == Wait(20 * MS)

    def test_not_where_a_batch_saves_nothing(self) -> None:
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 200))
        assert made.next([self.ready, self.soon], 0) == Batch(("a",), 100 * MS)

    def test_not_past_the_deadline(self) -> None:
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 110))
        choice = made.next([stream("a", 125, 125, 125, 125), self.soon], 0)
        assert choice == Batch(("a",), 100 * MS)

    def test_not_for_one_that_was_expected_earlier(self) -> None:
        made = scheduler((SMALL, 1, 100), (SMALL, 2, 110))
        assert isinstance(made.next([self.ready, self.soon], 21 * MS), Batch)


class TestStale:
    def test_pictures_that_would_be_late_are_dropped_oldest_first(self) -> None:
        made = scheduler((SMALL, 1, 100))
        waiting = stream("a", 50, 80, 500, 500, 500, 500)
        assert made.stale(waiting, 0) == 2

    def test_the_newest_chunk_is_always_kept(self) -> None:
        made = scheduler((SMALL, 1, 100))
        assert made.stale(stream("a", 10, 20, 30, 40, 50), 0) == 1
        assert made.stale(stream("a", 10, 20, 30, 40), 0) == 0

    def test_lossless_pictures_never(self) -> None:
        made = scheduler((SMALL, 1, 100_000))
        assert made.stale(lossless("a", 40), 0) == 0


class TestLossless:
    def test_runs_full_chunks_and_waits_for_the_rest(self) -> None:
        made = scheduler((SMALL, 1, 100))
        assert isinstance(made.next([lossless("a", 4)], 0), Batch)
        assert made.next([lossless("a", 3)], 0) != Batch(("a",), 100 * MS)

    def test_is_drained_once_it_has_ended(self) -> None:
        made = scheduler((SMALL, 1, 100))
        assert isinstance(made.next([lossless("a", 1, ended=True)], 0), Batch)
        assert isinstance(made.next([lossless("a", 0, ended=True, inside=True)], 0), Batch)
        assert made.next([lossless("a", 0, ended=True)], 0) == Wait(None)

    def test_live_streams_come_first_but_do_not_starve_it(self) -> None:
        made = scheduler((SMALL, 1, 100), (LARGE, 1, 100))
        live = stream("live", 500, 500, 500, 500, shape=LARGE)
        file = dataclasses.replace(lossless("file", 4), deadlines_ns=(0, 0, 0, 0))
        first = made.next([file, live], 0)
        assert isinstance(first, Batch)
        assert first.ids == ("live",)
        later = dataclasses.replace(live, deadlines_ns=(2600 * MS,) * 4)
        second = made.next([file, later], 2200 * MS)
        assert isinstance(second, Batch)
        assert second.ids == ("file",)
