"""Pace: which of the camera's pictures are sent when the worker cannot take all of them. Pure.

Without it the pictures of a slow worker come in bursts: four in a row while there is credit, then a
hole; motion then stutters though the styled rate is fine. The pace spreads the same number of
pictures evenly over time. It follows what the worker says its steps take, not the rate of results:
those come no faster than we send, so a pace that follows them can only slow down.
"""

from __future__ import annotations

SMOOTHING = 0.3  # weight of the newest report; they come once a second
SOURCE_SMOOTHING = 0.2
LONGEST_GAP_NS = 200_000_000  # a longer one is a source that stopped, not its rate


class Pace:
    """The period at which the worker can paint, and whether a picture is due. In nanoseconds."""

    def __init__(self) -> None:
        self._period_ns = 0.0
        self._due_ns = 0.0
        self._last_capture_ns: int | None = None
        self._source_period_ns = 0.0

    @property
    def period_ns(self) -> float:
        """Per picture; 0 until the worker said."""
        return self._period_ns

    def worker_needs(self, picture_ns: float) -> None:
        """The worker's last step took this long for each of its pictures."""
        if not self._period_ns:
            self._period_ns = picture_ns
        self._period_ns += SMOOTHING * (picture_ns - self._period_ns)

    def wants(self, captured_ns: int) -> bool:
        """Whether the picture captured then is to be sent; if so, the next is a period later."""
        if self._last_capture_ns is not None:
            gap_ns = min(captured_ns - self._last_capture_ns, LONGEST_GAP_NS)
            self._source_period_ns += SOURCE_SMOOTHING * (gap_ns - self._source_period_ns)
        self._last_capture_ns = captured_ns
        if self._period_ns <= self._source_period_ns:
            self._due_ns = float(captured_ns)
            return True
        if captured_ns < self._due_ns - self._source_period_ns / 2:
            return False
        self._due_ns = max(self._due_ns + self._period_ns, captured_ns - self._period_ns)
        return True

    def reset(self) -> None:
        """Another worker, another speed."""
        self._period_ns = 0.0
