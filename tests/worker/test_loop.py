"""The GPU thread's rounds, with an engine that obeys the test and a clock that is set by hand."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from brushcast.errors import EngineError, OutOfMemory
from brushcast.frame import Size
from brushcast_worker.loop import FAILURES_IN_A_ROW
from brushcast_worker.mail import Changed, Closed, Painted, Problem, Status, ToLink
from tests.worker.conftest import Clock
from tests.worker.loop_rig import STATE, A, B, Rig


def test_four_pictures_are_painted_and_named(clock: Clock) -> None:
    rig = Rig(clock).open(revision=5).send(0, 1, 2).turn()
    assert rig.painted() == []
    rig.send(3).turn()
    assert rig.painted() == [0, 1, 2, 3]
    painted = [letter for letter in rig.posted if isinstance(letter, Painted)]
    assert {letter.revision for letter in painted} == {5}
    assert painted[2].pixels_HWC[0, 0].tolist() == [255, 255, 255]
    assert painted[2].pixels_HWC[-1, -1].tolist() == [2, 2, 2]


def test_two_streams_share_a_forward_and_get_their_own(clock: Clock) -> None:
    rig = Rig(clock).open(A).open(B).send(0, 1, 2, 3, stream=A).send(10, 11, 12, 13, stream=B)
    rig.turn()
    assert len(rig.engine.batches) == 1
    assert rig.painted(A) == [0, 1, 2, 3]
    assert rig.painted(B) == [10, 11, 12, 13]


def test_a_stream_that_stops_gets_what_is_owed_before_it_is_late(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn().send(4, 5).turn()
    assert rig.painted() == [0, 1, 2, 3]
    clock.sleep_ms(495)
    rig.turn()
    assert rig.painted() == [0, 1, 2, 3, 4, 5]
    assert rig.refused() == []


def test_a_lossless_stream_is_drained_after_its_end_and_nothing_is_dropped(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2)).open(lossless=True)
    rig.engine.takes_ms = 5000
    for first in range(0, 20, 4):
        rig.send(*range(first, first + 4), allowed_ms=0).turn(2)
    rig.send(20, 21, end=True, allowed_ms=0).turn(4)
    assert rig.painted() == list(range(22))
    assert rig.refused() == []
    batches = len(rig.engine.batches)
    rig.turn(3)
    assert len(rig.engine.batches) == batches


def live(rig: Rig, count: int, *, gap_ms: float = 33.3, first: int = 0) -> None:
    """A camera: a picture every so often, and the loop's rounds in between."""
    for seq in range(first, first + count):
        rig.send(seq, allowed_ms=600).turn(2)
        rig.clock.sleep_ms(gap_ms)


def padded(rig: Rig) -> int:
    """How many pictures of chunks were there only to fill them up."""
    return sum(job.chunk.seqs.count(-1) for batch in rig.engine.batches for job in batch)


@pytest.mark.parametrize("gap_ms", [16.7, 33.3, 50])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_what_the_engine_holds_back_is_no_lateness(clock: Clock, steps: int, gap_ms: float) -> None:
    """A camera that goes on brings the chunks that bring its pictures out: nothing is padded, no
    rung is left, and nothing is refused, however long the engine's own delay is."""
    rig = Rig(clock, steps=(1, 2, 3, 4), late=3).open(steps=steps)
    live(rig, 120, gap_ms=gap_ms)
    assert padded(rig) == 0
    assert rig.painted() == list(range(120 - 4 * (steps - 1) - 3))
    assert {job.steps for batch in rig.engine.batches for job in batch} == {steps}
    assert rig.refused() == []


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_camera_that_stops_gets_what_a_late_engine_still_holds(clock: Clock, steps: int) -> None:
    rig = Rig(clock, steps=(1, 2, 3, 4), late=3).open(steps=steps)
    live(rig, 42)
    for _ in range(60):
        rig.turn()
        clock.sleep_ms(20)
    assert rig.painted() == list(range(42))
    assert rig.refused() == []
    batches = len(rig.engine.batches)
    clock.sleep_ms(5000)
    assert len(rig.turn(3).engine.batches) == batches, "nothing is owed any more"


