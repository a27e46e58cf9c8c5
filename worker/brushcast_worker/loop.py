"""The GPU thread: MAIN PATH of the worker. Mail in, the scheduler's choice, one step, mail out.

    turn ─► _read_mail ─► session.arrive       pictures join their stream's queue
         ─► _choose    ─► scheduler.next       stale ones fall; who runs, or until when to wait
         ─► _run       ─► chunk ─► engine.step
         ─► _land      ─► pictures ─► Painted, as they come
                       └► cost back to the scheduler, lateness back to the stream's ladder

The thread owns the engine, every session and the device; nothing else touches them. It talks to the
link thread by mail only.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from brushcast.errors import EngineError, InputError, OutOfMemory
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk, chunks_from_frames, read_back
from brushcast_worker.engine import Engine, Job
from brushcast_worker.flight import Flight, Turn
from brushcast_worker.mail import (
    Arrived,
    Changed,
    Closed,
    Opened,
    Painted,
    Problem,
    Refused,
    Status,
    ToGpu,
    ToLink,
)
from brushcast_worker.memory import used_bytes, used_share
from brushcast_worker.output_guard import what_is_wrong
from brushcast_worker.pulse import Pulse
from brushcast_worker.scheduler import Batch, Scheduler, Wait
from brushcast_worker.session import Session, look_of
from brushcast_worker.worker_figures import WorkerFigures

log = logging.getLogger(__name__)

STATUS_EVERY_NS = 250_000_000
LONGEST_WAIT_NS = 250_000_000  # how long stopping may take, and how old a status may get
HANDS = 2  # interpolate, beside this thread
FAILURES_IN_A_ROW = 3  # of the engine, for reasons unknown: then this process is not worth keeping


class Loop:
    """Runs on the GPU thread, until `stop` is set. `pulse` is for other threads to read."""

    def __init__(
        self,
        engine: Engine,
        *,
        inbox: queue.Queue[ToGpu],
        post: Callable[[ToLink], None],
        clock_ns: Callable[[], int],
        stop: threading.Event,
        figures: WorkerFigures | None = None,
    ) -> None:
        """post: hands mail to the link thread; may be called from this thread at any time.
        figures: of the process; None: its own."""
        self._engine = engine
        self._inbox = inbox
        self._post = post
        self._clock_ns = clock_ns
        self._stop = stop
        self._figures = figures or WorkerFigures()
        self._device = torch.device(engine.info.device)
        self._scheduler = Scheduler()
        self._sessions: dict[Hashable, Session] = {}  # by Stream
        self._flights: deque[Flight] = deque()
        self._landed_ns = 0  # the last one
        self._failures_in_a_row = 0
        self._status_ns = 0
        self._trained = engine.info.trained
        self._useless = ""  # why this process is not worth keeping
        self._memory_share = 0.0
        self._hands = ThreadPoolExecutor(HANDS, "between")
        info = engine.info
        self.pulse = Pulse(
            clock_ns, slow_start_s=info.slow_start_s, usual_area_px=info.default_size.area_px
        )

    def run(self) -> None:
        """Until stopped. Raises EngineError when the engine failed again and again."""
        wait_ns = 0
        try:
            while not self._stop.is_set():
                wait_ns = self.turn(wait_ns)
        finally:
            self._hands.shutdown(cancel_futures=True)

    def turn(self, wait_ns: int) -> int:
        """One round: waits for mail up to `wait_ns`, runs at most one batch. How long the next one
        may wait."""
        self._read_mail(wait_ns)
        choice = self._choose(self._clock_ns())
        sessions = [self._sessions[s] for s in choice.ids] if isinstance(choice, Batch) else []
        self.pulse.begins(sessions)
        if sessions:
            self._run(sessions)
        self._land(ahead=bool(sessions))
        self.pulse.ends()
        if self._useless:
            raise EngineError(self._useless)
        self._tell_status()
        return 0 if isinstance(choice, Batch) else self._patience_ns(choice)

    # ------------------------------------------------------------------ mail in

    def _read_mail(self, wait_ns: int) -> None:
        """Everything that has arrived; waits for the first of it as long as there is nothing to
        run."""
        try:
            self._open_letter(self._inbox.get(block=wait_ns > 0, timeout=wait_ns / 1e9 or None))
            while True:
                self._open_letter(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _open_letter(self, letter: ToGpu) -> None:
        session = self._sessions.get(letter.stream)
        if isinstance(letter, Opened):
            session = Session(letter.stream, letter.state, self._engine.info, self._hands)
            self._sessions[letter.stream] = session
            self._follow(session, letter)
        elif session is None:
            return  # the mail of a stream that ended while it was on its way
        elif isinstance(letter, Arrived):
            session.arrive(letter)
            self.pulse.arrived()
        elif isinstance(letter, Changed):
            self._follow(session, letter)
        elif isinstance(letter, Closed):
            del self._sessions[letter.stream]
            self._sum_up(session)

    def _sum_up(self, session: Session) -> None:
        """What became of a stream's pictures, and what the engine's memory did for them."""
        state = session.engine_state
        memory = {} if state is None else dict(self._engine.counts(state))
        log.info("stream %x: %s, memory %s", session.stream.session, dict(session.counts), memory)

    def _follow(self, session: Session, letter: Opened | Changed) -> None:
        """A new look, if the engine can make anything of it; otherwise the last good one stays."""
        look: Preset | None
        try:
            look = look_of(letter.state)
            remark = self._engine.check(look)
            if remark:
                self._post(Problem(session.stream, "wording", remark, fatal=False))
        except InputError as error:
            look = None
            message = str(error) if session.preset is None else f"{error}; the last look stays"
            nothing_to_show = session.preset is None
            self._post(Problem(session.stream, "prompt", message, fatal=nothing_to_show))
        self._refuse(session, session.follow(letter.state, look), "the size changed")

    # ------------------------------------------------------------------ what to run

    def _choose(self, now_ns: int) -> Batch | Wait:
        waiting = []
        for session in self._sessions.values():
            resting = session.rest(now_ns)
            if resting is not None:
                self._refuse(session, resting, "hold")
                continue
            if session.preset is None:
                continue
            wanted = self._wanted(session)
            stale = self._scheduler.stale(session.as_waiting(wanted), now_ns)
            self._refuse(session, session.drop_oldest(stale), "stale")
            waiting.append(session.as_waiting(wanted))
        return self._scheduler.next(waiting, now_ns)

    def _wanted(self, session: Session) -> int:
        if session.engine_state is None:
            return self._engine.info.chunk_frames
        return self._engine.frames_wanted(session.engine_state)

    def _patience_ns(self, wait: Wait) -> int:
        if wait.until_ns is None:
            return LONGEST_WAIT_NS
        return min(max(wait.until_ns - self._clock_ns(), 1), LONGEST_WAIT_NS)

    # ------------------------------------------------------------------ run it

    def _run(self, sessions: Sequence[Session]) -> None:
        """One batch is launched, from waiting pictures on; `_land` has the painted ones."""
        turns: list[Turn] = []
        flight = Flight(turns, self._clock_ns())
        short: OutOfMemory | None = None
        try:
            for session in sessions:
                turns.append(Turn(session, session.shape, session.take(self._wanted(session))))
            self._step(flight)
        except OutOfMemory as error:
            # What was raised holds on to the states and tensors of the step: they must go first.
            short = OutOfMemory(str(error), again=error.again, job=error.job)
        except Exception as error:  # noqa: BLE001 - whatever a model can raise; reported, and counted
            self._survive(turns, error)
            return
        if short is not None:
            self._land(ahead=False)
            for turn in turns:
                turn.state = None
            self._make_room(turns, short)
            return
        self._flights.append(flight)

    def _step(self, flight: Flight) -> None:
        turns = flight.turns
        for number, turn in enumerate(turns):
            self._open_state(turn.session, number)
            turn.state = turn.session.engine_state
        chunks = chunks_from_frames([turn.frames for turn in turns], self._device)
        jobs = [_job(turn, chunk) for turn, chunk in zip(turns, chunks, strict=True)]

        def put(number: int, pictures: Chunk) -> None:
            if pictures.coming:
                flight.coming.append((turns[number], pictures))
            else:
                self._hand_out(turns[number], pictures)

        self._engine.step(jobs, put)

    def _land(self, *, ahead: bool) -> None:
        """Waits for the pictures of what was launched: `ahead`, where no camera waits, not for the
        last batch's, so that the device has work while others are read back and brought."""
        while self._flights:
            flight = self._flights[0]
            last = len(self._flights) == 1
            if ahead and last and all(turn.session.lossless for turn in flight.turns):
                return
            self._flights.popleft()
            try:
                for turn, pictures in flight.coming:
                    self._hand_out(turn, pictures)
                for turn in flight.turns:
                    if self._runs_on(turn):
                        self._close(turn)
            except Exception as error:  # noqa: BLE001 - what the device says late
                self._survive(flight.turns, error)
                return
            self._failures_in_a_row = 0
            now_ns = self._clock_ns()
            self._account(flight.turns, now_ns - max(flight.begun_ns, self._landed_ns))
            self._landed_ns = now_ns

    def _runs_on(self, turn: Turn) -> bool:
        """Whether pictures are still waited for: not of a stream that ended or started anew."""
        session = turn.session
        return session.engine_state is turn.state and self._sessions.get(session.stream) is session

    def _open_state(self, session: Session, number: int) -> None:
        if session.engine_state is not None:
            return
        assert session.preset is not None
        try:
            session.engine_state = self._engine.open(session.preset, session.size)
        except OutOfMemory as error:
            raise OutOfMemory(str(error), job=number) from None

    def _hand_out(self, turn: Turn, result: Chunk) -> None:
        """Pictures to the link thread while the rest of the chunk is painted, unless they must not
        be shown."""
        if not self._runs_on(turn):
            return
        session, turn.came_out, turn.reused = turn.session, True, result.reused
        back = read_back(result)
        turn.wrong = turn.wrong or what_is_wrong(
            back, session.sources(result.seqs), trained=self._trained
        )
        if turn.wrong:
            turn.rejected += result.seqs
            return
        complete = session.complete(result.seqs, back.pictures)
        for seq, pixels_HWC in complete:
            self._post(
                Painted(
                    stream=session.stream,
                    seq=seq,
                    revision=session.asked.revision,
                    pixels_HWC=pixels_HWC,
                    reused=result.reused,
                )
            )
        seqs = [seq for seq, _ in complete]
        session.painted(seqs, self._clock_ns(), reused=result.reused)
        self._figures.painted(seqs, reused=result.reused)
        self.pulse.finished()

    def _close(self, turn: Turn) -> None:
        """A chunk is over: what the stream learns from it."""
        session = turn.session
        if turn.wrong:
            self._reject(turn)
            return
        rung = session.finish(self._clock_ns(), came_out=turn.came_out, memory=self._memory_share)
        if rung is not None:
            self._status_ns = 0  # the bridge sends what the rung takes
            log.info(
                "stream %x: now at rung %r (%s)", session.stream.session, rung.name, session.size
            )
            self._refuse_lost(session)

    def _account(self, turns: Sequence[Turn], took_ns: int) -> None:
        """What the batch cost, for the next choice. Nothing is learnt from one that computed
        nothing."""
        for turn in turns:
            turn.session.took(took_ns)
        if any(turn.reused for turn in turns):
            return
        shape = turns[0].shape
        pictures = len(turns[0].frames) * shape.every
        self._scheduler.latency.learn(shape, len(turns), pictures, took_ns)
        best_rate = self._scheduler.latency.best_rate(shape, pictures) / shape.every
        self._figures.ran(turns, took_ns, best_rate)

    # ------------------------------------------------------------------ what goes wrong

    def _make_room(self, turns: Sequence[Turn], short: OutOfMemory) -> None:
        """Out of memory, in this process. One job that did not fit leaves the others alone; else
        every state of the batch may be half a step ahead, and starts anew: with a smaller batch, or
        where there was one stream, with a smaller picture."""
        log.warning("out of memory: %s", short)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        for turn in turns:
            turn.session.take_back()
        hit = turns if short.job is None else [turns[short.job]]
        for turn in hit:
            self._refuse(turn.session, turn.session.start_anew(), "out of memory")
        if not short.again and len(hit) == 1:
            self._give_way(hit[0].session, short)
            return
        if not short.again:
            self._scheduler.limit(turns[0].shape, len(turns) // 2)
        at_once = "less is painted at once"
        for turn in hit:
            message = f"out of memory at {turn.session.size}: from now on {at_once}"
            self._post(Problem(turn.session.stream, "memory", message, fatal=False))

    def _give_way(self, short_of: Session, short: OutOfMemory) -> None:
        """The largest picture gets smaller, of several the newest stream's, and its user is told;
        no rung left anywhere: the stream that found no room ends."""
        sessions = [
            (session.size.area_px, number, session)
            for number, session in enumerate(self._sessions.values())
            if session is short_of or session.engine_state is not None
        ]
        for _, _, session in sorted(sessions, key=lambda found: found[:2], reverse=True):
            before = session.size
            if session.out_of_memory(self._clock_ns()) is not None:
                self._refuse(session, session.start_anew(), "out of memory")
                message = f"out of memory at {before}: the picture is now painted at {session.size}"
                self._post(Problem(session.stream, "memory", message, fatal=False))
                return
        message = f"the memory of {self._engine.info.device_name} does not do: {short}"
        if short_of.counts["results"] and not short_of.lossless and len(self._sessions) == 1:
            self._useless = message  # it did before: a new process has what this one lost
        else:
            self._end(short_of, "memory", message)

    def _survive(self, turns: Sequence[Turn], error: Exception) -> None:
        """The engine failed for a reason unknown: every stream of the batch starts anew."""
        log.exception("the engine failed", exc_info=error)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise EngineError(
                f"the engine failed {FAILURES_IN_A_ROW} times in a row, the last time with "
                f"{type(error).__name__}: {error}"
            ) from error
        for turn in turns:
            turn.session.counts["failures"] += 1
            self._refuse(turn.session, turn.session.start_anew(), "the engine failed")

    def _reject(self, turn: Turn) -> None:
        """Pictures that must not be shown: held back and counted; a lossless stream cannot do
        without them."""
        session = turn.session
        log.warning("stream %x: a result was rejected: %s", session.stream.session, turn.wrong)
        session.counts["rejected"] += 1
        if session.lossless:
            self._end(session, "bad-output", f"the model gave no usable picture ({turn.wrong})")
            return
        self._refuse(session, session.reject(turn.rejected), "bad output")
        if session.hopeless:
            self._give_up(session, f"a new state did not help: results are {turn.wrong}")

    def _give_up(self, session: Session, why: str) -> None:
        """Weights or device are damaged, and this process with them; unless another stream is well:
        then it is this one's wish."""
        if len(self._sessions) == 1 or self.pulse.stalled:
            self._useless = f"the model gives no usable picture any more: {why}"
        else:
            self._end(session, "bad-output", f"the model gave no usable picture ({why})")

    def _refuse_lost(self, session: Session) -> None:
        """A new size is a new engine state: what was inside the old one has no result."""
        if session.engine_state is None:
            self._refuse(session, session.start_anew(), "the size changed")

    def _refuse(self, session: Session, seqs: Sequence[int], reason: str) -> None:
        session.counts["refused"] += len(seqs)
        for seq in seqs:
            self._post(Refused(session.stream, seq, reason))

    def _end(self, session: Session, code: str, message: str) -> None:
        self._sessions.pop(session.stream, None)
        self._post(Problem(session.stream, code, message, fatal=True))

    # ------------------------------------------------------------------ status

    def _tell_status(self) -> None:
        now_ns = self._clock_ns()
        if now_ns - self._status_ns < STATUS_EVERY_NS:
            return
        self._status_ns = now_ns
        device = self._engine.info.device
        memory_bytes, self._memory_share = used_bytes(device), used_share(device)
        told = self._figures.tell(self._sessions.values(), self._engine, memory_bytes, now_ns)
        for session, status in zip(self._sessions.values(), told, strict=True):
            self._post(Status(session.stream, status))


def _job(turn: Turn, chunk: Chunk) -> Job:
    session = turn.session
    assert session.preset is not None
    return Job(
        state=session.engine_state,
        chunk=chunk,
        preset=session.preset,
        steps=session.steps,
        lossless=session.lossless,
    )
