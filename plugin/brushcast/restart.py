"""When a child that died is started again: back-off with jitter, and a breaker. Pure: no clock, no
process.

Judged by good output, not by uptime: a worker that lives for an hour without a picture is as bad
as one that dies at once, and one that is shot every ten seconds but paints in between is worth
starting for ever.
"""

from __future__ import annotations

import random

BREAKER_FAILURES = 5
GOOD_OUTPUT_S = 5.0  # this much good output between two deaths forgives the earlier ones
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 4.0
# it is told once a second; a longer gap is no good output, and what was before it counts no more
OUTPUT_GAP_S = 2.5


class RestartPolicy:
    """Counts failures of one child and answers when to start it again. Owned by the supervisor's
    thread."""

    def __init__(self, rng: random.Random, *, output_gap_s: float = OUTPUT_GAP_S) -> None:
        """output_gap_s: good output that is further apart is none."""
        self.failures = 0
        self._rng, self._output_gap_s = rng, output_gap_s
        self._good_since_ns: int | None = None
        self._good_ns = 0  # the last time

    def good_output(self, now_ns: int) -> None:
        """The child just did its job (a styled picture, a written frame)."""
        broken = now_ns - self._good_ns > self._output_gap_s * 1e9
        self._good_ns = now_ns
        if self._good_since_ns is None or broken:
            self._good_since_ns = now_ns
        elif now_ns - self._good_since_ns >= GOOD_OUTPUT_S * 1e9:
            self.failures = 0

    def died(self) -> float | None:
        """Seconds to wait before the next start, or None: too many failures in a row, wait for a
        person."""
        self._good_since_ns = None
        self.failures += 1
        if self.failures >= BREAKER_FAILURES:
            return None
        if self.failures == 1:
            return 0.0
        ceiling = min(LONGEST_DELAY_S, FIRST_DELAY_S * 4.0 ** (self.failures - 1))
        return self._rng.uniform(ceiling / 2, ceiling)

    def retry(self) -> None:
        """A person asked for another try: everything is forgiven."""
        self.failures = 0
        self._good_since_ns = None
