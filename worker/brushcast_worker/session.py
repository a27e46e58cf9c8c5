"""Session: everything that the worker remembers about one stream. The GPU thread owns it.

A reset is a new engine state, never cleared fields. Pictures are in one of two places here: waiting
(in order, not yet given to the engine) or inside (given to it, no result yet); each leaves with a
result or a refusal.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from brushcast.frame import Frame, Pixels, Size, model_size, resize
from brushcast.metrics import Rate
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState, WorkerStatus
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.engine import EngineInfo, EngineState
from brushcast_worker.ladder import Ladder, Rung
from brushcast_worker.latency import Shape
from brushcast_worker.mail import Arrived, Stream
from brushcast_worker.scheduler import Waiting

# more is scaled down before the model: no stream needs it, every device would choke
MAX_AREA_PX = 1920 * 1088
# A source is taken to have stopped when nothing has come for so long, or for two of its gaps: the
# slowest camera's gap is 200 ms.
QUIET_NS = 250_000_000
PAUSE_NS = 1_000_000_000  # a gap this long is a pause, and says nothing of the source's rate
# What the engine holds back (a chunk for each further step, and what comes late) is its own delay,
# not the worker's lateness; but it may at most double the time allowed.
WITH_OWN_DELAY = 2.0
STEP_SMOOTHING = 0.3  # weight of the newest chunk in what the bridge is told
BAD_IN_A_ROW = 5  # rejected results before the stream gets a new state (facts/reliability.md)
STATES_IN_VAIN = 2  # so many states in a row that gave nothing usable: no third one will


class Session:
    """One stream. See the file's head for the invariant."""

    def __init__(self, stream: Stream, state: StreamState, info: EngineInfo) -> None:
        """The look is not checked here: the loop asks the engine, then calls `follow`."""
        self.stream = stream
        self.asked = state
        self.preset: Preset | None = None  # the last good look; None: there never was one
        self.engine_state: EngineState | None = None
        self.ended = False
        self.counts: Counter[str] = Counter()  # results, reused, refused by reason
        self.step_ms = 0.0  # what a chunk takes, smoothed
        self._info = info
        self._ladder = self._new_ladder()
        self._waiting: deque[Arrived] = deque()
        self._inside: dict[int, Arrived] = {}
        self._fresh: set[int] = set()  # of those inside: taken by the step that runs
        self._ages: list[float] = []  # of the chunk's painted pictures, 1 is at the deadline
        self._bad_in_a_row = 0
        self._states_in_vain = 0
        self._stale_since_step = 0
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

    # ------------------------------------------------------------------ pictures in

    def arrive(self, arrived: Arrived) -> None:
        """A picture begins to wait."""
        gap_ns = 0 if self._arrived_ns is None else arrived.arrived_ns - self._arrived_ns
        if 0 < gap_ns < PAUSE_NS:
            self._gap_ns = gap_ns if not self._gap_ns else (3 * self._gap_ns + gap_ns) // 4
        self._arrived_ns = arrived.arrived_ns
        self._waiting.append(arrived)
        self.ended = self.ended or arrived.end

    def as_waiting(self, wanted: int) -> Waiting:
        """This stream as the scheduler sees it."""
        inside = next(iter(self._inside.values()), None)
        missing = wanted - len(self._waiting)
        full_ns = None
        if self._waiting and self._gap_ns and missing > 0:
            full_ns = self._waiting[-1].arrived_ns + missing * self._gap_ns
        return Waiting(
            id=self.stream,
            shape=Shape(self._size.width, self._size.height, self.steps),
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
        """The next chunk's pictures, at the computed size; a short chunk is filled with its last
        picture."""
        taken = [self._waiting.popleft() for _ in range(min(wanted, len(self._waiting)))]
        self._inside |= {arrived.frame.seq: arrived for arrived in taken}
        self._fresh = {arrived.frame.seq for arrived in taken}
        frames = [
            Frame(resize(a.frame.pixels_HWC, self._size), a.frame.seq, a.frame.captured_ns)
            for a in taken
        ]
        last = frames[-1] if frames else self._last_picture()
        while len(frames) < wanted:
            frames.append(Frame(last.pixels_HWC, PADDING_SEQ, last.captured_ns))
        return frames

    # ------------------------------------------------------------------ results out

    def painted(self, seqs: Sequence[int], now_ns: int, *, reused: bool) -> None:
        """These pictures have their results: they are inside no more."""
        done = [self._inside.pop(seq) for seq in seqs if seq in self._inside]
        self.counts["results"] += len(done)
        self.counts["reused"] += len(done) if reused else 0
        for arrived in done:
            own = 1.0 if arrived.frame.seq in self._fresh else WITH_OWN_DELAY
            self._ages.append(_age(arrived, now_ns) / own)

    def finish(self, now_ns: int, *, came_out: bool = True) -> Rung | None:
        """A step is over, and what it painted is out. The new rung, if it changed."""
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
        rung = self._ladder.observe(now_ns, age=age, dropped=dropped, pressed=self.asked.pressure)
        if rung is not None:
            self.place()
        return rung

    def took(self, took_ns: int) -> None:
        """A chunk of this stream was computed in so long: for the bridge, which sends at that
        pace."""
        took_ms = took_ns / 1e6
        if not self.step_ms:
            self.step_ms = took_ms
        self.step_ms += STEP_SMOOTHING * (took_ms - self.step_ms)

    def reject(self, seqs: Sequence[int]) -> list[int]:
        """Pictures of a chunk that must not be shown. After five such chunks in a row the stream
        starts anew. The seqs, to be refused."""
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
        self.engine_state = None
        return gone

    def take_back(self, taken: Sequence[Frame]) -> None:
        """The engine did not take this chunk: its pictures wait again, first in line."""
        for frame in reversed(taken):
            arrived = self._inside.pop(frame.seq, None)
            if arrived is not None:
                self._waiting.appendleft(arrived)

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
            engine_fps=round(self._results.per_second(now_ns) * self._info.chunk_frames, 2),
            step_ms=round(self.step_ms, 2),
            queue_frames=len(self._waiting),
            held_frames=(self.steps - 1) * self._info.chunk_frames + self._info.late_frames,
            rung=self._ladder.rung.name,
            cache_hits=self.counts["reused"],
            refused_frames=self.counts["refused"],
            memory_bytes=memory_bytes,
        )

    # ------------------------------------------------------------------ parts

    def _new_ladder(self) -> Ladder:
        steps = chosen_steps(self.asked.steps, self._info)
        return Ladder(steps, fixed_size=self.asked.fixed_size)

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


def chosen_steps(asked: int, info: EngineInfo) -> int:
    """The steps that the engine can do nearest to what was asked; 0 asks for the engine's
    choice."""
    if not asked:
        return info.default_steps
    return min(info.steps, key=lambda steps: (abs(steps - asked), steps))


def _rungs_of(state: StreamState) -> tuple[int, bool, bool]:
    """What a stream's ladder is made from."""
    return state.steps, state.lossless, state.fixed_size


def look_of(state: StreamState) -> Preset:
    """The look that a stream's state asks for. Raises InputError for what can be no preset."""
    return Preset(
        name=state.preset,
        title=state.preset,
        prompt=state.prompt,
        strength=state.strength,
        seed=state.seed,
    )
