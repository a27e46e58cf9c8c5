"""Patience: by when something must be heard of a child that is alive. Pure: the clock is an
argument.

A process can be there and do nothing: stuck in a driver, in a lock, in a file system. Whoever waits
for it waits with a limit. Only time in which the waiting side ran counts: a machine that slept, or
a supervisor that was stopped, blames nobody.
"""

from __future__ import annotations

TURN_MOST_S = 0.5  # between two looks; what is longer was not our child's doing


class Patience:
    """Owned by the thread that waits."""

    def __init__(self) -> None:
        self._left_s: dict[str, float] = {}
        self._last_ns: int | None = None

    def expect(self, name: str, within_s: float) -> None:
        """Something must be heard of `name` within so long, from now on."""
        self._left_s[name] = within_s

    def forget(self, name: str) -> None:
        """Nothing is expected of it any more."""
        self._left_s.pop(name, None)

    def left_s(self, name: str) -> float | None:
        """What is left of it; None: nothing is expected."""
        return self._left_s.get(name)

    def overdue(self, now_ns: int) -> list[str]:
        """Of whom nothing was heard in time; each is named once. To be called all the time."""
        passed_s = 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        passed_s = min(passed_s, TURN_MOST_S)
        self._left_s = {name: left_s - passed_s for name, left_s in self._left_s.items()}
        late = [name for name, left_s in self._left_s.items() if left_s < 0]
        for name in late:
            self.forget(name)
        return late
