"""Link direction: one way of a link, there or back: its queue, and the budget that follows from it.
Pure: times are arguments, in nanoseconds of one clock.

Measured from questions (PING) that travel behind the pictures:
- how much later than the quickest of the last 15 s each arrived: that is the queue before a narrow
  place. Of another host's clock only durations are used, as in the delay gradient of Carlucci et
  al., "Analysis and Design of the Google Congestion Control for WebRTC" (2016), section 4.
- how many bytes were delivered in the time between two of them: while there is a queue, that is the
  link's capacity.
A queue lowers a direction's budget below what was delivered, at once; without one it grows slowly
again, as far as it is used (the same paper, section 4.3). Until the first queue there is no budget.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
BASE_WINDOW_NS = 15 * NS_PER_S  # a route that got longer is taken for the new usual so late
RATE_WINDOW_MS = 1000.0
QUEUE_MS = 100.0  # three questions in a row: jitter and a busy worker stay below
RISE_MS = 25.0  # from the first of them to the last: a queue that we feed
LASTING_NS = 3 * NS_PER_S // 2  # or so long, whether it rises or not
CALM_MS = 40.0
BACK = 0.85  # of what was delivered: the queue must drain (the paper's β)
SETTLE_NS = 1 * NS_PER_S  # beside a round trip, before a budget falls again
GROW_AFTER_NS = 3 * NS_PER_S
GROWTH = 0.08  # a second (the paper's η)
GROWTH_NEAR = 0.01  # around what the link carried when it jammed last: the limit is known there
NEAR = 1.1  # times that, beyond which the link is another
USED = 0.6  # of a budget: below that nothing is learnt about more
DOUBT = 0.5  # of a budget: so far at most it falls for a queue that we hardly fed
FALSE_ALARM = 0.9  # of what was delivered: as much goes on without a queue, so it was not ours
LEAST_BYTES_PER_S = 16_000.0
SHARE = 0.9  # of a budget for pictures on average; the rest is for their differences


class Direction:
    """One direction of the link: its queue, and what it may be given."""

    def __init__(self) -> None:
        self.budget: float | None = None  # bytes a second
        self.queue_ms = 0.0  # the median of the last three
        self._calm_ns = self._grow_ns = self._grown_ns = 0
        self._jam = 0.0  # what was delivered then
        self._alarm: tuple[float, float] | None = None  # what was delivered, the budget before
        self.connected()

    def connected(self) -> None:
        """Nothing is known of the queue any more."""
        self._base = Least()
        self._queues_ms: deque[float] = deque(maxlen=3)
        self._over_ns: int | None = None  # since when there is a queue, and since when none
        self._free_ns: int | None = None
        self._passed: deque[tuple[float, int]] = deque()  # (the receiver's ms, bytes until then)

    @property
    def is_calm(self) -> bool:
        """Nothing waits."""
        return self.queue_ms < CALM_MS

    def bytes_each(self, fps: float) -> float | None:
        """What a picture may take when so many a second are wanted; None: whatever it likes."""
        return None if self.budget is None else SHARE * self.budget / max(fps, 1.0)

    def measured(
        self, now_ns: int, at_ms: float, late_ms: float, until_bytes: int, round_trip_ns: int
    ) -> None:
        """A question came through. at_ms: when, by the receiver's clock. late_ms: how late, from an
        unknown zero. until_bytes: how much had come before it."""
        self._base.add(now_ns, late_ms)
        assert self._base.value is not None
        self._queues_ms.append(late_ms - self._base.value)
        self.queue_ms = statistics.median(self._queues_ms)
        self._passed.append((at_ms, until_bytes))
        while len(self._passed) > 2 and at_ms - self._passed[1][0] >= RATE_WINDOW_MS:
            self._passed.popleft()
        first_ms, first_bytes = self._passed[0]
        if at_ms - first_ms < RATE_WINDOW_MS / 2:
            return
        delivered = 1000 * (until_bytes - first_bytes) / (at_ms - first_ms)
        self._over_ns = (self._over_ns or now_ns) if self.queue_ms > QUEUE_MS else None
        self._free_ns = (self._free_ns or now_ns) if self.is_calm else None
        if now_ns >= self._calm_ns and self._jammed(now_ns):
            self._back(now_ns, delivered, round_trip_ns)
        elif self._free_ns is not None and now_ns - self._free_ns >= RATE_WINDOW_MS * NS_PER_MS:
            self._forward(now_ns, delivered)
        self._grown_ns = now_ns

    def _jammed(self, now_ns: int) -> bool:
        if self._over_ns is None:
            return False
        rises = self._queues_ms[-1] > self._queues_ms[0] + RISE_MS
        return now_ns - self._over_ns >= LASTING_NS or (min(self._queues_ms) > QUEUE_MS and rises)

    def _back(self, now_ns: int, delivered: float, round_trip_ns: int) -> None:
        before, lower, self._jam = self.budget, BACK * delivered, delivered
        if self._alarm is None:
            self._alarm = delivered, before or math.inf
        if before is not None:
            lower = min(max(lower, DOUBT * before), before)
        self.budget = max(LEAST_BYTES_PER_S, lower)
        self._calm_ns = now_ns + SETTLE_NS + round_trip_ns
        self._grow_ns = now_ns + GROW_AFTER_NS

    def _forward(self, now_ns: int, delivered: float) -> None:
        """No queue for a while: up again, at once where the last queue was none of ours."""
        if self._alarm is not None:
            if delivered >= FALSE_ALARM * self._alarm[0]:
                self.budget = None if self._alarm[1] == math.inf else self._alarm[1]
            self._alarm = None
        elif self.budget is not None and now_ns >= self._grow_ns:
            if delivered >= USED * self.budget:
                passed_s = min((now_ns - self._grown_ns) / NS_PER_S, 1.0)
                near = BACK * self._jam <= self.budget <= NEAR * self._jam
                self.budget *= 1 + (GROWTH_NEAR if near else GROWTH) * passed_s


class Least:
    """The least value of the last 15 s."""

    def __init__(self) -> None:
        self._values: deque[tuple[int, float]] = deque()  # rising

    @property
    def value(self) -> float | None:
        """None before the first."""
        return self._values[0][1] if self._values else None

    def add(self, now_ns: int, value: float) -> None:
        """Measured now."""
        while self._values and self._values[-1][1] >= value:
            self._values.pop()
        self._values.append((now_ns, value))
        while now_ns - self._values[0][0] > BASE_WINDOW_NS:
            self._values.popleft()
