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
from brushcast_worker.stages.cache import Cache, Cursor
from brushcast_worker.stages.denoise import Row, forward_rows, noise_numbers, prompt_tensors
from brushcast_worker.stages.row_graphs import Lasting, RowGraphs, RowInputs

Kernels = Callable[[], AbstractContextManager[object]]  # within it attention is run by the chosen
FIRST_ROWS = 2  # a stream of two steps
_OWN = 3  # tensors of a row before its prompt's
_NOISE, _CURSORS = 4, 7  # numbers of a row before its cursors, and before its slots'


class PooledCache:
    """One row of a pool and where it stands.  Owned by a stream's state; its row is free again when
    it is let go.
    """

    def __init__(self, bank: _Bank, cursor: Cursor) -> None:
        """Raises OutOfMemoryError."""
        self.bank, self.cursor = bank, cursor
        bank.take(self)

    def fork(self) -> Self:
        """As of ``Cache``."""
        other = type(self)(self.bank, copy.deepcopy(self.cursor))
        self.bank.copy(self, other)
        return other


class _Bank:
    """Rows for latent frames of one number of tokens: keys (rotated) and values."""

    def __init__(
        self, config: DiTConfig, tokens: int, number: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.number = number
        self.generation = 0  # of the memory: a graph of an older one must not be run
        self.owners: list[weakref.ref[PooledCache] | None] = [None] * FIRST_ROWS
        shape = (config.layers, FIRST_ROWS, config.window, tokens, config.dim)
        self.k_LBSND = torch.zeros(shape, device=device, dtype=dtype)
        self.v_LBSND = torch.zeros_like(self.k_LBSND)

    def take(self, cache: PooledCache) -> None:
        """Gives the cache a row.  Raises OutOfMemoryError."""
        free = next((n for n in range(len(self.owners)) if self._owner(n) is None), None)
        if free is None:
            free = len(self.owners)
            self.k_LBSND, self.v_LBSND = _doubled(self.k_LBSND), _doubled(self.v_LBSND)
            self.owners += [None] * free
            self.generation += 1
        self.owners[free] = weakref.ref(cache)
        for part_LBSND in (self.k_LBSND, self.v_LBSND):
            part_LBSND[:, free].zero_()  # of NaN left there a masked one is NaN still

    def row(self, cache: PooledCache) -> int:
        """Where the cache is now."""
        return next(n for n in range(len(self.owners)) if self._owner(n) is cache)

    def copy(self, start: PooledCache, end: PooledCache) -> None:
        """What one knows to another."""
        a, b = self.row(start), self.row(end)
        for part_LBSND in (self.k_LBSND, self.v_LBSND):
            part_LBSND[:, b].copy_(part_LBSND[:, a])

    def to_the_front(self, caches: Sequence[PooledCache]) -> list[int]:
        """The rows of the caches, once they are the first ones, in any order."""
        rows = [self.row(cache) for cache in caches]
        for hole in sorted(set(range(len(rows))) - set(rows)):
            place = max(range(len(rows)), key=rows.__getitem__)
            self._swap(rows[place], hole)
            rows[place] = hole
        return rows

    def _owner(self, row: int) -> PooledCache | None:
        owner = self.owners[row]
        return None if owner is None else owner()

    def _swap(self, a: int, b: int) -> None:
        for part_LBSND in (self.k_LBSND, self.v_LBSND):
            for layer_BSND in part_LBSND:  # in small parts: they are large
                kept_SND = layer_BSND[a].clone()
                layer_BSND[a].copy_(layer_BSND[b])
                layer_BSND[b].copy_(kept_SND)
        self.owners[a], self.owners[b] = self.owners[b], self.owners[a]


def _doubled(x_LBSND: Tensor) -> Tensor:
    layers, rows, *rest = x_LBSND.shape
    larger = x_LBSND.new_zeros((layers, 2 * rows, *rest))
    larger[:, :rows].copy_(x_LBSND)
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
    ) -> None:
        self._transformer, self._dtype, self._device = transformer, dtype, device
        self._graphs, self._kernels = graphs, kernels
        self._banks: weakref.WeakValueDictionary[int, _Bank] = weakref.WeakValueDictionary()
        self._last: _Bank | None = None  # stays when its streams are gone: graphs know its memory
        self._numbers = itertools.count()

    def cache(self, tokens: int) -> PooledCache:
        """For one stream and one denoising step.  Raises OutOfMemoryError."""
        c = self._transformer.config
        bank = self._banks.get(tokens)
        if bank is None:
            self._last = None  # its memory may be wanted
            bank = self._banks[tokens] = _Bank(
                c, tokens, next(self._numbers), self._device, self._dtype
            )
        self._last = bank
        return PooledCache(bank, Cursor(c.sinks, c.window))

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """As of `stages.denoise`; the rows have one size."""
        caches = [_pooled(row.cache) for row in rows]
        bank = caches[0].bank
        places = bank.to_the_front(caches)
        for cache in caches:
            cache.cursor.begin()
        order = sorted(range(len(rows)), key=places.__getitem__)
        inputs = [_inputs(rows[n]) for n in order]
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
        found = x0_BCHW.clone().unbind(0)
        return [found[place] for place in places]

    def _denoise(
        self, bank: _Bank, full: bool, inputs: Sequence[Tensor], numbers_BF: Tensor
    ) -> Sequence[Tensor]:
        rows = len(numbers_BF)
        slot_B, position_B, filled_B = numbers_BF[:, _NOISE:_CURSORS].long().unbind(1)
        caches = StaticRows(
            bank.k_LBSND[:, :rows],
            bank.v_LBSND[:, :rows],
            slot_B,
            position_B,
            numbers_BF[:, _CURSORS:] > 0,
            None if full else filled_B,
            self._transformer.config.sinks,
        )
        own, prompt = inputs[:_OWN], inputs[_OWN:]
        return (forward_rows(self._transformer, own, prompt, numbers_BF[:, :_NOISE], caches),)


def _pooled(cache: Cache) -> PooledCache:
    assert isinstance(cache, PooledCache)
    return cache


def _inputs(row: Row) -> RowInputs:
    tensors = _tensors(row)
    return RowInputs(tensors, _numbers(row), Lasting(row.context, _OWN))


def _tensors(row: Row) -> list[Tensor]:
    """What `_denoise` takes, in its order: the row's own and then the prompt's."""
    return [row.x0_CHW, row.source_CHW, row.noise_CHW, *prompt_tensors(row.context)]


def _numbers(row: Row) -> list[float]:
    """What `_denoise` takes, in its order."""
    cursor = _pooled(row.cache).cursor
    cursors = [cursor.slot, cursor.position, cursor.filled, *cursor.moved]
    return [*noise_numbers(row.step), *map(float, cursors)]
