"""Latest: a slot in which the newest item replaces the waiting one.

One of our two kinds of queue; the other is queue.Queue(maxsize=n).
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hands the newest item from one thread to another; an item never waits behind an older one.

    Any thread may call any method. Nothing is dropped silently: `put` returns what it replaced, and
    the caller counts it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> T | None:
        """Offer an item. Returns the one that it replaced, `item` itself once closed, or None."""
        with self._changed:
            if self._closed:
                return item
            replaced, self._item = self._item, item
            self._changed.notify()
            return replaced

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the item, waiting for one up to `timeout_s` (None: until closed).

        Returns None on a timeout, and at once when closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def take(self) -> T | None:
        """Take the item if there is one, without waiting."""
        return self.get(0)

    def close(self) -> T | None:
        """Wake every waiting thread; nothing comes out from now on. Returns the item left in it."""
        with self._changed:
            self._closed = True
            left, self._item = self._item, None
            self._changed.notify_all()
            return left

    @property
    def closed(self) -> bool:
        with self._changed:
            return self._closed
