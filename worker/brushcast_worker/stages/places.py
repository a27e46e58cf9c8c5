"""Places: what streams remember of an autoencoder, in memory that stays where it is.

A stream of the exact Wan autoencoder remembers 2 GB.  To copy that into a CUDA graph's inputs and
back takes 3 ms of a chunk; so a graph reads and writes a stream's place itself.
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from brushcast_worker.stages.autoencoder import Memory


@dataclass(slots=True)
class Place:
    """One stream's, or nobody's. ``number``: never given twice."""

    number: int
    tensors: Memory
    owner: weakref.ref[Tensor] | None = None

    @property
    def free(self) -> bool:
        """Whether its stream has let it go."""
        return self.owner is None or self.owner() is None

    def write(self, memory: Memory) -> None:
        """What the place is to hold; what is there already is not copied."""
        pairs = [(old, new) for old, new in zip(self.tensors, memory, strict=True)]
        moved = [(old, new) for old, new in pairs if old is not new]
        if moved:
            torch._foreach_copy_([old for old, _ in moved], [new for _, new in moved])


class Places:
    """Owned by an engine, used on the GPU thread."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._numbers = itertools.count()

    def keep(self, memory: Memory) -> Memory:
        """A stream's memory in a place of its own, which is free again when that is let go: views
        of it.  Raises OutOfMemoryError; free places are given up then.
        """
        shapes = [x.shape for x in memory]
        fits = (p for p in self._places if p.free and [x.shape for x in p.tensors] == shapes)
        place = next(fits, None)
        if place is None:
            try:
                place = Place(next(self._numbers), tuple(x.clone() for x in memory))
            except torch.OutOfMemoryError:
                self._places = [p for p in self._places if not p.free]
                raise
            self._places.append(place)
        else:
            place.write(memory)
        kept = tuple(x.view_as(x) for x in place.tensors)
        place.owner = weakref.ref(kept[0])
        return kept

    def of(self, memory: Memory) -> Place:
        """Where a memory is that ``keep`` gave."""
        return next(p for p in self._places if p.owner is not None and p.owner() is memory[0])
