"""Health: whether a process is alive and whether it does its work, by what happened last and never
by a flag. Pure: the clock is an argument.

One thread writes (the bridge's, or the worker's GPU thread), any thread reads: each fact is one
whole number or one word, replaced as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

NS_PER_S = 1_000_000_000
FRAME_WITHIN_NS = 2 * NS_PER_S  # so old may the last finished picture be
TURN_WITHIN_NS = 2 * NS_PER_S  # so long ago may the loop have turned last


@dataclass(frozen=True, slots=True)
class Verdict:
    """good: answered with 200, else with 503. word: one, and all that is said to a stranger."""

    good: bool
    word: str


class Health:
    """See the file's head."""

    def __init__(self, now_ns: int) -> None:
        self._turned_ns = now_ns
        self._frame_ns: int | None = None
        self._why = "starting"

    # ------------------------------------------------------------------ the thread that works

    def turned(self, now_ns: int) -> None:
        """The loop came round."""
        self._turned_ns = now_ns

    def frame_done(self, now_ns: int) -> None:
        """A styled picture is finished."""
        self._frame_ns = now_ns

    def explain(self, word: str) -> None:
        """What it is doing, for the case that no picture is finished: one word in small letters."""
        self._why = word

    # ------------------------------------------------------------------ any thread

    def live(self, now_ns: int) -> Verdict:
        """Whether the loop turns."""
        stuck = now_ns - self._turned_ns > TURN_WITHIN_NS
        return Verdict(not stuck, "stuck" if stuck else "live")

    def ready(self, now_ns: int) -> Verdict:
        """Whether a styled picture was finished within 2 s."""
        if not self.live(now_ns).good:
            return Verdict(False, "stuck")
        if self._frame_ns is not None and now_ns - self._frame_ns <= FRAME_WITHIN_NS:
            return Verdict(True, "ready")
        return Verdict(False, self._why)
