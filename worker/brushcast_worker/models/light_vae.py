"""LightVAE: a streaming video autoencoder, 8x in space, 4x in time, 16 latent channels.

Letters: B streams, T pictures (or latent frames), C channels, H W size.

The decoder is guided by the source: it gets the latents and, in every picture, shallow features of
the source.  So the lines, eyes and fingers come from the source and the look comes from the
latents, and from nowhere else: the decoder is never told a style. One code path for training and
live use: a call takes any number of chunks and a state, and returns the new state; a clip in one
call equals the same clip chunk by chunk.  Nothing is kept on the module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]  # memories of the last picture, [B C H W] each


@dataclass(frozen=True, slots=True, kw_only=True)
class LightVAEConfig:
    """Channel counts at half, quarter and eighth resolution.  ``guided`` off: the published tiny
    VAEs (not built yet).
    """

    latent_channels: int = 16
    encoder: tuple[int, int, int] = (32, 48, 96)
    decoder: tuple[int, int, int] = (16, 48, 96)
    trunk_blocks: int = 2
    trunk_memory: int = (
        32  # channels of the previous chunk that the decoder sees again at eighth resolution
    )
    memory: int = 16  # of the previous picture, at quarter resolution
    guided: bool = True

    def __post_init__(self) -> None:
        if not self.guided:
            raise ValueError("guided False; only the source-guided decoder exists")


CHUNK = 4  # pictures to a latent frame
SCALE = 8  # pixels to a latent pixel, each way
THUMBNAIL = 12  # latent channels that start as a 2x2 RGB thumbnail of their cell


class LightVAE(nn.Module):
    """Encoder and source-guided decoder.  ``mean`` and ``std`` normalise latents to unit channels;
    set after training.
    """

    def __init__(self, config: LightVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or LightVAEConfig()
        channels = self.config.latent_channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        _initialise(self)

    def encode(self, video_BTCHW: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Pictures in [-1, 1], T a multiple of 4, to normalised latents ``[B T/4 16 H/8 W/8]``;
        sides are multiples of 16.
        """
        frames, height, width = video_BTCHW.shape[1], *video_BTCHW.shape[-2:]
        if frames % CHUNK or height % 16 or width % 16:
            raise ValueError(
                f"{frames} pictures of {width}x{height}; multiples of {CHUNK} and of 16x16 wanted"
            )
        z, state = self.encoder(video_BTCHW, state)
        return (z - self.mean) / self.std, state

    def decode(
        self, z_BTCHW: Tensor, source_BTCHW: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Normalised latents and their source pictures to pictures in [-1, 1] (not clamped) of the
        source's size.
        """
        if source_BTCHW.shape[1] != CHUNK * z_BTCHW.shape[1]:
            raise ValueError(
                f"{source_BTCHW.shape[1]} source pictures; {CHUNK * z_BTCHW.shape[1]} wanted"
            )
        return self.decoder(z_BTCHW * self.std + self.mean, source_BTCHW, state)


class Encoder(nn.Module):
    """Half resolution per pair of pictures, then quarter, then eighth per chunk; memory of one
    chunk at the end.
    """

    def __init__(self, c: LightVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = c.encoder
        self.stem = nn.Conv2d(6, half, 4, stride=2, padding=1)
        self.down1 = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(2 * quarter, eighth, 3, stride=2, padding=1)
        self.block = MemoryBlock(eighth, eighth)
        self.out = nn.Conv2d(eighth, c.latent_channels, 3, padding=1)
        self.thumbnail = nn.Conv2d(THUMBNAIL, c.latent_channels, 1, bias=False)

    def forward(self, video_BTCHW: Tensor, state: State | None) -> tuple[Tensor, State]:
        rows, frames = video_BTCHW.shape[:2]
        video = video_BTCHW.flatten(0, 1)
        x = self.stem(_last(video.unflatten(0, (-1, 2)).flatten(1, 2)))
        x = self.down1(F.relu(x, inplace=True))
        x = _last(F.relu(x, inplace=True).unflatten(0, (-1, 2)).flatten(1, 2))
        x, memory = self.block(self.down2(x), rows, None if state is None else state[0])
        z = self.out(F.relu(x))
        small = F.avg_pool2d(video.unflatten(0, (-1, CHUNK)).mean(1), 4)
        z = z + self.thumbnail(F.pixel_unshuffle(small, 2))
        return z.unflatten(0, (rows, frames // CHUNK)), (memory,)


class Decoder(nn.Module):
    """Latent trunk per chunk at eighth resolution; then, per picture, source features join at
    quarter and half.

    At quarter resolution the latents also gate the source features: what of the source is kept is
    the look's choice.
    """

    def __init__(self, c: LightVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = c.decoder
        self.source_half = nn.Conv2d(3, half, 4, stride=2, padding=1)
        self.source_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.into = nn.Conv2d(c.latent_channels, eighth, 3, padding=1)
        self.trunk = nn.ModuleList(
            [MemoryBlock(eighth, c.trunk_memory)]
            + [MemoryBlock(eighth, 0) for _ in range(c.trunk_blocks - 1)]
        )
        self.up1 = nn.ConvTranspose2d(
            eighth, CHUNK * quarter, 2, stride=2
        )  # a picture of the chunk each
        self.gate1 = nn.ConvTranspose2d(eighth, quarter, 2, stride=2)  # shared by the chunk
        self.block = MemoryBlock(quarter, c.memory)
        self.up0 = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.source_mid = nn.Conv2d(half, half, 3, padding=1)
        self.gate0 = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.mid = nn.Conv2d(half, half, 3, padding=1)
        self.out = nn.Conv2d(half, 12, 3, padding=1)
        self.thumbnail = nn.Conv2d(c.latent_channels, THUMBNAIL, 1, bias=False)

    def forward(
        self, z_BTCHW: Tensor, source_BTCHW: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        rows, frames = source_BTCHW.shape[:2]
        z = _last(z_BTCHW.flatten(0, 1))
        s0 = F.relu(self.source_half(_last(source_BTCHW.flatten(0, 1))), inplace=True)
        s1 = self.source_quarter(s0)

        x, trunk_memory = self.trunk[0](self.into(z), rows, None if state is None else state[0])
        for block in self.trunk[1:]:
            x, _ = block(x, rows, None)
        x = F.relu(x)
        gate = _plus_one(self.gate1, x).repeat_interleave(CHUNK, 0)
        x = _last(self.up1(x).unflatten(1, (CHUNK, -1)).flatten(0, 1)).addcmul_(s1, gate)
        x, picture_memory = self.block(x, rows, None if state is None else state[1])
        x = F.relu(x)
        deep = F.relu(self.source_mid(s0), inplace=True)
        x = F.relu(self.up0(x).add_(s0).addcmul_(deep, _plus_one(self.gate0, x)), inplace=True)
        x = F.relu(self.mid(x), inplace=True)
        y = F.pixel_shuffle(self.out(x), 2)
        small = F.pixel_shuffle(self.thumbnail(z), 2)
        small = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
        y = y.add_(_last(small).repeat_interleave(CHUNK, 0))
        return y.unflatten(0, (rows, frames)), (trunk_memory, picture_memory)


class MemoryBlock(nn.Module):
    """Pre-activation residual block that also sees ``memory`` channels of its own input one time
    step earlier.
    """

    def __init__(self, channels: int, memory: int) -> None:
        super().__init__()
        self.memory = memory
        self.conv1 = nn.Conv2d(channels + memory, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, rows: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """``x`` is ``[B*T C H W]`` in order of time; without a past the first picture is its own
        past.
        """
        seen, last = F.relu(x), x[:0]
        if not self.memory:
            y = self.conv1(seen)
        else:
            mine = seen[:, : self.memory].unflatten(0, (rows, -1))
            first = mine[:, :1] if past is None else past[:, None].to(mine.dtype)
            before = _last(torch.cat([first, mine[:, :-1]], 1).flatten(0, 1))
            last = mine[:, -1].clone()
            # The two parts of the convolution apart: joining their inputs would copy both.
            of_now, of_before = self.conv1.weight.split([x.shape[1], self.memory], 1)
            y = F.conv2d(seen, of_now, self.conv1.bias, padding=1)
            y = y.add_(F.conv2d(before, of_before, padding=1))
        return self.conv2(F.relu(y, inplace=True)).add_(x), last


def _plus_one(up: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """``1 + up(x)``: the one is added to the bias, not to every value."""
    assert up.bias is not None
    return F.conv_transpose2d(x, up.weight, up.bias + 1, stride=2)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _initialise(model: LightVAE) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, MemoryBlock):
                module.conv2.weight.mul_(0.2)
        model.encoder.out.weight.mul_(0.3)
        decoder = model.decoder
        for conv in (decoder.gate0, decoder.gate1, decoder.out):
            conv.weight.mul_(0.1)
        for up in (
            decoder.up1,
            decoder.gate1,
            decoder.up0,
        ):  # each output has one tap an input, not four
            up.weight.mul_((up.out_channels * 4 / up.in_channels) ** 0.5)
        # Without the thumbnail shortcut deep ReLU stacks learn luminance only at first.

        eye = torch.eye(THUMBNAIL)
        model.encoder.thumbnail.weight.zero_()[:THUMBNAIL, :, 0, 0] = 1.6 * eye
        decoder.thumbnail.weight.zero_()[:, :THUMBNAIL, 0, 0] = eye / 1.6
