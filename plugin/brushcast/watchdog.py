"""Watchdog: when a worker whose process is alive is taken for hung, and shot. Pure.

The link notices within a second that no results come and starts a new epoch; the picture is held
meanwhile. That alone does not kill: on a machine that is short of CPU a healthy worker looks the
same for a moment, and a restart would make it worse. A hung one stays silent in the new epoch too.
"""

from __future__ import annotations

HUNG_IN_A_ROW = 2  # epochs without a single result
# A process that says that it is ready and answers no connection: its link thread answers within
# milliseconds, also while the model paints.
UNREACHABLE_NS = 3_000_000_000
LOOK_MOST_NS = 500_000_000  # between two looks; what is longer was not the worker's doing


class Watchdog:
    """Owned by the bridge's thread."""

    def __init__(self) -> None:
        self._hung_in_a_row = 0
        self._unreachable_ns = 0  # for how long, as far as this side ran
        self._looked_ns: int | None = None

    def result(self) -> None:
        """A styled picture came: the worker lives."""
        self._hung_in_a_row = 0

    def lost(self, *, hung: bool) -> None:
        """The link gave an epoch up. hung: it was connected, and silent or without results."""
        self._hung_in_a_row += hung

    def verdict(self, now_ns: int, *, process_ready: bool, connected: bool) -> str | None:
        """Why the process must be shot, or None. To be called some times a second. After a verdict
        everything is forgiven."""
        passed_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        if connected or not process_ready:
            self._unreachable_ns = 0
        else:
            self._unreachable_ns += min(passed_ns, LOOK_MOST_NS)
        if self._unreachable_ns >= UNREACHABLE_NS:
            self._unreachable_ns = 0
            return f"it answered no connection for {UNREACHABLE_NS // 1_000_000_000} s"
        if self._hung_in_a_row >= HUNG_IN_A_ROW and process_ready:
            self._hung_in_a_row = 0
            return f"no result in {HUNG_IN_A_ROW} connections in a row"
        return None
