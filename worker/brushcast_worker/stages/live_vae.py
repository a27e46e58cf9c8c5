"""LiveVAE: an autoencoder of Wan's latents as the stages want it: a chunk in, a chunk out.

Letters: B rows (streams), T pictures or latent frames, C channels, H height, W width.

Wan's first latent frame stands for a single picture (arXiv 2503.20314, section 4.1).  So a stream's
first picture stands in front of it once more: it becomes a latent frame of its own, the lead, and
what is painted of that is dropped.  From then on four pictures are a latent frame.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from brushcast_worker.models.light_vae import CHUNK, Guide
from brushcast_worker.stages.autoencoder import Memory


class WanLatents(Protocol):
    """``models.wan_vae.WanVAE``, ``models.tiny_vae.TinyVAE``; None is a stream's beginning."""

    def encode(self, video_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]: ...

    def decode(self, z_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]: ...


class LiveVAE:
    """``stages.autoencoder.Autoencoder`` for Wan's latents. Holds weights, no state."""

    leads = True

    def __init__(self, autoencoder: WanLatents, *, first: int) -> None:
        """``first``: how many pictures the autoencoder takes and gives for a stream's first latent
        frame.
        """
        self._autoencoder, self._first = autoencoder, first
        self._encode, self._decode = autoencoder.encode, autoencoder.decode

    def fuse(self) -> None:
        """Compiles the steady state (torch.compile), for every size anew."""
        fused = functools.partial(torch.compile, dynamic=False)
        self._encode = fused(self._autoencoder.encode)
        self._decode = fused(self._autoencoder.decode)

    def encode(
        self, video_BTCHW: Tensor, state: Memory | None = None, begins_B: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """``[B T/4 16 H/8 W/8]``, and one latent frame more where a stream begins."""
        assert begins_B is None
        if state is None:
            lead = video_BTCHW[:, :1].expand(-1, self._first, -1, -1, -1)
            return self._autoencoder.encode(torch.cat([lead, video_BTCHW], 1))
        return self._encode(video_BTCHW, state)

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
        begins_B: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Memory]]:
        """All pictures at once; the source is not looked at."""
        assert begins_B is None
        assert source_BTCHW.shape[1] == CHUNK * (z_BTCHW.shape[1] - (state is None))
        if state is None:
            x_BTCHW, after = self._autoencoder.decode(z_BTCHW)
            yield x_BTCHW[:, self._first :], after
        else:
            yield self._decode(z_BTCHW, state)

    def guide(self, source_BTCHW: Tensor) -> Guide | None:
        """None: these decoders never see the source."""
        return None

    def blank(self, rows: int, height: int, width: int) -> tuple[Memory, Memory]:
        """A stream that begins has none, and is shaped otherwise."""
        raise AssertionError("a stream of these begins without a memory")
