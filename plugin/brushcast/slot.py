"""Latest: a slot in which the newest item replaces the one that waits longest.

One of our two kinds of queue; the other is queue.Queue(maxsize=n).
"""

from __future__ import annotations

import collections
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hands the newest items from one thread to another, in order. With the usual depth of 1 an
    item never waits behind an older one.

    Any thread may call any method. Nothing is dropped silently: `put` returns what it replaced, and
    the caller counts it.
    """

    def __init__(self, depth: int = 1) -> None:
        """depth: how many items may wait."""
        self._changed = threading.Condition()
        self._items: collections.deque[T] = collections.deque()
        self._depth = depth
        self._closed = False

    def put(self, item: T) -> T | None:
        """Offer an item. Returns the one that it replaced, `item` itself once closed, or None."""
        with self._changed:
            if self._closed:
                return item
            replaced = self._items.popleft() if len(self._items) == self._depth else None
            self._items.append(item)
            self._changed.notify()
            return replaced

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item, waiting for one up to `timeout_s` (None: until closed).

        Returns None on a timeout, and at once when closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            return self._items.popleft() if self._items else None

    def take(self) -> T | None:
        """Take the oldest item if there is one, without waiting."""
        return self.get(0)

    def close(self) -> T | None:
        """Wake every waiting thread; nothing comes out from now on. Returns the newest item left in
        it."""
        with self._changed:
            self._closed = True
            left = self._items[-1] if self._items else None
            self._items.clear()
            self._changed.notify_all()
            return left

    @property
    def closed(self) -> bool:
        with self._changed:
            return self._closed
