"""Portions: how many streams share a stage's forward: all, until the memory did not do.

A decoder's activations grow with its rows; what it makes of a row does not depend on the others. So
where they do not fit side by side they run one after the other, and that is remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Portions:
    """Owned by an engine; GPU thread."""

    def __init__(self, what: str) -> None:
        """what: is done, for people."""
        self._what = what
        self._most: dict[Hashable, int] = {}  # by size; none: all

    def split(self, size: Hashable, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """The items in order, as many at once as the memory does for."""
        most = self._most.get(size, len(items))
        for begin in range(0, len(items), max(most, 1)):
            yield items[begin : begin + most]

    def too_many(self, size: Hashable, count: int) -> bool:
        """So many at once ran out of memory: half as many from now on. False: one is the least."""
        if count < 2:
            return False
        self._most[size] = count // 2
        log.warning("out of memory: %s of %s for at most %d at once", self._what, size, count // 2)
        return True