def test_a_camera_that_pauses_goes_on_as_before(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2, 3, 4), late=3).open(steps=4)
    live(rig, 40)
    for _ in range(100):
        rig.turn()
        clock.sleep_ms(50)
    filled = padded(rig)
    live(rig, 80, first=40)
    assert padded(rig) == filled
    assert rig.painted()[:100] == list(range(100))


def test_an_engine_that_is_slower_than_the_camera_still_leads_down(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2, 3, 4), late=3).open(steps=4)
    rig.engine.takes_ms = 450
    for first in range(0, 48, 4):
        rig.send(*range(first, first + 4), allowed_ms=600).turn()
    assert rig.engine.batches[-1][0].steps == 1


@pytest.mark.parametrize("pictures", [1, 4, 21, 24])
def test_a_lossless_stream_through_a_late_engine_is_whole(clock: Clock, pictures: int) -> None:
    rig = Rig(clock, steps=(1, 2), late=3).open(lossless=True)
    rig.send(*range(pictures), end=True, allowed_ms=0).turn(20)
    assert rig.painted() == list(range(pictures))
    assert rig.refused() == []
    assert len(rig.engine.batches) <= -(-pictures // 4) + 2


def test_pictures_that_would_be_late_are_refused_and_the_newest_painted(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn()
    rig.send(4, 5, 6)
    clock.sleep_ms(600)
    rig.send(7, 8, 9).turn()
    assert rig.refused() == [(4, "stale"), (5, "stale")]
    assert rig.painted() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_overload_leads_to_fewer_steps_within_three_chunks(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2)).open(steps=2)
    rig.engine.takes_ms = 600
    for first in range(0, 32, 4):
        rig.send(*range(first, first + 4)).turn()
    assert [batch[0].steps for batch in rig.engine.batches[:1]] == [2]
    assert rig.engine.batches[-1][0].steps == 1


def test_an_unknown_wording_keeps_the_last_look_and_is_told(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn()
    rig.inbox.put(Changed(A, dataclasses.replace(STATE, revision=2, prompt="qwertz")))
    rig.send(4, 5, 6, 7).turn()
    assert rig.problems() == [("prompt", False)]
    assert rig.painted() == list(range(8))
    assert rig.engine.batches[-1][0].preset.prompt == "ink"


def test_what_an_unknown_wording_was_taken_for_is_told_and_painted(clock: Clock) -> None:
    rig = Rig(clock).open(prompt="inky stuff").send(0, 1, 2, 3).turn()
    assert rig.problems() == [("wording", False)]
    assert rig.painted() == [0, 1, 2, 3]


def test_a_stream_that_never_had_a_known_look_is_told_so_for_good(clock: Clock) -> None:
    rig = Rig(clock).open(prompt="qwertz").send(0, 1, 2, 3).turn()
    assert rig.problems() == [("prompt", True)]
    assert rig.painted() == []


def test_a_new_look_reaches_the_next_chunk(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn()
    rig.inbox.put(Changed(A, dataclasses.replace(STATE, revision=2, prompt="red ink")))
    rig.send(4, 5, 6, 7).turn()
    assert rig.engine.batches[-1][0].preset.prompt == "red ink"
    assert len(rig.engine.opened) == 1
    revisions = [letter.revision for letter in rig.posted if isinstance(letter, Painted)]
    assert revisions == [1] * 4 + [2] * 4


def test_another_size_is_a_new_state_and_what_waited_is_refused(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn().send(4, 5).turn()
    rig.inbox.put(Changed(A, dataclasses.replace(STATE, revision=2, width=128)))
    rig.turn()
    assert rig.refused() == [(4, "the size changed"), (5, "the size changed")]
    rig.send(6, 7, 8, 9).turn()
    assert rig.engine.opened == [Size(64, 64), Size(128, 64)]


def test_out_of_memory_paints_smaller_and_says_so(clock: Clock) -> None:
    rig = Rig(clock).open(width=256, height=256)
    rig.engine.fails = [OutOfMemory("256x256")]
    rig.send(0, 1, 2, 3).turn(2)
    assert rig.problems() == [("memory", False)]
    assert rig.painted() == [0, 1, 2, 3]
    assert rig.engine.opened[-1].area_px < 256 * 256
    message = next(letter.message for letter in rig.posted if isinstance(letter, Problem))
    assert str(rig.engine.opened[-1]) in message


def test_streams_that_do_not_fit_into_one_forward_are_run_apart(clock: Clock) -> None:
    rig = Rig(clock).open(A).open(B)
    rig.engine.fails = [OutOfMemory("2 streams")]
    for first in range(0, 12, 4):
        rig.send(*range(first, first + 4)).send(*range(first, first + 4), stream=B).turn(3)
    assert [len(batch) for batch in rig.engine.batches] == [2, *[1] * 6]
    assert rig.painted(A) == rig.painted(B) == list(range(12))
    assert set(rig.engine.opened) == {Size(64, 64)}


def test_a_stream_that_finds_no_room_in_a_batch_costs_the_others_nothing(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2)).open(A).send(0, 1, 2, 3).turn()
    rig.engine.fails_to_open = [OutOfMemory("64x64")]
    rig.open(B).send(4, 5, 6, 7).send(*range(4), stream=B).turn(4)
    assert rig.painted(A) == [0, 1, 2, 3]
    assert rig.refused() == []
    assert rig.loop._sessions[A].size == Size(64, 64)
    assert rig.loop._sessions[B].size.area_px < 64 * 64
    assert rig.problems() == [("memory", False)]


def test_a_lossless_stream_that_starts_anew_paints_again_what_was_inside(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2)).open(A, lossless=True)
    rig.send(*range(8), allowed_ms=0).turn(2)
    rig.engine.fails = [RuntimeError("a kernel")]
    rig.send(*range(8, 14), end=True, allowed_ms=0).turn(8)
    assert rig.painted() == list(range(14))
    assert rig.refused() == []


def test_out_of_memory_at_the_smallest_ends_that_stream_alone(clock: Clock) -> None:
    rig = Rig(clock).open(A).open(B, lossless=True)
    rig.engine.fails = [OutOfMemory("x")]
    rig.send(0, 1, 2, 3, stream=B, allowed_ms=0).turn(2)
    assert rig.problems() == [("memory", True)]
    rig.send(0, 1, 2, 3, stream=A).turn()
    assert rig.painted(A) == [0, 1, 2, 3]


def test_a_result_that_is_not_finite_is_never_posted(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.spoils = 2
    for first in range(0, 12, 4):
        rig.send(*range(first, first + 4)).turn()
    assert rig.painted() == [8, 9, 10, 11]
    assert [seq for seq, reason in rig.refused() if reason == "bad output"] == list(range(8))


def test_five_bad_results_are_a_new_state(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.spoils = 5
    for first in range(0, 24, 4):
        rig.send(*range(first, first + 4)).turn()
    assert len(rig.engine.opened) == 2
    assert rig.painted() == [20, 21, 22, 23]


def test_pictures_are_handed_out_before_the_rest_of_their_chunk_is_there(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.parts, rig.engine.part_takes_ms = 2, 40
    begun_ns = clock.now_ns
    handed_ms: list[float] = []
    post = rig.posted.append

    def watch(letter: ToLink) -> None:
        if isinstance(letter, Painted):
            handed_ms.append((clock.now_ns - begun_ns) / 1e6)
        post(letter)

    rig.loop._post = watch
    rig.send(0, 1, 2, 3).turn()
    assert handed_ms == [10, 10, 50, 50]
    assert rig.painted() == [0, 1, 2, 3]


def test_bad_pictures_in_the_middle_of_a_chunk_are_refused_with_the_rest_of_it(
    clock: Clock,
) -> None:
    rig = Rig(clock).open()
    rig.engine.parts = 4
    rig.engine.spoilt_seqs = {5}
    rig.send(0, 1, 2, 3).turn().send(4, 5, 6, 7).turn().send(8, 9, 10, 11).turn()
    assert rig.painted() == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert rig.refused() == [(seq, "bad output") for seq in (5, 6, 7)]


def test_chunks_that_are_partly_bad_lead_to_a_new_state_too(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.parts = 4
    rig.engine.spoilt_seqs = set(range(3, 20, 4))
    for first in range(0, 24, 4):
        rig.send(*range(first, first + 4)).turn()
    assert len(rig.engine.opened) == 2
    assert rig.painted()[-4:] == [20, 21, 22, 23]


@pytest.mark.parametrize("error", [RuntimeError("a kernel"), OutOfMemory("64x64")])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_failure_in_the_middle_of_a_chunk_answers_every_picture_once(
    clock: Clock, error: Exception, lossless: bool
) -> None:
    rig = Rig(clock).open(width=256, height=256, lossless=lossless)
    rig.engine.parts = 2
    rig.engine.fails_midway = [error]
    rig.send(0, 1, 2, 3, allowed_ms=5000).turn()
    assert rig.painted() == [0, 1]
    rig.send(4, 5, 6, 7, allowed_ms=5000, end=True).turn(3)
    answered = rig.painted() + [seq for seq, _ in rig.refused()]
    if lossless and isinstance(error, OutOfMemory):
        assert rig.problems() == [("memory", True)]  # it cannot do with less
    else:
        assert sorted(answered) == list(range(8))
        assert rig.painted()[:2] == [0, 1]
        assert not lossless or rig.refused() == []


def test_a_failing_engine_is_survived_twice_and_not_a_third_time(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.fails = [RuntimeError("a kernel")] * 2
    for first in range(0, 12, 4):
        rig.send(*range(first, first + 4)).turn()
    assert rig.painted() == [8, 9, 10, 11]
    rig.engine.fails = [RuntimeError("a kernel")] * FAILURES_IN_A_ROW
    for first in range(12, 20, 4):
        rig.send(*range(first, first + 4)).turn()
    rig.send(20, 21, 22, 23)
    with pytest.raises(EngineError, match="a kernel"):
        rig.turn()


def test_a_failing_engine_costs_a_lossless_stream_no_picture(clock: Clock) -> None:
    rig = Rig(clock).open(lossless=True)
    rig.engine.fails = [RuntimeError("a kernel")]
    rig.send(0, 1, 2, 3, allowed_ms=0).turn(2)
    assert rig.painted() == [0, 1, 2, 3]
    assert rig.refused() == []


def test_a_closed_stream_is_forgotten_and_its_late_mail_ignored(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2)
    rig.inbox.put(Closed(A))
    rig.send(3).turn(2)
    assert rig.painted() == []
    assert rig.engine.batches == []


def test_the_status_is_told_about_four_times_a_second(clock: Clock) -> None:
    rig = Rig(clock).open()
    for _ in range(40):
        rig.turn()
        clock.sleep_ms(100)
    told = [letter for letter in rig.posted if isinstance(letter, Status)]
    assert 12 <= len(told) <= 16
    assert told[-1].status.memory_bytes > 0


def test_waits_for_mail_as_long_as_nothing_is_due(clock: Clock) -> None:
    rig = Rig(clock).open()
    assert rig.loop.turn(0) > 100_000_000
    rig.send(0)
    assert 0 < rig.loop.turn(0) <= 500_000_000
    rig.send(1, 2, 3)
    assert rig.loop.turn(0) == 0


def test_stops_when_asked(clock: Clock) -> None:
    rig = Rig(clock)
    thread = threading.Thread(target=rig.loop.run)
    thread.start()
    rig.stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_closed_stream_is_summed_up(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig = Rig(clock).open().send(0, 1, 2, 3).turn(2)
    rig.inbox.put(Closed(A))
    rig.turn()
    assert "'results': 4" in caplog.text
    assert "memory {'opened': 1}" in caplog.text
