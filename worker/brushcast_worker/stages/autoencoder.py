"""What the stages ask of an autoencoder: ``models.light_vae.LightVAE`` is one, ``LiveVAE`` another.

Letters: B rows (streams), T pictures or latent frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from brushcast_worker.models.light_vae import Guide

Memory = tuple[Tensor, ...]  # what an autoencoder remembers of one stream, [1 ...] each


class Autoencoder(Protocol):
    """Four pictures in [-1, 1] to a latent frame and back, streamed.

    Where a stream's first chunk has shapes of its own (a latent frame more, or fewer pictures)
    there is no ``blank`` memory, and never a ``begins``.
    """

    def encode(
        self, video_BTCHW: Tensor, state: Memory | None = None, begins_B: Tensor | None = None
    ) -> tuple[Tensor, Memory]: ...

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
        begins_B: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Memory]]:
        """Pictures as soon as they are there, and the memory, whole with the last of them."""
        ...

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """The memory did not do for latents of that size: False where less is not to be had."""
        ...

    def guide(self, source_BTCHW: Tensor) -> Guide | None:
        """Begins what ``paint`` does with the source alone."""
        ...

    def blank(self, rows: int, height: int, width: int) -> tuple[Memory, Memory]:
        """Memories of streams that have none yet, of what encodes and of what paints."""
        ...
