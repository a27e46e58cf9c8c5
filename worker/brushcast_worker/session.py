"""Session: everything that the worker remembers about one stream. The GPU thread owns it.

A reset is a new engine state, never cleared fields. Pictures are in one of two places here: waiting
(in order, not yet given to the engine) or inside (given to it, no result yet); each leaves with a
result or a refusal.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Executor

from brushcast.frame import Frame, Pixels, Size, model_size, resize
from brushcast.metrics import Rate
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState, WorkerStatus
from brushcast_worker.between import Between
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.engine import EngineInfo, EngineState
from brushcast_worker.ladder import Ladder, Outcome, Rung
from brushcast_worker.latency import Shape
from brushcast_worker.mail import Arrived, Stream
from brushcast_worker.mode import mode_of
from brushcast_worker.scheduler import Waiting

log = logging.getLogger(__name__)

# more is scaled down before the model: no stream needs it, every device would choke
MAX_AREA_PX = 1920 * 1088
# A source is taken to have stopped when nothing has come for so long, or for two of its gaps: the
# slowest camera's gap is 200 ms.
QUIET_NS = 250_000_000
PAUSE_NS = 1_000_000_000  # a gap this long is a pause, and says nothing of the source's rate
# What the engine holds back (a chunk for each further step, and what comes late) is its own delay,
# not the worker's lateness; but it may at most double the time allowed.
WITH_OWN_DELAY = 2.0
# busy for less of the time than this: it is the source that is slow, not the worker
IDLE_BELOW = 0.85
STEP_SMOOTHING = 0.3  # weight of the newest chunk in what the bridge is told
BAD_IN_A_ROW = 5  # rejected results before the stream gets a new state (facts/reliability.md)
STATES_IN_VAIN = 2  # so many states in a row that gave nothing usable: no third one will


class Session:
    """One stream. See the file's head for the invariant."""

    def __init__(
        self, stream: Stream, state: StreamState, info: EngineInfo, hands: Executor
    ) -> None:
        """The look is not checked here: the loop asks the engine, then calls `follow`. hands: of
        whoever interpolates."""
        self.stream = stream
        self.asked = state
        self.preset: Preset | None = None  # the last good look; None: there never was one
        self.engine_state: EngineState | None = None
        self.ended = False
        self.counts: Counter[str] = Counter()  # results, reused, refused by reason
        self.step_ms = 0.0  # what a chunk takes, smoothed
        self._info = info
        self._ladder = self._new_ladder()
        self._between = Between(hands)
        self._waiting: deque[Arrived] = deque()
        self._inside: dict[int, Arrived] = {}
        self._fresh: set[int] = set()  # of those inside: taken by the step that runs
        self._ages: list[float] = []  # of the chunk's painted pictures, 1 is at the deadline
        self._bad_in_a_row = 0
        self._states_in_vain = 0
        self._stale_since_step = 0
        self._took_ns = 0  # the last chunk
        self._begun_ns = 0  # when the first picture of the step that runs arrived
        self._collect_ns = 0  # what its pictures took to come
        self._taken_ns = 0  # when the last of those arrived
        self._period_ns = 0  # between that and the last of the step before
        self._results = Rate(window_s=4)  # of chunks
        self._gap_ns = 0  # between arrivals, smoothed
        self._arrived_ns: int | None = None  # the last of all
        self._size = self._computed_size()

    # ------------------------------------------------------------------ what the bridge wants

    @property
    def lossless(self) -> bool:
        return self.asked.lossless

    @property
    def size(self) -> Size:
        """What is computed: the asked size in the engine's multiples, smaller on lower rungs."""
        return self._size

    @property
    def steps(self) -> int:
        return self._ladder.rung.steps

    def follow(self, state: StreamState, look: Preset | None) -> list[int]:
        """The bridge's state from now on; `look` is None when the engine does not know the wording,
        and the last good look stays. Returns the seqs of the pictures that fell to a change of
        size, to be refused."""
        before, self.asked = self.asked, state
        if look is not None:
            self.preset = look
        if _rungs_of(before) != _rungs_of(state):
            self._ladder = self._new_ladder()
        fallen: list[int] = []
        if (before.width, before.height) != (state.width, state.height):
            self._between.forget()
            fallen = [*self._inside, *(arrived.frame.seq for arrived in self._waiting)]
            self._inside.clear()
            self._waiting.clear()
        self.place()
        return fallen

    def place(self) -> None:
        """Takes the size of the asked picture and of the rung; another size is a new engine
        state."""
        size = self._computed_size()
        if size != self._size:
            self._size, self.engine_state = size, None
            self._between.forget()
        elif self._ladder.rung.every == 1:
            self._between.forget()

    # ------------------------------------------------------------------ pictures in

    def arrive(self, arrived: Arrived) -> None:
        """A picture begins to wait."""
        gap_ns = 0 if self._arrived_ns is None else arrived.arrived_ns - self._arrived_ns
        if 0 < gap_ns < PAUSE_NS:
            self._gap_ns = gap_ns if not self._gap_ns else (3 * self._gap_ns + gap_ns) // 4
        self._arrived_ns = arrived.arrived_ns
        self._waiting.append(arrived)
        self.ended = self.ended or arrived.end

    @property
    def shape(self) -> Shape:
        """What the next chunk costs."""
        return Shape(self._size.width, self._size.height, self.steps, self._every)

    def as_waiting(self, wanted: int) -> Waiting:
        """This stream as the scheduler sees it; its engine paints `wanted` pictures at a time."""
        wanted *= self._every
        inside = next(iter(self._inside.values()), None)
        missing = wanted - len(self._waiting)
        full_ns = None
        if self._waiting and self._gap_ns and missing > 0:
            full_ns = self._waiting[-1].arrived_ns + missing * self._gap_ns
        return Waiting(
            id=self.stream,
            shape=self.shape,
            wanted=wanted,
            deadlines_ns=tuple(arrived.deadline_ns for arrived in self._waiting),
            owed_ns=None if inside is None else inside.deadline_ns,
            quiet_ns=(self._arrived_ns or 0) + max(QUIET_NS, 2 * self._gap_ns),
            full_ns=full_ns,
            lossless=self.lossless,
            ended=self.ended,
        )

    def drop_oldest(self, count: int) -> list[int]:
        """Gives up the oldest waiting pictures as stale; their seqs, to be refused."""
        self._stale_since_step += count
        return [self._waiting.popleft().frame.seq for _ in range(count)]

    def take(self, wanted: int) -> list[Frame]:
        """The next chunk's pictures that are painted, `wanted` of them, at the computed size; a
        short chunk is filled with its last picture."""
        most = wanted * self._every
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if taken:
            newest_ns = taken[-1].arrived_ns
            self._begun_ns = taken[0].arrived_ns
            self._collect_ns = newest_ns - self._begun_ns
            self._period_ns, self._taken_ns = newest_ns - self._taken_ns, newest_ns
        self._inside |= {arrived.frame.seq: arrived for arrived in taken}
        self._fresh = {arrived.frame.seq for arrived in taken}
        frames = [
            Frame(resize(a.frame.pixels_HWC, self._size), a.frame.seq, a.frame.captured_ns)
            for a in taken
        ]
        if self._ladder.rung.every > 1:
            frames = self._between.split(frames, wanted, mode_of(self.asked.mode).care)
        last = frames[-1] if frames else self._last_picture()
        while len(frames) < wanted:
            frames.append(Frame(last.pixels_HWC, PADDING_SEQ, last.captured_ns))
        return frames

    def rest(self, now_ns: int) -> list[int] | None:
        """On the lowest rung: the seqs of whatever is there, to be refused, for nothing is
        computed; None: it is not, or is left now."""
        if self._ladder.rung.takes:
            return None
        if self._ladder.idle(now_ns) is not None:
            self.place()
            return None
        return self.drop_oldest(len(self._waiting)) + self.start_anew()

    # ------------------------------------------------------------------ results out

    def complete(self, seqs: Sequence[int], pictures: Sequence[Pixels]) -> list[tuple[int, Pixels]]:
        """What the engine painted, with the interpolated pictures between; without padding."""
        return [part for part in self._between.painted(seqs, pictures) if part[0] != PADDING_SEQ]

    def painted(self, seqs: Sequence[int], now_ns: int, *, reused: bool) -> None:
        """These pictures have their results: they are inside no more."""
        done = [self._inside.pop(seq) for seq in seqs if seq in self._inside]
        self.counts["results"] += len(done)
        self.counts["reused"] += len(done) if reused else 0
        for arrived in done:
            own = 1.0 if arrived.frame.seq in self._fresh else WITH_OWN_DELAY
            self._ages.append(_age(arrived, now_ns) / own)

    def finish(self, now_ns: int, *, came_out: bool = True, memory: float = 0.0) -> Rung | None:
        """A step is over, and what it painted is out. The new rung, if it changed. memory: part of
        the device's that is in use."""
        if came_out:
            self._results.add(now_ns)
            self._bad_in_a_row = self._states_in_vain = 0
        held = [self._inside[seq] for seq in self._fresh if seq in self._inside]
        self._ages += [_age(arrived, now_ns) for arrived in held]
        self._fresh = set()
        age, self._ages = max(self._ages, default=None), []
        if self.lossless or age is None:
            return None
        dropped, self._stale_since_step = self._stale_since_step, 0
        outcome = Outcome(
            age=age,
            collect=self._collect_ns / max(self._allowed_ns, 1),
            load=self._load(),
            dropped=dropped,
            pressed=self.asked.pressure,
            network=self.asked.network_limited,
            memory=memory,
            begun_ns=self._begun_ns,
        )
        if log.isEnabledFor(logging.DEBUG):
            _note(now_ns, self._ladder.rung, outcome)
        rung = self._ladder.observe(now_ns, outcome)
        if rung is not None:
            self.place()
        return rung

    def took(self, took_ns: int) -> None:
        """A chunk of this stream was computed in so long: for the bridge, which sends at that
        pace."""
        self._took_ns = took_ns
        took_ms = took_ns / 1e6
        if not self.step_ms:
            self.step_ms = took_ms
        self.step_ms += STEP_SMOOTHING * (took_ms - self.step_ms)

    def reject(self, seqs: Sequence[int]) -> list[int]:
        """Pictures of a chunk that must not be shown. After five such chunks in a row the stream
        starts anew. The seqs, to be refused."""
        seqs = [*seqs, *self._between.lose(seqs)]
        gone = [seq for seq in seqs if self._inside.pop(seq, None) is not None]
        self._ages.clear()
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= BAD_IN_A_ROW:
            self._bad_in_a_row = 0
            self._states_in_vain += 1
            self.counts["new states"] += 1
            return gone + self.start_anew()
        return gone

    def start_anew(self) -> list[int]:
        """Forgets the engine's state; the seqs of what was inside, to be refused. Of a lossless
        stream nothing is: what was inside waits again, first in line."""
        if self.lossless:
            self._waiting.extendleft(reversed(self._inside.values()))
            self._inside.clear()
        gone = list(self._inside)
        self._inside.clear()
        self._ages.clear()
        self._between.forget()
        self.engine_state = None
        return gone

    def take_back(self) -> None:
        """The engine did not take the last chunk: its pictures wait again, first in line."""
        for seq in sorted(self._fresh, reverse=True):
            arrived = self._inside.pop(seq, None)
            if arrived is not None:
                self._waiting.appendleft(arrived)
        self._between.forget()

    def out_of_memory(self, now_ns: int) -> Rung | None:
        """One rung down that needs less memory, or None when there is none (or the stream is
        lossless)."""
        rung = None if self.lossless else self._ladder.out_of_memory(now_ns)
        if rung is not None:
            self.place()
        return rung

    @property
    def hopeless(self) -> bool:
        """A new state did not help either."""
        return self._states_in_vain >= STATES_IN_VAIN

    def sources(self, seqs: Sequence[int]) -> list[Pixels | None]:
        """What these results are made from; None where nobody waits for one."""
        inside = [self._inside.get(seq) for seq in seqs]
        return [None if arrived is None else arrived.frame.pixels_HWC for arrived in inside]

    def status(self, now_ns: int, memory_bytes: int) -> WorkerStatus:
        """What the next PONG carries."""
        return WorkerStatus(
            engine_fps=round(self._results.per_second(now_ns) * self._chunk_frames, 2),
            step_ms=round(self.step_ms, 2),
            queue_frames=len(self._waiting),
            held_frames=(self.steps - 1) * self._info.chunk_frames + self._info.late_frames,
            rung=self._ladder.rung.name,
            cache_hits=self.counts["reused"],
            refused_frames=self.counts["refused"],
            memory_bytes=memory_bytes,
            chunk_frames=self._chunk_frames,
            takes=self._ladder.rung.takes,
        )

    # ------------------------------------------------------------------ parts

    def _new_ladder(self) -> Ladder:
        asked = self.asked
        return Ladder(
            chosen_steps(asked.steps, self._info, asked.mode),
            fixed_size=asked.fixed_size,
            told=bool(asked.mode),
            waits=mode_of(asked.mode).waits,
        )

    @property
    def _every(self) -> int:
        """Of so many pictures the next chunk has one painted."""
        return self._ladder.rung.every if self._between.ready else 1

    @property
    def _chunk_frames(self) -> int:
        """Of the source's pictures that a chunk takes now."""
        return self._info.chunk_frames * self._every

    @property
    def _allowed_ns(self) -> int:
        return mode_of(self.asked.mode).deadline_ns

    def _load(self) -> float:
        """What the last chunk took, as a part of the time that the wanted rate leaves. Where the
        source brings fewer pictures than that, of what it leaves."""
        rung = self._ladder.rung
        pictures = self._chunk_frames * max(rung.takes, 1)
        load = self._took_ns * self.asked.target_fps / (pictures * 1e9)
        busy = self._took_ns / max(self._period_ns, 1)
        return min(load, busy) if busy < IDLE_BELOW else load

    def _computed_size(self) -> Size:
        asked = Size(self.asked.width, self.asked.height)
        multiple = self._info.size_multiple
        area_px = min(round(asked.area_px * self._ladder.rung.area), MAX_AREA_PX)
        if area_px == asked.area_px and not asked.width % multiple and not asked.height % multiple:
            return asked
        return model_size(asked, max(area_px, multiple * multiple), multiple)

    def _last_picture(self) -> Frame:
        arrived = next(reversed(self._inside.values()))
        pixels_HWC = resize(arrived.frame.pixels_HWC, self._size)
        return Frame(pixels_HWC, PADDING_SEQ, arrived.frame.captured_ns)


