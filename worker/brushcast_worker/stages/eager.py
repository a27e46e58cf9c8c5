"""Eager: the networks' stages, operator by operator; on a CPU the fastest way.

Letters: T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from brushcast_worker.chunk import Chunk
from brushcast_worker.models.dit import DiT
from brushcast_worker.models.light_vae import Guide
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.autoencoder import Autoencoder, Memory
from brushcast_worker.stages.cache import Grid, RollingCache, rolling_cache
from brushcast_worker.stages.decode import Decoded, decode
from brushcast_worker.stages.denoise import Row, denoise
from brushcast_worker.stages.encode import encode
from brushcast_worker.stages.motion import Motion, Seen, measure


class Eager:
    """See the functions of these names; pictures may have any type."""

    def __init__(
        self,
        transformer: DiT,
        autoencoder: Autoencoder,
        dtype: torch.dtype,
        *,
        quirks: Quirks = DEFAULT,
    ) -> None:
        self._transformer, self._autoencoder, self._dtype = transformer, autoencoder, dtype
        self._quirks = quirks

    def cache(self, grid: Grid) -> RollingCache:
        """For one stream and one denoising step."""
        device, config = self._transformer.head.head.weight.device, self._transformer.config
        return rolling_cache(config, grid, device, self._dtype, self._quirks)

    def measure(self, chunks: Sequence[Chunk], seen: Sequence[Seen | None]) -> list[Motion]:
        """Of `stages.motion`."""
        pictures = [chunk.pixels for chunk in chunks]
        return [measure(*of_stream) for of_stream in zip(pictures, seen, strict=True)]

    def encode(
        self, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
    ) -> tuple[list[Tensor], list[Memory]]:
        """Of `stages.encode`."""
        return encode(self._autoencoder, [x.to(self._dtype) for x in pictures_TCHW], memories)

    def guide(self, pictures_TCHW: Tensor) -> Guide | None:
        """Begins what `decode` does with the source of a stream that is alone."""
        return self._autoencoder.guide(pictures_TCHW.to(self._dtype)[None])

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """Of the autoencoder."""
        return self._autoencoder.paint_one_by_one(height, width)

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of `stages.denoise`."""
        return denoise(self._transformer, rows)

    def decode(
        self,
        x0_TCHW: Sequence[Tensor],
        sources_TCHW: Sequence[Tensor],
        memories: Sequence[Memory | None],
        guides: Sequence[Guide | None],
    ) -> Iterator[Decoded]:
        """Of `stages.decode`."""
        sources_TCHW = [x.to(self._dtype) for x in sources_TCHW]
        return decode(self._autoencoder, x0_TCHW, sources_TCHW, memories, guides)
