"""The tiny autoencoder for latents of Wan 2.1 as a stream: pictures to latents and back, both in a
small part of the exact one's time and close to it.

Letters: B rows (streams), T pictures or latent frames, C channels, H height, W width, N = T * B
pictures in the order of time (all rows of one moment stand together).

Structure and parameter names are those of TAEHV by Ollin Boer Bohan (taehv.py at 115aaa7 in
madebyollin/taehv, MIT), so that ``taew2_1.pth`` loads.  Its latents are Wan's own after
normalising, of mean 0 and deviation 1: nothing is to be scaled on either side (its README).
LightX2V's ``lighttaew2_1`` has the same names and shapes, so it would load, but its latents are
Wan's before normalising.  TAEHV's pictures are in [0, 1], ours in [-1, 1]; the change is made here.

Time.  Four pictures are one latent frame, always.  A stream's first latent frame stands for one
picture: of what ``decode`` makes of it only the last picture counts (``frames_to_trim`` go before),
and ``encode`` is given a stream's first picture four times.

The published encoder looks three pictures ahead, however: it takes a clip as it comes and repeats
the *last* picture to fill the last chunk, so that its latent frame k, made of pictures 4k to
4k + 3, stands for the pictures 4k - 3 to 4k, which ``decode`` gives back.  With the first picture
four times, what ``decode`` gives back at a place is three pictures older than what ``encode`` was
given there.

All that a stream remembers is a tuple of tensors that is passed in and handed back, rows first:
what each block saw last.  None is a stream's beginning and equals zeros.  A clip in one call and
the same clip in pieces give the same numbers (tests/worker/models/test_tiny_vae.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Memory = tuple[Tensor, ...]  # [B C H W] each, one for every block

COLOURS = 3
LATENT_LIMIT = 3.0  # the decoder squeezes latents softly between this and its negative


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyVAEConfig:
    """Sizes of one tiny autoencoder.  A level is a change of size with ``blocks`` blocks."""

    z_dim: int
    encoder: int  # channels, the same in every level
    decoder: tuple[int, ...]  # channels of each level, latents first, and before the last layer
    blocks: int  # of a level
    temporal_downsample: tuple[bool, ...]  # of each level of the encoder: whether time is halved
    temporal_upsample: tuple[bool, ...]  # of each level of the decoder: whether time is doubled

    def __post_init__(self) -> None:
        levels = len(self.temporal_downsample)
        if not len(self.decoder) - 1 == len(self.temporal_upsample) == levels:
            raise ValueError(
                f"decoder {self.decoder} and {len(self.temporal_upsample)} changes of its time "
                f"for {levels} levels; wanted {levels + 1} and {levels}"
            )
        if sum(self.temporal_upsample) != sum(self.temporal_downsample):
            raise ValueError(
                f"time is halved {sum(self.temporal_downsample)} times and doubled "
                f"{sum(self.temporal_upsample)} times; wanted the same"
            )
        if min(levels, self.z_dim, self.encoder, self.blocks, *self.decoder) < 1:
            raise ValueError(
                f"{levels} levels, z_dim {self.z_dim}, encoder {self.encoder}, decoder "
                f"{self.decoder}, blocks {self.blocks}: wanted 1 or more each"
            )

    @property
    def scale(self) -> int:
        """Pixels that a latent pixel is wide."""
        return 2 ** len(self.temporal_downsample)

    @property
    def chunk(self) -> int:
        """Pictures of a latent frame."""
        return 2 ** sum(self.temporal_downsample)

    @property
    def frames_to_trim(self) -> int:
        """Pictures that ``decode`` gives before a stream's first one that counts."""
        return self.chunk - 1

    @property
    def memories(self) -> int:
        """Tensors that a stream remembers, in the encoder and in the decoder alike."""
        return self.blocks * len(self.temporal_downsample)


TINY_VAE_SIZES: dict[str, TinyVAEConfig] = {
    "taew2_1": TinyVAEConfig(
        z_dim=16,
        encoder=64,
        decoder=(256, 128, 64, 64),
        blocks=3,
        temporal_downsample=(True, True, False),
        temporal_upsample=(False, True, True),
    ),
}


