"""LiveVAE: an autoencoder of Wan's latents as the stages want it: a chunk in, a chunk out.

Letters: B rows (streams), T pictures or latent frames, C channels, H height, W width.

Wan's first latent frame stands for a single picture (arXiv 2503.20314, section 4.1), and there are
two ways to begin with it.  The exact autoencoder's next latent frame is the four pictures after
that: so a stream's first picture stands in front of it once more, becomes a latent frame of its own
(the lead), and what is painted of that is dropped.  The lead goes through alone: what follows has
the shapes of the steady state, for which kernels are there.  The tiny one looks three pictures
ahead: its first latent frame is made of the first four pictures and stands for the first; every
chunk's last three are painted with the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from brushcast_worker.models.any_size import AnySize
from brushcast_worker.models.light_vae import CHUNK, Guide
from brushcast_worker.models.wan_vae import WanVAE
from brushcast_worker.stages.autoencoder import Memory


class WanLatents(Protocol):
    """``models.wan_vae.WanVAE``, ``models.tiny_vae.TinyVAE``; None is a stream's beginning."""

    def encode(self, video_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]: ...

    def decode(self, z_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]: ...


class LiveVAE:
    """``stages.autoencoder.Autoencoder`` for Wan's latents. Holds weights, no state."""

    def __init__(self, autoencoder: WanLatents, *, late: int) -> None:
        """``late``: how many pictures the encoder looks ahead; 0: a stream begins with a lead."""
        self._autoencoder, self._late = autoencoder, late
        self._encode: Callable[..., tuple[Tensor, Memory]] = autoencoder.encode
        self._decode: Callable[..., tuple[Tensor, Memory]] = autoencoder.decode
        self._one_by_one: set[torch.Size] = set()  # sizes of latents

    def fuse(self, compile_decoder: Callable[[Any], Any] | None = None) -> None:
        """Compiles the steady state (torch.compile) for pictures of every size; the decoder by
        another compiler where one is given, for every size anew."""
        follows = {0: [-2, -1], 1: [-2, -1]}  # height and width, of the memory too
        self._encode = AnySize(self._autoencoder.encode, follows)
        self._decode = (
            AnySize(self._autoencoder.decode, follows)
            if compile_decoder is None
            else compile_decoder(self._autoencoder.decode)
        )

    def encode(
        self, video_BTCHW: Tensor, state: Memory | None = None, begins_B: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """``[B T/4 16 H/8 W/8]``, and the lead before them where a stream begins with one."""
        assert begins_B is None
        if state is not None:
            return self._encode(video_BTCHW, state)
        if self._late:
            return self._autoencoder.encode(video_BTCHW)
        lead_BTCHW, state = self._autoencoder.encode(video_BTCHW[:, :1])
        z_BTCHW, state = self._encode(video_BTCHW, state)
        return torch.cat([lead_BTCHW, z_BTCHW], 1), state

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
        begins_B: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Memory]]:
        """All pictures at once, fewer where a stream begins late; the source is not looked at."""
        assert begins_B is None
        lead = state is None and not self._late
        assert source_BTCHW.shape[1] == CHUNK * (z_BTCHW.shape[1] - lead)
        yield self.decode(z_BTCHW, state)

    def decode(self, z_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        """What is shown of the latents, and the memory."""
        decode = self._decode
        if z_BTCHW.shape[-2:] in self._one_by_one:
            assert isinstance(self._autoencoder, WanVAE)
            decode = functools.partial(self._autoencoder.decode, one_by_one=True)
        if state is not None:
            return decode(z_BTCHW, state)
        if self._late:
            x_BTCHW, after = self._autoencoder.decode(z_BTCHW)
            return x_BTCHW[:, self._late :], after
        _, state = self._autoencoder.decode(z_BTCHW[:, :1])
        # A tensor of its own: of a part of another the compiler would make all of it anew.
        rest_BTCHW = z_BTCHW[:, 1:].clone(memory_format=torch.contiguous_format)
        return decode(rest_BTCHW, state)

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """From now on pictures of latents of that size are painted one after the other, in less
        memory. False: they are already, or the autoencoder cannot.
        """
        size = torch.Size((height, width))
        if not isinstance(self._autoencoder, WanVAE) or size in self._one_by_one:
            return False
        self._one_by_one.add(size)
        return True

    def guide(self, source_BTCHW: Tensor) -> Guide | None:
        """None: these decoders never see the source."""
        return None

    def blank(self, rows: int, height: int, width: int) -> tuple[Memory, Memory]:
        """A stream that begins has none, and is shaped otherwise."""
        raise AssertionError("a stream of these begins without a memory")
