"""Distributions and rates."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.metrics import Histogram, Rate

S = 1_000_000_000


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=300), st.floats(0.1, 100))
def test_percentiles_are_within_two_percent_of_the_true_ones(
    values: list[float], percent: float
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]
    assert histogram.percentile(percent) == pytest.approx(true, rel=0.02)
    assert histogram.largest == max(values)
    assert histogram.count == len(values)


def test_memory_does_not_grow_with_the_length_of_a_run() -> None:
    histogram, chance = Histogram(), random.Random(1)
    for _ in range(100_000):
        histogram.add(chance.lognormvariate(3, 1))
    assert len(histogram._bins) < 1000


def test_an_empty_distribution_is_all_zero() -> None:
    assert set(Histogram().summary().values()) == {0}


def test_a_spread_is_cumulative_and_ends_with_everything() -> None:
    histogram = Histogram()
    for value in (1, 5, 5, 80, 400):
        histogram.add(value)
    spread = histogram.spread((2, 10, 100))
    assert spread == {"up_to": [[2, 1], [10, 3], [100, 4]], "sum": 491, "count": 5}
    assert Histogram().spread((1,)) == {"up_to": [[1, 0]], "sum": 0, "count": 0}


@pytest.mark.parametrize("bound", [35.0, 100.0, 1000.0])
def test_a_bound_is_met_within_two_per_cent(bound: float) -> None:
    histogram = Histogram()
    for value in (bound * 0.5, bound, bound * 1.021, bound * 2):
        histogram.add(value)
    assert histogram.spread((bound,))["up_to"] == [[bound, 2]]


def test_merged_distributions_are_as_one() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for value in range(1, 100):
        (one if value % 3 else other).add(value)
        both.add(value)
    one.merge(other)
    assert one.summary() == both.summary()


def test_a_steady_rate_is_measured() -> None:
    rate = Rate(window_s=2)
    for index in range(200):
        rate.add(index * S // 30)
    assert rate.per_second(199 * S // 30) == pytest.approx(30, rel=0.01)


def test_a_silence_lowers_the_rate_to_zero() -> None:
    rate = Rate(window_s=2)
    for index in range(60):
        rate.add(index * S // 30)
    assert 14 < rate.per_second(3 * S) < 30
    assert rate.per_second(5 * S) == 0
