"""The GPU thread with pictures that are on their way when a step is over, as a GPU's are."""

from __future__ import annotations

import dataclasses

import pytest

from brushcast.errors import OutOfMemory
from brushcast_worker.mail import Changed, Closed
from tests.worker.conftest import Clock
from tests.worker.loop_rig import STATE, A, Rig


def test_a_file_s_pictures_are_read_back_while_the_next_are_painted(clock: Clock) -> None:
    rig = Rig(clock).open(lossless=True).send(*range(12))
    rig.engine.later = True
    rig.turn()
    assert rig.painted() == []
    rig.turn()
    assert rig.painted() == [0, 1, 2, 3]
    rig.turn()
    assert rig.painted() == list(range(8))
    assert rig.engine.waited == 2
    rig.turn()
    assert rig.painted() == list(range(12)), "nothing more to launch"


def test_a_camera_s_pictures_are_waited_for_at_once(clock: Clock) -> None:
    rig = Rig(clock).open().send(*range(4))
    rig.engine.later = True
    rig.turn()
    assert rig.painted() == [0, 1, 2, 3]


@pytest.mark.parametrize("end", ["another size", "closed"])
def test_what_was_launched_before_a_stream_changed_is_not_answered_twice(
    clock: Clock, end: str
) -> None:
    rig = Rig(clock).open(lossless=True).send(*range(4))
    rig.engine.later = True
    rig.turn()
    if end == "closed":
        rig.inbox.put(Closed(A))
    else:
        state = dataclasses.replace(STATE, lossless=True, width=128, revision=2)
        rig.inbox.put(Changed(A, state))
    rig.turn(3)
    assert rig.engine.waited == 0
    answers = [*rig.painted(), *rig.refused()]
    assert len(answers) == len(set(answers))
    assert rig.painted() == []


def test_a_device_that_fails_when_pictures_are_read_back_costs_none_of_them(clock: Clock) -> None:
    rig = Rig(clock).open(lossless=True).send(*range(8))
    rig.engine.later = True
    rig.engine.fails_midway = [RuntimeError("an illegal memory access")]
    rig.turn(6)
    assert rig.painted() == list(range(8))


def test_no_room_for_the_next_batch_costs_the_one_under_way_nothing(clock: Clock) -> None:
    rig = Rig(clock).open(lossless=True).send(*range(8))
    rig.engine.later = True
    rig.turn()
    rig.engine.fails = [OutOfMemory("none")]
    rig.turn()
    assert rig.painted() == [0, 1, 2, 3]
