"""Pulse: what the GPU thread did last, and how long it may take over what it does now.

The GPU thread writes, other threads read: plain numbers, each of them whole at any time. What
nobody can see from outside is here: whether a picture was finished lately, and whether the loop
still turns. step_guard.StepGuard looks, and whoever asks for /livez and /readyz.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from brushcast.health import FRAME_WITHIN_NS, Verdict
from brushcast_worker.session import Session

MS = 1_000_000
STALLED_NS = 2_000 * MS  # nothing finished for so long while pictures arrive
FLOWING_NS = 1_000 * MS  # a stream that brings a picture a second still flows
# Above every healthy step that was measured on two busy cores (0.5 s beside a spare that loads);
# with the spare's first chunk the picture is styled again within the promised 3 s.
WARM_LIMIT_NS = 1_500 * MS
SLOW_STEPS = 8  # a step that takes this many of the usual ones hangs, whatever the device
IDLE_LIMIT_NS = 30_000 * MS  # between two steps there is mail to read, and a wording to check
COLD_FACTOR = 10  # another size or a busier machine, against the slowest chunk of warming up
KNOWN_MOST = 256  # kinds of work that are remembered as warm


class Pulse:
    """One of a worker. Written by the GPU thread, read by any; times are monotonic ns.

    marked_ns: the last sign of life. finished_ns: the last picture that was painted and posted;
    arrived_ns: the last that came in; waiting_ns: the first of those since one was painted; None:
    there was none. limit_ns: how long after the last sign the next one must come.
    """

    def __init__(
        self, clock_ns: Callable[[], int], *, slow_start_s: float, usual_area_px: int
    ) -> None:
        """slow_start_s: what the engine's first chunk of something new may take, at pictures of the
        usual area; larger ones and several streams at once may take as much longer."""
        self._clock_ns = clock_ns
        self.marks = 0
        self.marked_ns = clock_ns()
        self.finished_ns: int | None = None
        self.arrived_ns: int | None = None
        self.waiting_ns: int | None = None
        self.limit_ns = IDLE_LIMIT_NS
        self._cold_limit_ns = round(slow_start_s * 1e9)
        self._usual_area_px = usual_area_px
        self._usual_ns: dict[Hashable, int] = {}  # by kind of work: what it takes
        self._doing: list[Hashable] = []
        self._begun_ns = 0

    # ------------------------------------------------------------------ the GPU thread's side

    def arrived(self) -> None:
        """A picture came in."""
        now_ns, before_ns = self._clock_ns(), self.arrived_ns
        if self.waiting_ns is None or before_ns is None or now_ns - before_ns > FLOWING_NS:
            self.waiting_ns = now_ns
        self.arrived_ns = now_ns

    def finished(self) -> None:
        """A picture was painted."""
        self._mark()
        self.finished_ns, self.waiting_ns = self.marked_ns, None

    def warmed_up(self, took_ns: int) -> None:
        """The slowest chunk of warming up took so long: something new may take a multiple."""
        self._cold_limit_ns = max(self._cold_limit_ns, COLD_FACTOR * took_ns)

    def begins(self, sessions: Sequence[Session]) -> None:
        """A turn with a step for these streams; none: at most results are waited for."""
        together = len(sessions)
        self._doing = [(s.stream, s.size, s.steps, s.preset, together) for s in sessions]
        usual_ns = max((self._usual_ns.get(kind, 0) for kind in self._doing), default=0)
        self.limit_ns = max(WARM_LIMIT_NS, SLOW_STEPS * usual_ns)
        fresh = any(session.engine_state is None for session in sessions)
        if fresh or not self._usual_ns.keys() >= set(self._doing):
            area_px = sum(session.size.area_px for session in sessions)
            larger = max(1.0, area_px / self._usual_area_px)
            self.limit_ns = max(self.limit_ns, round(larger * self._cold_limit_ns))
        self._mark()
        self._begun_ns = self.marked_ns

    def ends(self) -> None:
        """The turn is over, well or not."""
        self._mark()
        self.limit_ns = IDLE_LIMIT_NS
        took_ns = self.marked_ns - self._begun_ns
        if len(self._usual_ns) + len(self._doing) > KNOWN_MOST:
            self._usual_ns.clear()
        for kind in self._doing:  # quickly up, slowly down; the first one has built things too
            usual_ns = self._usual_ns.get(kind)
            self._usual_ns[kind] = (
                took_ns // 2
                if usual_ns is None
                else max(took_ns, usual_ns + (took_ns - usual_ns) // 8)
            )
        self._doing = []

    def _mark(self) -> None:
        self.marked_ns = self._clock_ns()
        self.marks += 1

    # ------------------------------------------------------------------ whoever wants to know

    @property
    def alive(self) -> bool:
        """The loop turns, or is in a step that may take so long."""
        return self._clock_ns() - self.marked_ns <= max(self.limit_ns, STALLED_NS)

    @property
    def working(self) -> bool:
        """In the middle of a step: mail waits, and no picture can arrive."""
        return bool(self._doing)

    @property
    def stalled(self) -> bool:
        """Pictures come and wait, and none was finished for two seconds."""
        now_ns, arrived_ns, waiting_ns = self._clock_ns(), self.arrived_ns, self.waiting_ns
        if self.working and now_ns - self.marked_ns > STALLED_NS:
            return True
        if arrived_ns is None or waiting_ns is None or now_ns - arrived_ns > FLOWING_NS:
            return False
        return now_ns - waiting_ns > STALLED_NS

    def live(self) -> Verdict:
        """For /livez."""
        return Verdict(True, "live") if self.alive else Verdict(False, "stuck")

    def ready(self) -> Verdict:
        """For /readyz: whether a stream would be served. What was finished within two seconds says
        so, where there is anything to paint."""
        if not self.alive:
            return Verdict(False, "stuck")
        if self.stalled:
            return Verdict(False, "stalled")
        finished_ns = self.finished_ns
        if finished_ns is not None and self._clock_ns() - finished_ns <= FRAME_WITHIN_NS:
            return Verdict(True, "ready")
        return Verdict(True, "idle")


class Serving:
    """What /livez and /readyz say from the process's beginning on: first that it loads, then what
    the pulse says."""

    def __init__(self) -> None:
        self._pulse: Pulse | None = None

    def begins(self, pulse: Pulse) -> None:
        """The model is there, and somebody may come."""
        self._pulse = pulse

    def live(self) -> Verdict:
        """For /livez."""
        return self._pulse.live() if self._pulse is not None else Verdict(True, "loading")

    def ready(self) -> Verdict:
        """For /readyz."""
        return self._pulse.ready() if self._pulse is not None else Verdict(False, "loading")
