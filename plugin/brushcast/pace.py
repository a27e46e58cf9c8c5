"""Pace: which of the camera's pictures are sent when the worker cannot take all of them. Pure.

Without it the pictures of a slow worker come in bursts: four in a row while there is credit, then
a hole; motion then stutters though the styled rate is fine. The pace spreads the same number of
pictures evenly over time.
"""

from __future__ import annotations

import collections

MEASURED_RESULTS = 24  # six chunks of four
RELAX = 0.99  # per picture sent without waiting for credit: the period shrinks by 1 %
SHORTEST_NS = 1_000_000


class Pace:
    """The period at which the worker returns pictures, and whether the next one is due. Times in
    nanoseconds."""

    def __init__(self) -> None:
        self._period_ns = 0.0
        self._due_ns = 0.0
        self._last_capture_ns: int | None = None
        self._source_period_ns = 0.0
        self._results: collections.deque[int] = collections.deque(maxlen=MEASURED_RESULTS)

    @property
    def period_ns(self) -> float:
        """0 while the worker keeps up."""
        return self._period_ns

    def result(self, now_ns: int) -> None:
        """A styled picture came back."""
        self._results.append(now_ns)

    def starved(self) -> None:
        """A picture was due and there was no credit: the worker is slower than we send."""
        if len(self._results) >= MEASURED_RESULTS // 2:
            first_ns = self._results[
                0
            ]  # a chunk's pictures come together: count those after the first chunk
            later = sum(result_ns > first_ns for result_ns in self._results)
            if later:
                measured_ns = (self._results[-1] - first_ns) / later
                self._period_ns = max(self._period_ns, measured_ns)

    def wants(self, captured_ns: int) -> bool:
        """Whether the picture captured at that time is to be sent; if so, the next one is due a
        period later."""
        if self._last_capture_ns is not None:
            gap_ns = min(captured_ns - self._last_capture_ns, 200_000_000)
            self._source_period_ns += 0.2 * (gap_ns - self._source_period_ns)
        self._last_capture_ns = captured_ns
        if self._period_ns <= self._source_period_ns:
            self._due_ns = float(captured_ns)
            self._period_ns *= RELAX
            return True
        if captured_ns < self._due_ns - self._source_period_ns / 2:
            return False
        self._due_ns = max(self._due_ns + self._period_ns, captured_ns - self._period_ns)
        self._period_ns = max(self._period_ns * RELAX, SHORTEST_NS)
        return True

    def reset(self) -> None:
        """Another worker, another speed."""
        self._period_ns = 0.0
        self._results.clear()
