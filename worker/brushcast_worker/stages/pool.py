"""CachePool: the key-value caches of all streams of a large transformer, side by side in memory
that stays where it is, and the forward over them.

A cache of the 1.3 B transformer is 1.1 GB a row.  To copy it into a CUDA graph's inputs, to rotate
its keys and to mask what is not visible would take as long as the rest of the forward.  So the
graph reads and writes the pool itself: keys are rotated when they are stored, and when the ring is
full those that stay go one position back (`models.attention.StaticRows`).  A graph serves the first
n rows, so the rows of a forward are moved there; that happens when streams come or go.

Letters: B rows, C channels, H W latent size, L layers, S slots of a cache, N tokens of a latent
frame, D width of a token, F numbers of a row.
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Self

import torch
from torch import Tensor

from brushcast_worker.models.attention import StaticRows
from brushcast_worker.models.dit import DiT, DiTConfig
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.cache import Cache, Cursor, Grid, host_copy, tokens_of
from brushcast_worker.stages.denoise import Row, forward_rows, noise_numbers, prompt_tensors
from brushcast_worker.stages.row_graphs import Lasting, RowGraphs, RowInputs
from brushcast_worker.stages.sinks import NEVER, SinkRows, close

Kernels = Callable[[], AbstractContextManager[object]]  # within it attention is run by the chosen
FIRST_ROWS = 2  # a stream of two steps
_OWN, _SOURCE = 3, 1  # tensors of a row before its prompt's; which of them is the source
# Numbers of a row before its threshold and its cursors, and before its slots'.
_NOISE, _CURSORS = 4, 8


class PooledCache:
    """One row of a pool and where it stands.  Owned by a stream's state; its row is free again when
    it is let go.
    """

    def __init__(self, bank: _Bank, cursor: Cursor) -> None:
        """Raises OutOfMemoryError."""
        self.bank, self.cursor = bank, cursor
        bank.take(self)

    @property
    def filled(self) -> int:
        """As of ``Cache``."""
        return self.cursor.filled

    @property
    def replaced(self) -> int:
        """As of ``Cache``; of the forwards before the host last waited for the device."""
        return int(self.bank.told_B[self.bank.row(self)])

    def source(self, sink: int) -> Tensor:
        """As of ``Cache``: rows move."""
        return self.bank.sinks.source_1BPCHW[0, self.bank.row(self), sink].clone()

    def fork(self) -> Self:
        """As of ``Cache``."""
        other = type(self)(self.bank, copy.deepcopy(self.cursor))
        self.bank.copy(self, other)
        return other


class _Bank:
    """Rows for latent frames of one size: keys (rotated) and values, and what is known of sinks."""

    def __init__(
        self, config: DiTConfig, grid: Grid, number: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.number = number
        self.generation = 0  # of the memory: a graph of an older one must not be run
        self.owners: list[weakref.ref[PooledCache] | None] = [None] * FIRST_ROWS
        shape = (config.layers, FIRST_ROWS, config.window, tokens_of(config, grid), config.dim)
        self.k_LBSND = torch.zeros(shape, device=device, dtype=dtype)
        self.v_LBSND = torch.zeros_like(self.k_LBSND)
        self.sinks = SinkRows.blank(config, FIRST_ROWS, grid, device, dtype)
        self.told_B = host_copy(self.sinks.replaced_1B[0])

    def take(self, cache: PooledCache) -> None:
        """Gives the cache a row.  Raises OutOfMemoryError."""
        free = next((n for n in range(len(self.owners)) if self._owner(n) is None), None)
        if free is None:
            free = len(self.owners)
            self.k_LBSND, self.v_LBSND = _doubled(self.k_LBSND), _doubled(self.v_LBSND)
            self.sinks = SinkRows(*map(_doubled, self.sinks.parts))
            told_B, self.told_B = self.told_B, host_copy(self.sinks.replaced_1B[0])
            self.told_B[:free] = told_B
            self.owners += [None] * free
            self.generation += 1
        self.sinks.replaced_1B[:, free] = self.told_B[free] = 0
        self.owners[free] = weakref.ref(cache)
        for part_LBSND in (self.k_LBSND, self.v_LBSND):
            part_LBSND[:, free].zero_()  # of NaN left there a masked one is NaN still

    def row(self, cache: PooledCache) -> int:
        """Where the cache is now."""
        return next(n for n in range(len(self.owners)) if self._owner(n) is cache)

    def copy(self, start: PooledCache, end: PooledCache) -> None:
        """What one knows to another."""
        a, b = self.row(start), self.row(end)
        for part in self._parts:
            part[:, b].copy_(part[:, a])
        self.told_B[b] = self.told_B[a]

    def to_the_front(self, caches: Sequence[PooledCache]) -> list[int]:
        """The rows of the caches, once they are the first ones, in any order."""
        rows = [self.row(cache) for cache in caches]
        for hole in sorted(set(range(len(rows))) - set(rows)):
            place = max(range(len(rows)), key=rows.__getitem__)
            self._swap(rows[place], hole)
            rows[place] = hole
        return rows

    def tell(self) -> None:
        """How many sinks gave way is on its way to the host."""
        self.told_B.copy_(self.sinks.replaced_1B[0], non_blocking=True)

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        """All that a row is made of; rows are axis 1."""
        return self.k_LBSND, self.v_LBSND, *self.sinks.parts

    def _owner(self, row: int) -> PooledCache | None:
        owner = self.owners[row]
        return None if owner is None else owner()

    def _swap(self, a: int, b: int) -> None:
        for part in self._parts:
            for layer in part:  # in small parts: they are large
                kept = layer[a].clone()
                layer[a].copy_(layer[b])
                layer[b].copy_(kept)
        self.owners[a], self.owners[b] = self.owners[b], self.owners[a]


def _doubled(x_LB: Tensor) -> Tensor:
    layers, rows, *rest = x_LB.shape
    larger = x_LB.new_zeros((layers, 2 * rows, *rest))
    larger[:, :rows].copy_(x_LB)
    return larger


class CachePool:
    """Gives caches, and runs the transformer over them.  Owned by an engine, used on the GPU
    thread.
    """

    def __init__(
        self,
        transformer: DiT,
        dtype: torch.dtype,
        device: torch.device,
        graphs: RowGraphs,
        kernels: Kernels = nullcontext,
        quirks: Quirks = DEFAULT,
    ) -> None:
        self._transformer, self._dtype, self._device = transformer, dtype, device
        self._graphs, self._kernels = graphs, kernels
        self._positions = quirks.rope
        self._threshold = quirks.sinks if transformer.config.sinks else None
        self._banks: weakref.WeakValueDictionary[Grid, _Bank] = weakref.WeakValueDictionary()
        self._last: _Bank | None = None  # stays when its streams are gone: graphs know its memory
        self._bank_numbers = itertools.count()

    def cache(self, grid: Grid) -> PooledCache:
        """For one stream and one denoising step.  Raises OutOfMemoryError."""
        c = self._transformer.config
        bank = self._banks.get(grid)
        if bank is None:
            self._last = None  # its memory may be wanted
            bank = self._banks[grid] = _Bank(
                c, grid, next(self._bank_numbers), self._device, self._dtype
            )
        self._last = bank
        return PooledCache(bank, Cursor(c.sinks, c.window, self._positions))

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """As of `stages.denoise`; the rows have one size."""
        caches = [_pooled(row.cache) for row in rows]
        bank = caches[0].bank
        places = bank.to_the_front(caches)
        for row, cache in zip(rows, caches, strict=True):
            cache.cursor.begin(row.again)
        order = sorted(range(len(rows)), key=places.__getitem__)
        inputs = [self._inputs(rows[n]) for n in order]
        full = all(cache.cursor.filled == cache.cursor.window for cache in caches)
        name = f"denoise, {'full' if full else 'filling'}, {bank.number}.{bank.generation}"
        with self._kernels():
            (x0_BCHW,) = self._graphs.run(
                name,
                partial(self._denoise, bank, full),
                inputs,
                lambda: _tensors(rows[0]),
                exact=True,
            )
        for cache in caches:
            cache.cursor.end()
        if self._threshold is not None:
            bank.tell()
        found = x0_BCHW.clone().unbind(0)
        return [found[place] for place in places]

    def _denoise(
        self, bank: _Bank, full: bool, inputs: Sequence[Tensor], numbers_BF: Tensor
    ) -> Sequence[Tensor]:
        rows = len(numbers_BF)
        noise_BF, threshold_B = numbers_BF[:, :_NOISE], numbers_BF[:, _NOISE]
        slot_B, position_B, filled_B = numbers_BF[:, _NOISE + 1 : _CURSORS].long().unbind(1)
        caches = StaticRows(
            bank.k_LBSND[:, :rows],
            bank.v_LBSND[:, :rows],
            slot_B,
            position_B,
            numbers_BF[:, _CURSORS:] > 0,
            None if full else filled_B,
            self._transformer.config.sinks,
            None if self._threshold is None else [],
        )
        own, prompt = inputs[:_OWN], inputs[_OWN:]
        x0_BCHW = forward_rows(self._transformer, own, prompt, noise_BF, caches)
        rope, parts = self._transformer.rope, self._transformer.rotary
        assert isinstance(rope, Tensor)
        close(bank.sinks.first(rows), caches, own[_SOURCE], threshold_B, rope, parts)
        return (x0_BCHW,)

    def _inputs(self, row: Row) -> RowInputs:
        return RowInputs(_tensors(row), self._numbers(row), Lasting(row.context, _OWN))

    def _numbers(self, row: Row) -> list[float]:
        """What `_denoise` takes, in its order."""
        cursor = _pooled(row.cache).cursor
        cursors = [cursor.slot, cursor.position, cursor.filled, *cursor.moved]
        threshold = NEVER if self._threshold is None else self._threshold
        return [*noise_numbers(row.step), threshold, *map(float, cursors)]


def _pooled(cache: Cache) -> PooledCache:
    assert isinstance(cache, PooledCache)
    return cache


def _tensors(row: Row) -> list[Tensor]:
    """What `_denoise` takes, in its order: the row's own and then the prompt's."""
    return [row.x0_CHW, row.source_CHW, row.noise_CHW, *prompt_tensors(row.context)]
