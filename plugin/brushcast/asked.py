"""Asked: what a worker's answers may be, since a worker's word is not trusted. Pure.

A result names its own size. Decoding it costs memory and time by that size, so a worker that says
8192x8192 for each picture could stop the bridge; it may send no more pixels than it was ever sent.
"""

from __future__ import annotations

from brushcast.errors import MalformedMessage
from brushcast.frame import Size
from brushcast.wire.messages import Header


class Asked:
    """The largest picture that went to the worker; rungs of its ladder are smaller. Owned by the
    bridge's thread."""

    def __init__(self) -> None:
        self._most_px = 0

    def sent(self, size: Size) -> None:
        """A picture of that size goes to the worker."""
        self._most_px = max(self._most_px, size.area_px)

    def check(self, header: Header) -> None:
        """Before anything of a result is decoded. Raises MalformedMessage."""
        if header.width * header.height > self._most_px:
            raise MalformedMessage(
                f"a result of {header.width}x{header.height}, wanted no more than the "
                f"{self._most_px} pixels of the largest picture that was sent"
            )
