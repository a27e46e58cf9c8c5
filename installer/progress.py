"""One compact line per phase of the set-up, on standard error: a bar on a terminal, plain text
elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_BAR_CELLS = 24
_NAME_CELLS = 16
_REDRAW_S = 0.1


class Progress:
    """The line of the phase in hand. Used by one thread. `begin`, any number of `update`, then
    `end`."""

    def __init__(self, out: TextIO, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock_s = clock_s
        self._is_terminal = out.isatty()
        self._name = ""
        self._began_s = 0.0
        self._drawn_s = float("-inf")

    def say(self, text: str) -> None:
        """A line of its own, between phases."""
        self._out.write(text + "\n")
        self._out.flush()

    def begin(self, name: str) -> None:
        self._name = name
        self._began_s = self._clock_s()
        self._drawn_s = float("-inf")
        if self._is_terminal:
            self.update(0.0, "")
        else:
            self._out.write(f"{name} ... ")
            self._out.flush()

    def update(self, share: float | None, what: str, *, at_once: bool = False) -> None:
        """`share` of the phase that is done, 0 to 1; None: unknown. `what` is in hand just now.
        Of many in a row most are not drawn, unless one must be seen `at_once`."""
        now_s = self._clock_s()
        if not self._is_terminal or (now_s - self._drawn_s < _REDRAW_S and not at_once):
            return
        self._drawn_s = now_s
        filled = round(min(max(share or 0.0, 0.0), 1.0) * _BAR_CELLS)
        bar = "#" * filled + "." * (_BAR_CELLS - filled)
        elapsed = f"{now_s - self._began_s:3.0f} s"
        self._draw(f"{self._name:<{_NAME_CELLS}} [{bar}] {elapsed}  {what[:30]}")

    def end(self, result: str = "") -> None:
        took = f"{self._clock_s() - self._began_s:.0f} s"
        text = f"{result}, {took}" if result else took
        if self._is_terminal:
            self._draw(f"{self._name:<{_NAME_CELLS}} {text}")
            self._out.write("\n")
        else:
            self._out.write(text + "\n")
        self._out.flush()
        self._name = ""

    def abandon(self) -> None:
        """Ends a line that an error has interrupted, so that the error's sentence starts a line
        of its own."""
        if self._name:
            self._out.write("\n")
            self._out.flush()
            self._name = ""

    def _draw(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}")
        self._out.flush()
