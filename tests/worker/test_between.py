"""The interpolated pictures of a stream: what is split, what comes back, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from brushcast.frame import Frame, Pixels
from brushcast_worker.between import Between
from brushcast_worker.chunk import PADDING_SEQ
from tests.worker.conftest import AtOnce

HEIGHT, WIDTH = 48, 64


def frame(seq: int) -> Frame:
    """A still scene: what is in between is then the mean of its neighbours."""
    pixels_HWC = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3) % 251
    return Frame(pixels_HWC.astype(np.uint8), seq, seq * 33_000_000)


def paint(seq: int) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), 2 * seq, np.uint8)


def ready() -> Between:
    """Pictures 0 to 3 are painted and out."""
    made = Between(AtOnce())
    assert not made.ready
    assert [f.seq for f in made.split([frame(n) for n in range(4)], 4, "full")] == [0, 1, 2, 3]
    assert [seq for seq, _ in made.painted(range(4), [paint(n) for n in range(4)])] == [0, 1, 2, 3]
    assert made.ready
    return made


def test_every_second_picture_is_painted_and_the_others_come_in_their_order() -> None:
    made = ready()
    to_paint = made.split([frame(n) for n in range(4, 12)], 4, "full")
    assert [f.seq for f in to_paint] == [5, 7, 9, 11]
    first = made.painted([5], [paint(5)])  # picture by picture, as on a CPU
    assert [seq for seq, _ in first] == [4, 5]
    assert abs(int(first[0][1].mean()) - (6 + 10) / 2) <= 1, "the mean of 3 and 5"
    rest = made.painted([7, 9, 11], [paint(n) for n in (7, 9, 11)])
    assert [seq for seq, _ in rest] == [6, 7, 8, 9, 10, 11]
    assert [abs(int(p.mean()) - 2 * seq) <= 1 for seq, p in rest] == [True] * 6


@pytest.mark.parametrize(
    ("count", "painted"),
    [(8, [5, 7, 9, 11]), (6, [5, 7, 8, 9]), (5, [5, 6, 7, 8]), (4, [4, 5, 6, 7]), (2, [4, 5])],
)
def test_a_short_chunk_is_painted_as_far_as_the_engine_can(count: int, painted: list[int]) -> None:
    to_paint = ready().split([frame(n) for n in range(4, 4 + count)], 4, "light")
    assert [f.seq for f in to_paint] == painted


def test_without_a_neighbour_before_it_nothing_is_missing() -> None:
    made = ready()
    made.forget()
    assert not made.ready
    assert len(made.split([frame(n) for n in range(4, 8)], 4, "full")) == 4


def test_what_the_engine_holds_back_is_waited_for() -> None:
    """A stream batch: a chunk comes out when the next one goes in."""
    made = ready()
    made.split([frame(n) for n in range(4, 12)], 4, "full")
    made.split([frame(n) for n in range(12, 20)], 4, "full")
    out = made.painted([5, 7, 9, 11], [paint(n) for n in (5, 7, 9, 11)])
    assert [seq for seq, _ in out] == list(range(4, 12))
    out = made.painted([13, 15, 17, 19], [paint(n) for n in (13, 15, 17, 19)])
    assert [seq for seq, _ in out] == list(range(12, 20))


def test_a_neighbour_that_must_not_be_shown_takes_its_picture_with_it() -> None:
    made = ready()
    made.split([frame(n) for n in range(4, 12)], 4, "full")
    assert made.lose([5, 7]) == [4, 6]
    out = made.painted([9, 11], [paint(9), paint(11)])
    assert [seq for seq, _ in out] == [8, 9, 10, 11]
    held = dict(out)[8]
    assert np.array_equal(held, paint(9)), "nothing is mixed with a picture that is two away"


def test_padding_is_no_neighbour() -> None:
    made = ready()
    made.split([frame(4), frame(5)], 4, "full")
    out = made.painted([4, 5, PADDING_SEQ, PADDING_SEQ], [paint(n) for n in (4, 5, 90, 90)])
    assert [seq for seq, _ in out] == [4, 5, PADDING_SEQ, PADDING_SEQ]
    made.split([frame(n) for n in range(6, 14)], 4, "full")
    between = made.painted([7], [paint(7)])[0]
    assert between[0] == 6
    assert abs(int(between[1].mean()) - 12) <= 1, "between 5 and 7, not 90 and 7"
