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

from brushcast_worker.chunk import Chunk, send_back
from brushcast_worker.models.attention import CacheRows
from brushcast_worker.models.dit import DiT
from brushcast_worker.models.light_vae import Guide
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.autoencoder import Autoencoder, Memory
from brushcast_worker.stages.cache import Grid, RollingCache, rolling_cache
from brushcast_worker.stages.decode import Decoded, as_shown
from brushcast_worker.stages.denoise import (
    Row,
    forward_rows,
    noise_numbers,
    prompt_tensors,
    rolling,
)
from brushcast_worker.stages.device_motion import measure_together
from brushcast_worker.stages.motion import Motion, Seen
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
        quirks: Quirks = DEFAULT,
    ) -> None:
        self._transformer, self._autoencoder, self._dtype = transformer, autoencoder, dtype
        self._device, self._quirks = device, quirks
        self.graphs = RowGraphs(device, capture=capture)

    def cache(self, grid: Grid) -> RollingCache:
        """For one stream and one denoising step."""
        config = self._transformer.config
        return rolling_cache(config, grid, self._device, self._dtype, self._quirks)

    # ------------------------------------------------------------------ motion

    def measure(self, chunks: Sequence[Chunk], seen: Sequence[Seen | None]) -> list[Motion]:
        """Of `stages.device_motion`."""
        return measure_together(self.graphs, chunks, seen)

    # ------------------------------------------------------------------ encode

    def encode(
        self, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
    ) -> tuple[list[Tensor], list[Memory]]:
        """As of `stages.encode`; pictures of all streams have one shape and may have any type."""
        blank = self._blank(pictures_TCHW[0], 0)
        rows = [
            RowInputs((x_TCHW, *_of_row(memory, len(blank))), (memory is None,))
            for x_TCHW, memory in zip(pictures_TCHW, memories, strict=True)
        ]
        z_BTCHW, *after_B = self.graphs.run(
            "encode", self._encode, rows, lambda: [pictures_TCHW[0].to(self._dtype), *blank]
        )
        of_rows = zip(*(torch.split(x.clone(), 1) for x in after_B), strict=True)
        return list(z_BTCHW.clone().unbind(0)), list(of_rows)

    def _encode(self, inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
        video_BTCHW, *memory = inputs
        z_BTCHW, after = self._autoencoder.encode(video_BTCHW, tuple(memory), begins_B1[:, 0] > 0)
        return z_BTCHW, *after

    def _blank(self, pictures_TCHW: Tensor, which: int) -> list[Tensor]:
        """What a row's memory looks like, of what encodes (0) or of what paints (1)."""
        return [x[0] for x in self._autoencoder.blank(1, *pictures_TCHW.shape[2:])[which]]

    def guide(self, pictures_TCHW: Tensor) -> Guide | None:
        """None: there is no other core to begin it on."""
        return None

    # ------------------------------------------------------------------ denoise

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """As of `stages.denoise`."""
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

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """Of the autoencoder."""
        return self._autoencoder.paint_one_by_one(height, width)

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
        of_shape: dict[torch.Size, list[int]] = {}
        for i, z_TCHW in enumerate(x0_TCHW):
            of_shape.setdefault(z_TCHW.shape, []).append(i)
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
        blank = self._blank(source_TCHW, 1)
        rows = [
            RowInputs(
                (x0_TCHW[i], sources_TCHW[i], *_of_row(memories[i], len(blank))),
                (memories[i] is None,),
            )
            for i in numbers
        ]
        rare = len(z_TCHW) > 1  # the steps have just fallen
        x_BTCHW, levels_BTHWC, extremes_B2, *after = self.graphs.run(
            "decode",
            self._decode,
            rows,
            lambda: [z_TCHW, source_TCHW.to(self._dtype), *blank],
            rare=rare,
        )
        arrivals = send_back(levels_BTHWC, extremes_B2)
        x_BTCHW = x_BTCHW.clone()
        after_of = zip(*(torch.split(x.clone(), 1) for x in after), strict=True)
        yield from map(Decoded, numbers, x_BTCHW.unbind(0), after_of, arrivals)

    def _decode(self, inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
        z_BTCHW, source_BTCHW, *memory = inputs
        begins_B = begins_B1[:, 0] > 0
        parts = list(self._autoencoder.paint(z_BTCHW, source_BTCHW, tuple(memory), None, begins_B))
        x_BTCHW = torch.cat([x for x, _ in parts], 1) if len(parts) > 1 else parts[0][0]
        return (*as_shown(x_BTCHW), *parts[-1][1])


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