class TinyVAE(nn.Module):
    """The autoencoder.  Weights only: what a stream remembers comes in as an argument."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)

    def encode(self, video_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        """Pictures in [-1, 1] to latents ``[B T/chunk z_dim H/scale W/scale]`` of about mean 0 and
        deviation 1.

        Raises ValueError for other numbers of pictures than multiples of ``chunk``, odd sizes and a
        state of other sizes.  See the head of this file for a stream's beginning.
        """
        c = self.config
        rows, frames, height, width = _sizes(video_BTCHW, COLOURS, "pictures")
        if frames % c.chunk or height % c.scale or width % c.scale:
            raise ValueError(
                f"{frames} pictures of {width}x{height}; wanted multiples of {c.chunk} with sides "
                f"in multiples of {c.scale}"
            )
        walk = Walk(state, rows, c.memories)
        z_NCHW = _through(self.encoder, _in_time(video_BTCHW * 0.5 + 0.5), walk)
        return _in_rows(z_NCHW, rows), walk.after()

    def decode(self, z_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        """Latents of mean 0 and deviation 1 to pictures ``[B T*chunk 3 H*scale W*scale]``, clamped
        to [-1, 1] as published.

        Always ``chunk`` pictures for a latent frame: of a stream's first one the caller drops the
        first ``frames_to_trim``.  Raises ValueError for latents or a state of other sizes.
        """
        rows, *_ = _sizes(z_BTCHW, self.config.z_dim, "latent frames")
        walk = Walk(state, rows, self.config.memories)
        x_NCHW = _through(self.decoder, _in_time(z_BTCHW), walk)
        return _in_rows(x_NCHW.clamp(0, 1) * 2 - 1, rows), walk.after()


class Walk:
    """One call's way through the blocks: each finds what it remembers, and leaves it for the next
    call.  Lives as long as the call.
    """

    def __init__(self, before: Memory | None, rows: int, memories: int) -> None:
        if before is not None and len(before) != memories:
            raise ValueError(f"a memory of {len(before)} tensors; wanted {memories}")
        self.rows = rows
        self._before: Iterator[Tensor] | None = None if before is None else iter(before)
        self._after: list[Tensor] = []

    def past(self, x_NCHW: Tensor) -> Tensor:
        """What stands one moment before each of ``x``: the memory first, zeros where a stream
        begins.  The last moment of ``x`` is remembered: a copy, so that the rest is let go.
        """
        last_BCHW = x_NCHW[-self.rows :].clone(memory_format=torch.channels_last)
        if self._before is None:
            first_BCHW = torch.zeros_like(last_BCHW)
        else:
            first_BCHW = next(self._before)
            if first_BCHW.shape != last_BCHW.shape:
                raise ValueError(
                    f"a memory of {list(first_BCHW.shape)} in place {len(self._after)}; wanted "
                    f"{list(last_BCHW.shape)}"
                )
        self._after.append(last_BCHW)
        if len(x_NCHW) == self.rows:  # to join nothing would lose the order in memory
            return first_BCHW
        return torch.cat([first_BCHW, x_NCHW[: -self.rows]])

    def after(self) -> Memory:
        """What the stream remembers now."""
        return tuple(self._after)


class Block(nn.Module):
    """Three convolutions of a moment and the one before it, beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict(
            {
                "0": _conv(2 * channels, channels),
                "2": _conv(channels, channels),
                "4": _conv(channels, channels),
            }
        )

    def forward(self, x_NCHW: Tensor, walk: Walk) -> Tensor:
        y_NCHW = F.relu(self.conv["0"](torch.cat([x_NCHW, walk.past(x_NCHW)], 1)))
        y_NCHW = F.relu(self.conv["2"](y_NCHW))
        return F.relu(self.conv["4"](y_NCHW) + x_NCHW)


class Pool(nn.Module):
    """Every ``moments`` of them mixed to one, pixel by pixel."""

    def __init__(self, channels: int, moments: int) -> None:
        super().__init__()
        self.moments = moments
        self.conv = _conv(moments * channels, channels, side=1, bias=False)

    def forward(self, x_NCHW: Tensor, walk: Walk) -> Tensor:
        if self.moments == 1:
            return self.conv(x_NCHW)
        x_TSBHWC = x_NCHW.permute(0, 2, 3, 1).unflatten(0, (-1, self.moments, walk.rows))
        side_by_side = torch.cat(x_TSBHWC.unbind(1), -1).flatten(0, 1)
        return self.conv(side_by_side.permute(0, 3, 1, 2))


