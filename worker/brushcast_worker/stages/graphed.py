"""Graphed: the networks' stages as CUDA graphs, all rows of a stage in one.

The same networks and numbers as `stages.eager`. What differs from row to row or from chunk to chunk
goes in as a tensor: whether a stream begins, its noise level, and where its cache stands.

Letters: B rows, T pictures (or latent frames), C channels, H height, W width, L layers, S slots of
a cache, N tokens of a latent frame, D width of a token, F numbers of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from brushcast_worker.chunk import Chunk, as_levels, send_back
from brushcast_worker.models.attention import CacheRows
from brushcast_worker.models.dit import DiT
from brushcast_worker.models.light_vae import Guide
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.autoencoder import Autoencoder, Memory
from brushcast_worker.stages.cache import Cache, Grid, rolling_cache
from brushcast_worker.stages.decode import Decoded, decode
from brushcast_worker.stages.denoise import (
    Row,
    forward_rows,
    noise_numbers,
    prompt_tensors,
    rolling,
)
from brushcast_worker.stages.device_motion import measure_rows
from brushcast_worker.stages.encode import encode
from brushcast_worker.stages.motion import Motion, Seen, measure
from brushcast_worker.stages.pool import CachePool
from brushcast_worker.stages.row_graphs import RowGraphs, RowInputs

_OWN = 5  # tensors of a row before its prompt's
_NOISE, _CURSORS = 4, 6  # numbers of a row before its cursors, and before its slots' positions


class Graphed:
    """Does what `Eager` does. On a GPU; elsewhere, for tests, without `capture`."""

    def __init__(
        self,
        transformer: DiT,
        autoencoder: Autoencoder,
        dtype: torch.dtype,
        device: torch.device,
        *,
        capture: bool,
        pooled: bool = False,
        quirks: Quirks = DEFAULT,
    ) -> None:
        """`pooled`: caches are too large to be copied (`stages.pool`)."""
        self._transformer, self._autoencoder, self._dtype = transformer, autoencoder, dtype
        self._device, self._quirks = device, quirks
        self.graphs = RowGraphs(device, capture=capture)
        self._pool: CachePool | None = None
        if pooled:
            self._pool = CachePool(transformer, dtype, device, self.graphs, quirks)

    def cache(self, grid: Grid) -> Cache:
        """For one stream and one denoising step."""
        if self._pool is not None:
            return self._pool.cache(grid)
        config = self._transformer.config
        return rolling_cache(config, grid, self._device, self._dtype, self._quirks)

    # ------------------------------------------------------------------ motion

    def measure(self, chunks: Sequence[Chunk], seen: Sequence[Seen | None]) -> list[Motion]:
        """As of `stages.motion`, on the device where the pictures are; waits for it once: the
        answers decide what is run."""
        rows = [_motion_row(*of_stream) for of_stream in zip(chunks, seen, strict=True)]
        levels_THWC = chunks[0].levels_THWC
        if levels_THWC is None:
            pictures = [chunk.pixels for chunk in chunks]
            return [measure(*of_stream) for of_stream in zip(pictures, seen, strict=True)]
        like = [levels_THWC, levels_THWC[0], levels_THWC[0]]
        (found_B3,) = self.graphs.run("motion", self._measure, rows, lambda: like)
        return [Motion(*of_stream) for of_stream in found_B3.tolist()]

    def _measure(self, inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
        pictures_BTHWC, reference_BHWC, last_BHWC = inputs
        return (measure_rows(pictures_BTHWC, reference_BHWC, last_BHWC, begins_B1[:, 0] > 0),)

    # ------------------------------------------------------------------ encode

    def encode(
        self, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
    ) -> tuple[list[Tensor], list[Memory]]:
        """As of `stages.encode`; pictures of all streams have one shape and may have any type."""
        latents: list[Tensor] = [torch.empty(0)] * len(memories)
        after: list[Memory] = [()] * len(memories)
        begin, go_on = self._beginning(memories)
        if begin:
            first = [pictures_TCHW[i].to(self._dtype) for i in begin]
            for i, z, memory in zip(
                begin, *encode(self._autoencoder, first, [None] * len(begin)), strict=True
            ):
                latents[i], after[i] = z, memory
        if go_on:
            pictures, known = pictures_TCHW[go_on[0]], [memories[i] for i in go_on]
            count = self._count(pictures, known, 0)
            rows = [
                RowInputs((pictures_TCHW[i], *_of_row(memories[i], count)), (memories[i] is None,))
                for i in go_on
            ]
            z_BTCHW, *after_B = self.graphs.run(
                "encode",
                self._encode,
                rows,
                lambda: [pictures.to(self._dtype), *self._memory(pictures, known, 0)],
            )
            of_rows = zip(*(torch.split(x.clone(), 1) for x in after_B), strict=True)
            for i, z, memory in zip(go_on, z_BTCHW.clone().unbind(0), of_rows, strict=True):
                latents[i], after[i] = z, memory
        return latents, after

    def _encode(self, inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
        video_BTCHW, *memory = inputs
        begins_B = None if self._autoencoder.begins_apart else begins_B1[:, 0] > 0
        z_BTCHW, after = self._autoencoder.encode(video_BTCHW, tuple(memory), begins_B)
        return z_BTCHW, *after

    def _beginning(self, memories: Sequence[Memory | None]) -> tuple[list[int], list[int]]:
        """Streams whose first chunk has a shape of its own, and the others."""
        every = range(len(memories))
        begin = [i for i in every if memories[i] is None and self._autoencoder.begins_apart]
        return begin, [i for i in every if i not in begin]

    def _memory(
        self, source_TCHW: Tensor, known: Sequence[Memory | None], which: int
    ) -> list[Tensor]:
        """What a row's memory looks like, of what encodes (0) or of what paints (1)."""
        memory = known[0] if self._autoencoder.begins_apart else None
        if memory is None:
            memory = self._autoencoder.blank(1, *source_TCHW.shape[2:])[which]
        return [x[0] for x in memory]

    def _count(self, source_TCHW: Tensor, known: Sequence[Memory | None], which: int) -> int:
        """Of how many tensors it is."""
        memory = next((memory for memory in known if memory is not None), None)
        return len(self._memory(source_TCHW, known, which) if memory is None else memory)

    def guide(self, pictures_TCHW: Tensor) -> Guide | None:
        """None: there is no other core to begin it on."""
        return None

    # ------------------------------------------------------------------ denoise

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """As of `stages.denoise`."""
        if self._pool is not None:
            return self._pool.denoise(rows)
        caches = [rolling(row.cache) for row in rows]
        for row, cache in zip(rows, caches, strict=True):
            cache.begin(row.again)
        inputs = [RowInputs(_tensors(row), _numbers(row)) for row in rows]
        x0_BCHW, *written = self.graphs.run(
            "denoise", self._denoise, inputs, lambda: _tensors(rows[0])
        )
        for part, views in zip(
            written, zip(*(cache.current() for cache in caches), strict=True), strict=True
        ):
            torch._foreach_copy_(list(views), list(part.unbind(0)))
        for row, cache in zip(rows, caches, strict=True):
            cache.end(row.source_CHW)
        return list(x0_BCHW.clone().unbind(0))

    def _denoise(self, inputs: Sequence[Tensor], numbers_BF: Tensor) -> Sequence[Tensor]:
        """The clean latents, and what the caches must store: `RollingCache.current` of all rows."""
        *own, k_BLSND, v_BLSND = inputs[:_OWN]
        slot_B, position_B = numbers_BF[:, _NOISE:_CURSORS].long().unbind(1)
        positions_BS = numbers_BF[:, _CURSORS:].long()
        caches = CacheRows(k_BLSND, v_BLSND, slot_B, position_B, positions_BS)
        x0_BCHW = forward_rows(
            self._transformer, own, inputs[_OWN:], numbers_BF[:, :_NOISE], caches
        )
        return x0_BCHW, *(part_BND for pair in caches.written for part_BND in pair)

    # ------------------------------------------------------------------ decode

    def decode(
        self,
        x0_TCHW: Sequence[Tensor],
        sources_TCHW: Sequence[Tensor],
        memories: Sequence[Memory | None],
        guides: Sequence[Guide | None],
    ) -> Iterator[Decoded]:
        """As of `stages.decode`, with the pictures on their way to the host: all streams' in one
        copy."""
        begin, go_on = self._beginning(memories)
        if begin:
            first = decode(
                self._autoencoder,
                [x0_TCHW[i] for i in begin],
                [sources_TCHW[i].to(self._dtype) for i in begin],
                [None] * len(begin),
                [None] * len(begin),
            )
            yield from (decoded._replace(stream=begin[decoded.stream]) for decoded in first)
        of_shape: dict[torch.Size, list[int]] = {}
        for i in go_on:
            of_shape.setdefault(x0_TCHW[i].shape, []).append(i)
        for numbers in of_shape.values():
            yield from self._decoded(numbers, x0_TCHW, sources_TCHW, memories)

    def _decoded(
        self,
        numbers: Sequence[int],
        x0_TCHW: Sequence[Tensor],
        sources_TCHW: Sequence[Tensor],
        memories: Sequence[Memory | None],
    ) -> Iterator[Decoded]:
        """Streams of one shape."""
        first = numbers[0]
        z_TCHW, source_TCHW = x0_TCHW[first], sources_TCHW[first]
        known = [memories[i] for i in numbers]
        count = self._count(source_TCHW, known, 1)
        rows = [
            RowInputs(
                (x0_TCHW[i], sources_TCHW[i], *_of_row(memories[i], count)),
                (memories[i] is None,),
            )
            for i in numbers
        ]
        rare = len(z_TCHW) > 1  # the steps have just fallen
        x_BTCHW, levels_BTHWC, extremes_B2, *after = self.graphs.run(
            "decode",
            self._decode,
            rows,
            lambda: [
                z_TCHW,
                source_TCHW.to(self._dtype),
                *self._memory(source_TCHW, known, 1),
            ],
            rare=rare,
        )
        arrivals = send_back(levels_BTHWC, extremes_B2)
        x_BTCHW = x_BTCHW.clone()
        after_of = zip(*(torch.split(x.clone(), 1) for x in after), strict=True)
        yield from map(Decoded, numbers, x_BTCHW.unbind(0), after_of, arrivals)

    def _decode(self, inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
        z_BTCHW, source_BTCHW, *memory = inputs
        begins_B = None if self._autoencoder.begins_apart else begins_B1[:, 0] > 0
        parts = list(self._autoencoder.paint(z_BTCHW, source_BTCHW, tuple(memory), None, begins_B))
        x_BTCHW = torch.cat([x for x, _ in parts], 1) if len(parts) > 1 else parts[0][0]
        x_BTCHW = x_BTCHW.float().clamp(-1, 1)  # NaN stays NaN, for the loop to see
        levels_NHWC = as_levels(x_BTCHW.flatten(0, 1))
        levels_BTHWC = levels_NHWC.view(*x_BTCHW.shape[:2], *levels_NHWC.shape[1:])
        low, high = (most((1, 2, 3, 4)) for most in (x_BTCHW.amin, x_BTCHW.amax))
        return x_BTCHW, levels_BTHWC, torch.stack([low, high], 1), *parts[-1][1]


def _motion_row(chunk: Chunk, seen: Seen | None) -> RowInputs:
    """What `_measure` takes, in its order."""
    if seen is None or seen.last.levels_HWC is None:
        return RowInputs((chunk.levels_THWC, None, None), (True,))
    pictures = chunk.levels_THWC, seen.reference.levels_HWC, seen.last.levels_HWC
    return RowInputs(pictures, (False,))


def _of_row(memory: Memory | None, count: int) -> Sequence[Tensor | None]:
    """A stream's memory without the axis of rows."""
    return (None,) * count if memory is None else [x[0] for x in memory]


def _tensors(row: Row) -> list[Tensor]:
    """What `_denoise` takes, in its order."""
    k_LSND, v_LSND = rolling(row.cache).stored()
    own = [row.x0_CHW, row.source_CHW, row.noise_CHW, k_LSND, v_LSND]
    return [*own, *prompt_tensors(row.context)]


def _numbers(row: Row) -> list[float]:
    """What `_denoise` takes, in its order; slots that are not visible have a negative position."""
    cache = rolling(row.cache)
    hidden = [-1] * (cache.window - cache.filled)
    cursors = [cache.slot, cache.position, *cache.positions, *hidden]
    return [*noise_numbers(row.step), *cursors]
