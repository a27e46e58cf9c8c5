"""The GPU thread's rounds, with an engine that obeys the test and a clock that is set by hand."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch

from brushcast.errors import EngineError, OutOfMemory, PromptError
from brushcast.frame import Frame, Size
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState
from brushcast_worker.chunk import Chunk
from brushcast_worker.engine import EngineInfo, Job, Put
from brushcast_worker.loop import FAILURES_IN_A_ROW, Loop
from brushcast_worker.mail import (
    Arrived,
    Changed,
    Closed,
    Opened,
    Painted,
    Problem,
    Refused,
    Status,
    Stream,
    ToGpu,
    ToLink,
    new_inbox,
)
from brushcast_worker.stages.motion import CUT_ABOVE, STILL_BELOW, Picture, Seen, measure
from tests.worker.conftest import Clock

STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=64, height=64
)
A, B = Stream(1, 1), Stream(2, 1)


class FakeEngine:
    """Gives every chunk back inverted; fails and takes time as the test says."""

    def __init__(self, clock: Clock, *, steps: tuple[int, ...] = (1,)) -> None:
        self.info = EngineInfo(
            name="fake",
            device="cpu",
            device_name="a fake",
            dtype="float32",
            chunk_frames=4,
            steps=steps,
            default_steps=steps[-1],
            default_size=Size(64, 64),
            size_multiple=16,
            description="",
        )
        self.clock = clock
        self.takes_ms = 10.0
        self.parts = 1  # in which a chunk comes out
        self.part_takes_ms = 0.0
        self.fails: list[Exception] = []
        self.fails_midway: list[Exception] = []  # with a part of the chunk put out already
        self.spoils = 0
        self.spoilt_seqs: set[int] = set()
        self.opened: list[Size] = []
        self.batches: list[list[Job]] = []

    def check(self, preset: Preset) -> str:
        if "ink" not in preset.prompt:
            raise PromptError(f"no style known in {preset.prompt!r}; there is ink")
        return "the nearest is ink" if "inky" in preset.prompt else ""

    def open(self, preset: Preset, size: Size) -> list[Chunk]:
        self.opened.append(size)
        return []

    def counts(self, state: list[Chunk]) -> dict[str, int]:
        return {"opened": len(self.opened)}

    def frames_wanted(self, state: object) -> int:
        return 4

    def step(self, jobs: Sequence[Job], put: Put) -> None:
        self.batches.append(list(jobs))
        self.clock.sleep_ms(self.takes_ms)
        if self.fails:
            raise self.fails.pop(0)
        for n, job in enumerate(jobs):
            chunk = self._one(job)
            if chunk is not None:
                self._put(chunk, partial(put, n))

    def _put(self, chunk: Chunk, put: Callable[[Chunk], None]) -> None:
        """In as many parts as asked; the last one may fail."""
        size = len(chunk.seqs) // self.parts
        for at in range(0, len(chunk.seqs), size):
            if at and self.fails_midway:
                raise self.fails_midway.pop(0)
            put(
                dataclasses.replace(
                    chunk,
                    x_TCHW=chunk.x_TCHW[at : at + size],
                    seqs=chunk.seqs[at : at + size],
                    captured_ns=chunk.captured_ns[at : at + size],
                )
            )
            self.clock.sleep_ms(self.part_takes_ms)

    def _one(self, job: Job) -> Chunk | None:
        job.state.append(job.chunk)
        if len(job.state) < job.steps:
            return None
        chunk = job.state.pop(0)
        x_TCHW = -chunk.x_TCHW
        if self.spoils:
            self.spoils -= 1
            x_TCHW = torch.full_like(x_TCHW, float("nan"))
        for i, seq in enumerate(chunk.seqs):
            if seq in self.spoilt_seqs:
                x_TCHW[i] = float("nan")
        return dataclasses.replace(chunk, x_TCHW=x_TCHW)


class Rig:
    """A loop, its mail, and a hand on the clock."""

    def __init__(self, clock: Clock, **engine: object) -> None:
        self.clock = clock
        self.engine = FakeEngine(clock, **engine)  # type: ignore[arg-type]
        self.inbox: queue.Queue[ToGpu] = new_inbox()
        self.posted: list[ToLink] = []
        self.stop = threading.Event()
        self.loop = Loop(
            self.engine, inbox=self.inbox, post=self.posted.append, clock_ns=clock, stop=self.stop
        )

    def open(self, stream: Stream = A, **changes: object) -> Rig:
        state = dataclasses.replace(STATE, **changes)  # type: ignore[arg-type]
        self.inbox.put(Opened(stream, state))
        return self

    def send(self, *seqs: int, stream: Stream = A, end: bool = False, allowed_ms: int = 500) -> Rig:
        for seq in seqs:
            pixels_HWC = np.full((64, 64, 3), 255 - seq, np.uint8)
            pixels_HWC[: seq + 1] = 0
            letter = Arrived(
                stream=stream,
                frame=Frame(pixels_HWC, seq, seq),
                arrived_ns=self.clock.now_ns,
                deadline_ns=self.clock.now_ns + allowed_ms * 1_000_000,
                end=end and seq == seqs[-1],
            )
            self.inbox.put(letter)
        return self

    def turn(self, times: int = 1) -> Rig:
        for _ in range(times):
            self.loop.turn(0)
        return self

    def painted(self, stream: Stream = A) -> list[int]:
        return [p.seq for p in self.posted if isinstance(p, Painted) and p.stream == stream]

    def refused(self) -> list[tuple[int, str]]:
        return [(p.seq, p.reason) for p in self.posted if isinstance(p, Refused)]

    def problems(self) -> list[tuple[str, bool]]:
        return [(p.code, p.fatal) for p in self.posted if isinstance(p, Problem)]


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


def test_pictures_that_would_be_late_are_refused_and_the_newest_painted(clock: Clock) -> None:
    rig = Rig(clock).open().send(0, 1, 2, 3).turn()
    rig.send(4, 5, 6)
    clock.sleep_ms(600)
    rig.send(7, 8, 9).turn()
    assert rig.refused() == [(4, "stale"), (5, "stale")]
    assert rig.painted() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_overload_leads_to_fewer_steps_within_three_chunks(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2)).open(steps=2)
    rig.engine.takes_ms = 400
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


def test_the_status_is_told_about_twice_a_second(clock: Clock) -> None:
    rig = Rig(clock).open()
    for _ in range(40):
        rig.turn()
        clock.sleep_ms(100)
    told = [letter for letter in rig.posted if isinstance(letter, Status)]
    assert 7 <= len(told) <= 9
    assert told[-1].status.memory_bytes > 0


def test_waits_for_mail_as_long_as_nothing_is_due(clock: Clock) -> None:
    rig = Rig(clock).open()
    assert rig.loop.turn(0) > 100_000_000
    rig.send(0)
    assert 0 < rig.loop.turn(0) <= 500_000_000
    rig.send(1, 2, 3)
    assert rig.loop.turn(0) == 0


def test_warming_up_runs_whole_chunks_and_tells_the_cost(clock: Clock) -> None:
    rig = Rig(clock, steps=(1, 2))
    preset = Preset(name="ink", title="Ink", prompt="ink")
    rig.engine.info = dataclasses.replace(rig.engine.info, warm_up_chunks=4)
    assert rig.loop.warm_up(preset, Size(64, 64)) == 10_000_000
    assert len(rig.engine.batches) == 4
    assert rig.posted == []


def test_what_warms_up_is_one_scene_that_moves(clock: Clock) -> None:
    """After a cut a stream begins anew, and what it needs from then on would not be there."""
    rig = Rig(clock)
    rig.engine.info = dataclasses.replace(rig.engine.info, warm_up_chunks=3)
    rig.loop.warm_up(Preset(name="ink", title="Ink", prompt="ink"), Size(64, 64))
    seen = None
    for number, (job,) in enumerate(rig.engine.batches):
        motion = measure(job.chunk.pixels, seen)
        if number:
            assert motion.peak >= STILL_BELOW
            assert motion.cut < CUT_ABOVE
        last = Picture(job.chunk.pixels[-1], None)
        seen = Seen(last, last)


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
