"""What a batch will take, from what batches took."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast_worker.latency import MEASURED, LatencyModel, Shape

MS = 1_000_000
SMALL = Shape(384, 384, 1)
LARGE = Shape(640, 352, 2)
SIZES = (Shape(256, 256, 1), Shape(512, 288, 1), Shape(832, 480, 2), Shape(512, 512, 4))


def test_knows_nothing_at_first() -> None:
    assert LatencyModel().expect_ns(SMALL, 1, 4) == 0


def test_a_measured_shape_answers_for_itself() -> None:
    model = LatencyModel()
    for took_ms in (100, 100, 200, 100, 100, 100, 100, 100, 100):
        model.learn(SMALL, 1, 4, took_ms * MS)
    assert 100 * MS <= model.expect_ns(SMALL, 1, 4) < 106 * MS


def test_the_best_batch_of_a_shape() -> None:
    model = LatencyModel()
    assert model.best_rate(SMALL, 4) == 0
    for streams, took_ms in ((1, 100), (2, 120), (4, 400)):
        model.learn(SMALL, streams, 4, took_ms * MS)
    model.learn(LARGE, 1, 4, MS)
    model.learn(SMALL, 1, 8, MS)
    assert model.best_rate(SMALL, 4) == pytest.approx(2 * 4 / 0.120)


def test_an_unknown_shape_lies_on_the_line_through_the_known_ones() -> None:
    model = LatencyModel()
    work = {streams: SMALL.work(4 * streams) for streams in (1, 2, 4)}
    for streams in (1, 2):
        model.learn(SMALL, streams, 4, int((20 + 100 * work[streams]) * MS))
    expected_ns = (20 + 100 * work[4]) * MS
    assert model.expect_ns(SMALL, 4, 4) == pytest.approx(expected_ns, rel=0.01)


def test_one_known_shape_gives_proportion() -> None:
    model = LatencyModel()
    model.learn(SMALL, 1, 4, 100 * MS)
    twice = dataclasses.replace(SMALL, width=768)
    assert model.expect_ns(twice, 1, 4) == pytest.approx(200 * MS)


def test_the_line_never_falls() -> None:
    model = LatencyModel()
    model.learn(SMALL, 1, 4, 200 * MS)
    model.learn(SMALL, 2, 4, 100 * MS)
    assert model.expect_ns(LARGE, 8, 4) >= 100 * MS


def test_its_memory_is_bounded() -> None:
    model = LatencyModel()
    for width in range(16, 16 * 1000, 16):
        model.learn(Shape(width, 16, 1), 1, 4, MS)
    assert len(model._runs) <= 64


def test_one_slow_run_of_a_known_shape_changes_nothing() -> None:
    model = LatencyModel()
    for took_ms in (100, 100, 100, 9000):
        model.learn(SMALL, 1, 4, took_ms * MS)
    assert model.expect_ns(SMALL, 1, 4) == 100 * MS


def test_a_compilers_first_run_is_not_believed() -> None:
    """Two streams' first forward took 20 s: a scheduler that believed it would never try again."""
    model = LatencyModel()
    for _ in range(MEASURED):
        model.learn(SMALL, 1, 4, 100 * MS)
    model.learn(SMALL, 2, 4, 20_000 * MS)
    assert model.expect_ns(SMALL, 2, 4) <= 250 * MS
    assert not model.measured(SMALL, 2, 4)


def test_a_device_that_became_slower_is_followed() -> None:
    model = LatencyModel()
    for took_ms in (100,) * 20 + (150,) * 4:
        model.learn(SMALL, 1, 4, took_ms * MS)
    assert model.expect_ns(SMALL, 1, 4) == 150 * MS


@given(
    parts=st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 50)),
    unknown=st.tuples(st.sampled_from(SIZES), st.integers(1, 8), st.sampled_from([4, 8, 16])),
)
@settings(max_examples=40, deadline=None)
def test_a_device_of_that_kind_is_learnt_exactly(
    parts: tuple[float, float, float], unknown: tuple[Shape, int, int]
) -> None:
    """L = fixed + shared work(T) + own work(B T), of shapes that never ran, too."""

    def takes_ns(shape: Shape, streams: int, pictures: int) -> int:
        fixed_ms, shared_ms, own_ms = parts
        work, all_work = shape.work(pictures), shape.work(streams * pictures)
        return int((fixed_ms + shared_ms * work + own_ms * all_work) * MS)

    model = LatencyModel()
    for shape in SIZES[:3]:
        for streams, pictures in ((1, 4), (3, 4), (2, 8)):
            for _ in range(MEASURED):
                model.learn(shape, streams, pictures, takes_ns(shape, streams, pictures))
    assert model.expect_ns(*unknown) == pytest.approx(takes_ns(*unknown), rel=0.05)


runs = st.tuples(
    st.sampled_from(SIZES), st.integers(1, 8), st.sampled_from([4, 8]), st.integers(1, 10**10)
)


@given(st.lists(runs, max_size=30))
@settings(max_examples=40, deadline=None)
def test_whatever_was_measured_more_work_is_never_expected_to_take_less(
    learnt: list[tuple[Shape, int, int, int]],
) -> None:
    model = LatencyModel()
    for shape, streams, pictures, took_ns in learnt:
        model.learn(shape, streams, pictures, took_ns)
    unknown = Shape(400, 400, 3)
    expected = [model.expect_ns(unknown, streams, 4) for streams in range(1, 12)]
    assert expected == sorted(expected)
    longer = [model.expect_ns(unknown, 2, pictures) for pictures in range(4, 40, 4)]
    assert longer == sorted(longer)
    assert min(expected + longer) >= 0