def _age(arrived: Arrived, now_ns: int) -> float:
    """1 is at the deadline."""
    return (now_ns - arrived.arrived_ns) / max(arrived.deadline_ns - arrived.arrived_ns, 1)


def chosen_steps(asked: int, info: EngineInfo, mode: str = "") -> int:
    """The steps that the engine can do nearest to what was asked; 0 asks for the engine's choice,
    within the mode's."""
    if not asked:
        within = mode_of(mode)
        asked = min(max(info.default_steps, within.steps_least), within.steps_most)
    return min(info.steps, key=lambda steps: (abs(steps - asked), steps))


def _rungs_of(state: StreamState) -> tuple[int, bool, bool, str]:
    """What a stream's ladder is made from."""
    return state.steps, state.lossless, state.fixed_size, state.mode


def _note(now_ns: int, rung: Rung, outcome: Outcome) -> None:
    """A line that `ladder_trace` reads."""
    line = {"at_ns": now_ns, **dataclasses.asdict(rung), **dataclasses.asdict(outcome)}
    log.debug("ladder %s", json.dumps(line))


def look_of(state: StreamState) -> Preset:
    """The look that a stream's state asks for. Raises InputError for what can be no preset."""
    return Preset(
        name=state.preset,
        title=state.preset,
        prompt=state.prompt,
        strength=state.strength,
        seed=state.seed,
    )
