"""The interpolated pictures of a stream: what is split, what comes back, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from brushcast.errors import OutOfMemory
from brushcast.frame import Frame, Pixels
from brushcast_worker.between import Between
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.mail import Painted, Status
from tests.worker.conftest import AtOnce, Clock
from tests.worker.loop_rig import A, Rig

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


def test_a_stream_that_has_just_begun_has_no_neighbour() -> None:
    made = Between(AtOnce())
    assert not made.ready
    assert len(made.split([frame(n) for n in range(8)], 4, "full")) == 8


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


class TestInTheLoop:
    """A stream whose rung interpolates, through the loop and its engine."""

    def rig(self, clock: Clock) -> Rig:
        rig = Rig(clock).open()
        self.interpolate(rig)
        return rig.send(*range(4)).turn()

    @staticmethod
    def interpolate(rig: Rig) -> None:
        rig.turn()
        ladder = rig.loop._sessions[A]._ladder
        ladder._at = next(n for n, rung in enumerate(ladder.rungs) if rung.every == 2)

    def test_the_engine_paints_half_of_the_pictures_and_all_of_them_are_answered(
        self, clock: Clock
    ) -> None:
        rig = self.rig(clock)
        for first in range(4, 28, 8):
            rig.send(*range(first, first + 4)).turn()
            rig.send(*range(first + 4, first + 8)).turn()
        assert rig.painted() == list(range(28))
        assert [len(batch[0].chunk.seqs) for batch in rig.engine.batches] == [4, 4, 4, 4]
        assert rig.engine.batches[1][0].chunk.seqs == (5, 7, 9, 11)
        assert rig.refused() == []

    def test_picture_by_picture_too(self, clock: Clock) -> None:
        rig = self.rig(clock)
        rig.engine.parts = 4
        rig.send(*range(4, 12)).turn()
        assert rig.painted() == list(range(12))

    def test_what_is_interpolated_lies_between_its_neighbours(self, clock: Clock) -> None:
        rig = self.rig(clock).send(*range(4, 12)).turn()
        levels = {p.seq: p.pixels_HWC[-1, -1, 0] for p in rig.posted if isinstance(p, Painted)}
        assert [int(levels[n]) for n in range(12)] == pytest.approx(list(range(12)), abs=1)

    def test_a_camera_that_stops_gets_all_of_it(self, clock: Clock) -> None:
        rig = self.rig(clock).send(4, 5, 6, 7, 8).turn()
        clock.sleep_ms(490)
        rig.turn(2)
        assert rig.painted() == list(range(9))

    def test_a_bad_picture_takes_what_would_be_made_of_it_along(self, clock: Clock) -> None:
        rig = self.rig(clock)
        rig.engine.parts = 4
        rig.engine.spoilt_seqs = {7}
        rig.send(*range(4, 12)).turn()
        assert rig.painted() == [0, 1, 2, 3, 4, 5]
        assert {seq for seq, reason in rig.refused() if reason == "bad output"} >= {6, 7}
        for first in (12, 16, 20, 24):
            rig.send(*range(first, first + 4)).turn()
        answered = rig.painted() + [seq for seq, _ in rig.refused()]
        assert sorted(set(answered)) == sorted(answered), "nothing is answered twice"

    def test_out_of_memory_gives_every_picture_back_in_order(self, clock: Clock) -> None:
        rig = self.rig(clock)
        rig.engine.fails = [OutOfMemory("no room", again=True)]
        rig.send(*range(4, 12)).turn(4)
        rig.send(*range(12, 16)).turn(2)
        assert rig.painted() == list(range(16))

    def test_the_bridge_is_told_how_many_pictures_a_chunk_takes(self, clock: Clock) -> None:
        rig = self.rig(clock)
        for first in range(4, 84, 8):
            rig.send(*range(first, first + 8)).turn()
            clock.sleep_ms(390)  # and 10 ms of painting
        clock.sleep_ms(200)
        status = [p.status for p in rig.turn().posted if isinstance(p, Status)][-1]
        assert status.chunk_frames == 8
        assert status.engine_fps == pytest.approx(20, rel=0.15), "those in between are told, too"

    def test_its_cost_is_learnt_apart_from_that_of_whole_chunks(self, clock: Clock) -> None:
        rig = self.rig(clock)
        for first in range(4, 60, 8):
            rig.send(*range(first, first + 8)).turn()
        session = rig.loop._sessions[A]
        assert session.shape.every == 2
        assert rig.loop._scheduler.latency.measured(session.shape, 1, 8)


class TestHold:
    """The lowest rung: nothing is computed, and everything that comes is refused at once."""

    def rig(self, clock: Clock) -> Rig:
        rig = Rig(clock).open(mode="balanced").send(*range(4)).turn()
        ladder = rig.loop._sessions[A]._ladder
        ladder._move(clock.now_ns, len(ladder.rungs) - 1)
        return rig

    def test_nothing_is_computed_and_the_bridge_is_told(self, clock: Clock) -> None:
        rig = self.rig(clock)
        before = len(rig.engine.batches)
        clock.sleep_ms(600)
        rig.send(*range(4, 12)).turn(3)
        assert len(rig.engine.batches) == before
        assert rig.refused() == [(n, "hold") for n in range(4, 12)]
        status = [p.status for p in rig.posted if isinstance(p, Status)][-1]
        assert (status.takes, status.rung) == (0, "hold")

    def test_after_a_while_it_is_tried_again(self, clock: Clock) -> None:
        rig = self.rig(clock)
        clock.sleep_ms(10_100)
        rig.turn(2).send(*range(20, 24)).turn()
        assert rig.painted() == [0, 1, 2, 3, 20, 21, 22, 23]
        clock.sleep_ms(600)
        rig.turn()
        assert [p.status for p in rig.posted if isinstance(p, Status)][-1].takes == 3