class Grow(nn.Module):
    """Every moment to ``moments`` of them, pixel by pixel, at twice the size.

    Published, pixels are doubled before they are mixed; the other way round the numbers are the
    same and a quarter of the work is left.
    """

    def __init__(self, channels: int, moments: int) -> None:
        super().__init__()
        self.moments = moments
        self.conv = _conv(channels, moments * channels, side=1, bias=False)

    def forward(self, x_NCHW: Tensor, walk: Walk) -> Tensor:
        y_NHWC = self.conv(x_NCHW).permute(0, 2, 3, 1)
        y_TBHWSC = y_NHWC.unflatten(0, (-1, walk.rows)).unflatten(-1, (self.moments, -1))
        y_TSBHWC = y_TBHWSC.permute(0, 4, 1, 2, 3, 5)
        sides = (-1, -1, -1, -1, 2, -1, 2, -1)  # each pixel four times, in one copy
        doubled = y_TSBHWC[:, :, :, :, None, :, None].expand(sides).flatten(0, 2)
        return doubled.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


class Squeeze(nn.Module):
    """Latents softly held within ``LATENT_LIMIT``."""

    def forward(self, z_NCHW: Tensor) -> Tensor:
        return torch.tanh(z_NCHW / LATENT_LIMIT) * LATENT_LIMIT


def _encoder(c: TinyVAEConfig) -> nn.ModuleList:
    """Places in the list are the numbers in the published names."""
    width = c.encoder
    parts: list[nn.Module] = [_conv(COLOURS, width), nn.ReLU()]
    for halved in c.temporal_downsample:
        parts.append(Pool(width, 2 if halved else 1))
        parts.append(_conv(width, width, stride=2, bias=False))
        parts.extend(Block(width) for _ in range(c.blocks))
    return nn.ModuleList([*parts, _conv(width, c.z_dim)])


def _decoder(c: TinyVAEConfig) -> nn.ModuleList:
    """Places in the list are the numbers in the published names."""
    parts: list[nn.Module] = [Squeeze(), _conv(c.z_dim, c.decoder[0]), nn.ReLU()]
    for level, doubled in enumerate(c.temporal_upsample):
        width = c.decoder[level]
        parts.extend(Block(width) for _ in range(c.blocks))
        parts.append(nn.Identity())  # here pixels are doubled in the published order: see Grow
        parts.append(Grow(width, 2 if doubled else 1))
        parts.append(_conv(width, c.decoder[level + 1], bias=False))
    return nn.ModuleList([*parts, nn.ReLU(), _conv(c.decoder[-1], COLOURS)])


def _through(parts: nn.ModuleList, x_NCHW: Tensor, walk: Walk) -> Tensor:
    for part in parts:
        in_time = isinstance(part, Block | Pool | Grow)
        x_NCHW = part(x_NCHW, walk) if in_time else part(x_NCHW)
    return x_NCHW


def _conv(
    inputs: int, outputs: int, *, side: int = 3, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A convolution within pictures, its weights channels-last in memory."""
    conv = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=bias)
    return conv.to(memory_format=torch.channels_last)


def _sizes(x_BTCHW: Tensor, channels: int, what: str) -> tuple[int, int, int, int]:
    """Rows, moments, height and width.  Raises ValueError where there is nothing or the channels
    are others.
    """
    if x_BTCHW.ndim != 5 or x_BTCHW.shape[2] != channels or 0 in x_BTCHW.shape:
        raise ValueError(
            f"{what} of shape {list(x_BTCHW.shape)}; wanted [rows, {what}, {channels}, height, "
            "width], 1 or more each"
        )
    rows, moments, _, height, width = x_BTCHW.shape
    return rows, moments, height, width


def _in_time(x_BTCHW: Tensor) -> Tensor:
    x_NCHW = x_BTCHW.transpose(0, 1).flatten(0, 1)
    return x_NCHW.contiguous(memory_format=torch.channels_last)


def _in_rows(x_NCHW: Tensor, rows: int) -> Tensor:
    return x_NCHW.unflatten(0, (-1, rows)).transpose(0, 1)
