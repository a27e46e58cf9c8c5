"""Step guard: who sees that the GPU thread does not come back, and what follows.

An endless loop in a model leaves everything else of the worker well: sockets answer, pings are
answered. The bridge notices within a second that no pictures come, and holds the last one; but only
here it is known what a step may take, so here it is decided that this process is not worth keeping.
Whoever started it (the supervisor, which has a spare, or systemd) starts another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from brushcast_worker.pulse import Pulse
from brushcast_worker.sd_notify import Notifier

LOOK_EVERY_S = 0.1
LOOK_MOST_NS = 500_000_000  # what is longer between two looks was a sleep of the whole process
TELL_EVERY_NS = 1_000_000_000
STOP_PATIENCE_S = 3.0  # a model that does not come back is not waited for


class StepGuard:
    """Sees that the GPU thread does not come back. Owned by the guard thread.

    Only time in which this thread ran counts: a process that was stopped, or a machine that gave it
    no time, is not taken for a model in an endless loop.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._marks = pulse.marks
        self._waited_ns = 0
        self._looked_ns: int | None = None

    def look(self, now_ns: int) -> str | None:
        """To be called some times a second: why this process is not worth keeping, or None."""
        passed_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        marks, limit_ns = self._pulse.marks, self._pulse.limit_ns
        if marks != self._marks:
            self._marks, self._waited_ns = marks, 0
            return None
        self._waited_ns += min(passed_ns, LOOK_MOST_NS)
        if self._waited_ns <= limit_ns:
            return None
        return f"the model did not come back within {limit_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the guard thread is given. stop: the worker is to end; done: it has, and so does the
    guard. link_alive: the other thread's state. watched: systemd wants signs of life. leave: ends
    the process, with a sentence that says why."""

    pulse: Pulse
    notifier: Notifier
    stop: threading.Event
    done: threading.Event
    link_alive: Callable[[], bool]
    watched: bool
    clock_ns: Callable[[], int]
    leave: Callable[[str], None]

    def stand(self) -> None:
        """The guard thread, from the moment that the worker serves until it is done."""
        guard, stopping_ns, tell_ns = StepGuard(self.pulse), None, 0
        while not self.done.wait(LOOK_EVERY_S):
            now_ns = self.clock_ns()
            if reason := guard.look(now_ns):
                self.leave(reason)
                return
            if self.stop.is_set():
                if stopping_ns is None:
                    stopping_ns = now_ns
                    self.notifier.stopping()
                if now_ns - stopping_ns > STOP_PATIENCE_S * 1e9:
                    self.leave("the model did not stop")
                    return
            elif self.watched and now_ns >= tell_ns and self.healthy:
                tell_ns = now_ns + TELL_EVERY_NS
                self.notifier.alive()

    @property
    def healthy(self) -> bool:
        """Pictures are finished, or there are none to finish. How long a step may take only the
        pulse knows: graphs may have to be recorded."""
        finishes = self.pulse.working or not self.pulse.stalled
        return self.pulse.alive and finishes and self.link_alive()
