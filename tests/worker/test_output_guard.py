"""What must not be shown: pictures in, a reason out; and what the loop makes of it."""

import numpy as np
import pytest

from brushcast.errors import EngineError, OutOfMemory
from brushcast.frame import Pixels
from brushcast_worker.chunk import ReadBack
from brushcast_worker.mail import Stream
from brushcast_worker.output_guard import ALIVE_LEVELS, BLANK_LEVELS, what_is_wrong
from brushcast_worker.session import BAD_IN_A_ROW
from tests.worker.conftest import Clock
from tests.worker.loop_rig import A, B, Rig

SHAPE = (64, 96, 3)


def flat(level: int, *, spans: int = 0) -> Pixels:
    """One colour, but for one pixel."""
    pixels_HWC = np.full(SHAPE, level, np.uint8)
    pixels_HWC[5, 7, 1] += spans
    return pixels_HWC


def back(*pictures: Pixels, low: float = -1.0, high: float = 1.0) -> ReadBack:
    return ReadBack(list(pictures), low, high)


SCENE = flat(20, spans=ALIVE_LEVELS)
GOOD = flat(100, spans=BLANK_LEVELS)


@pytest.mark.parametrize(
    ("low", "high"),
    [(float("nan"), float("nan")), (-1.0, float("inf")), (-float("inf"), 1.0), (-1.5, 1.0)],
)
def test_values_out_of_range_are_wrong_whatever_the_picture(low: float, high: float) -> None:
    assert what_is_wrong(back(GOOD, low=low, high=high), [SCENE]) == "not finite"


def test_good_pictures_pass() -> None:
    assert what_is_wrong(back(GOOD, GOOD), [SCENE, None]) is None


def test_one_blank_picture_in_a_good_chunk_is_found() -> None:
    assert what_is_wrong(back(GOOD, flat(90), GOOD), [SCENE] * 3) == "one colour"


def test_what_is_one_colour_is_not_always_grey() -> None:
    red = np.zeros(SHAPE, np.uint8)
    red[..., 0] = 250
    assert what_is_wrong(back(red), [SCENE]) == "one colour"


def test_a_covered_lens_may_give_one_colour() -> None:
    assert what_is_wrong(back(flat(90)), [flat(20, spans=ALIVE_LEVELS - 1)]) is None


def test_a_picture_that_only_fills_the_chunk_up_is_nobodys() -> None:
    assert what_is_wrong(back(GOOD, flat(90)), [SCENE, None]) is None


def test_one_pixel_off_the_grid_is_enough_to_look_alive() -> None:
    assert what_is_wrong(back(flat(90, spans=BLANK_LEVELS)), [SCENE]) is None
    assert what_is_wrong(back(flat(90, spans=BLANK_LEVELS - 1)), [SCENE]) == "one colour"


def bad_chunks(rig: Rig, count: int, *streams: Stream, first: int = 0) -> None:
    """Each stream sends so many chunks."""
    for chunk in range(first, first + count):
        for stream in streams:
            rig.send(*range(4 * chunk, 4 * chunk + 4), stream=stream)
        rig.turn()
        rig.clock.sleep_ms(133)


def test_bad_results_of_a_new_state_too_end_the_process(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.spoils = 1000
    bad_chunks(rig, 2 * BAD_IN_A_ROW - 1, A)
    assert len(rig.engine.opened) == 2
    with pytest.raises(EngineError, match=r"no usable picture any more.*not finite"):
        bad_chunks(rig, 1, A, first=20)
    assert rig.painted() == []


def test_a_stream_that_is_bad_beside_a_good_one_ends_alone(clock: Clock) -> None:
    rig = Rig(clock).open(A).open(B, prompt="bad ink")
    rig.engine.spoilt_prompt = "bad ink"
    bad_chunks(rig, 3 * BAD_IN_A_ROW, A, B)
    assert rig.problems() == [("bad-output", True)]
    assert rig.painted(A) == list(range(12 * BAD_IN_A_ROW))
    assert rig.painted(B) == []


def test_one_blank_picture_in_a_chunk_is_never_posted(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.blank_seqs = {2}
    rig.send(0, 1, 2, 3).turn().send(4, 5, 6, 7).turn()
    assert rig.painted() == [4, 5, 6, 7]
    assert {reason for _, reason in rig.refused()} == {"bad output"}


def test_memory_that_no_longer_does_ends_the_process_once_it_has_done(clock: Clock) -> None:
    """What never fitted is told for good; what once did is worth a new process."""
    rig = Rig(clock).open()
    rig.send(0, 1, 2, 3).turn()
    assert rig.painted() == [0, 1, 2, 3]
    rig.engine.fails = [OutOfMemory("x")] * 20
    with pytest.raises(EngineError, match="the memory of a fake does not do"):
        bad_chunks(rig, 20, A, first=1)
    fresh = Rig(clock).open()
    fresh.engine.fails = [OutOfMemory("x")] * 20
    bad_chunks(fresh, 5, A)
    assert fresh.problems()[-1] == ("memory", True)
