"""The parts of a delay add up to it, and none is below nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brushcast.delay_split import DelaySplit, Split

MS = 1_000_000


def test_the_parts_are_those_that_were_measured() -> None:
    split = DelaySplit()
    assert split.of(500) is None
    for age_ms in (380, 400, 420):
        split.result(age_ms * MS)
    assert split.of(500) is None, "the network is not known yet"
    for round_trip_ms in (205, 200, 900):
        split.answered(round_trip_ms * MS)
    split.answered(0)
    assert split.of(500) == Split(network_ms=205, worker_ms=195, playout_ms=100)
    split.reset()
    assert split.of(500) is None


@given(
    st.lists(st.integers(0, 10**10), min_size=1), st.lists(st.integers(1, 10**10), min_size=1),
    st.floats(0, 5000),
)  # fmt: skip
def test_they_add_up(ages: list[int], round_trips: list[int], delay_ms: float) -> None:
    split = DelaySplit()
    for age_ns in ages:
        split.result(age_ns)
    for round_trip_ns in round_trips:
        split.answered(round_trip_ns)
    parts = split.of(delay_ms)
    assert parts is not None
    assert min(parts.network_ms, parts.worker_ms, parts.playout_ms) >= 0
    assert abs(parts.network_ms + parts.worker_ms + parts.playout_ms - delay_ms) < 0.2
