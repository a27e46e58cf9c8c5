"""LightVAE: a streaming video autoencoder, 8x in space, 4x in time, 16 latent channels.

Letters: B streams, T pictures (or latent frames), C channels, H W size.

The decoder is guided by the source: it gets the latents and, in every picture, shallow features of
the source.  So the lines, eyes and fingers come from the source and the look comes from the
latents, and from nowhere else: the decoder is never told a style, but reads it off the whole
picture's latents and sets its filters by it (feature-wise linear modulation, arXiv:1709.07871).
One code path for training and
live use: a call takes any number of chunks and a state, and returns the new state; a clip in one
call equals the same clip chunk by chunk.  Nothing is kept on the module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.side_by_side import side_by_side, worthwhile

State = tuple[Tensor, ...]  # memories of the last picture, [B C H W] each
Modulation = tuple[Tensor, Tensor]  # scale and shift, [N C 1 1] for N pictures or latent frames


@dataclass(frozen=True, slots=True, kw_only=True)
class LightVAEConfig:
    """Channel counts at half, quarter and eighth resolution.  ``guided`` off: the published tiny
    VAEs (not built yet).
    """

    latent_channels: int = 16
    encoder: tuple[int, int, int] = (32, 48, 96)
    decoder: tuple[int, int, int] = (16, 64, 96)
    trunk_blocks: int = 2
    trunk_memory: int = (
        32  # channels of the previous chunk that the decoder sees again at eighth resolution
    )
    memory: int = 16  # of the previous picture, at quarter resolution
    look: int = 64  # width of what the decoder reads off the whole picture's latents
    guided: bool = True

    def __post_init__(self) -> None:
        if not self.guided:
            raise ValueError("guided False; only the source-guided decoder exists")


CHUNK = 4  # pictures to a latent frame
SCALE = 8  # pixels to a latent pixel, each way
THUMBNAIL = 12  # latent channels that start as a 2x2 RGB thumbnail of their cell
KEPT = 0.9  # of the picture before, at most, where nothing changes
CHANGED = 0.15  # in [-1, 1]: a cell whose colour differs by this much keeps nothing


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
        pairs = video.unflatten(0, (-1, 2)).flatten(1, 2)
        parts = _parts(len(pairs), video.device)
        x = torch.cat(side_by_side(lambda p: self._pair(pairs[p]), parts))
        x = self.down2(_last(x.unflatten(0, (-1, 2)).flatten(1, 2)))
        before, memory = self.block.earlier(x, rows, None if state is None else state[0])
        z = self.out(F.relu(self.block(x, before)))
        z = z + self.thumbnail(_thumbnail(video))
        return z.unflatten(0, (rows, frames // CHUNK)), (memory,)

    def _pair(self, pair: Tensor) -> Tensor:
        x = F.relu(self.stem(_last(pair)), inplace=True)
        return F.relu(self.down1(x), inplace=True)


class Decoder(nn.Module):
    """Latent trunk per chunk at eighth resolution; then, per picture, source features join at
    quarter and half.

    The latents are in charge in two ways.  In place: they gate the source features, at quarter and
    half resolution.  As a whole: what they make of the picture sets the scale and shift of the
    filters (``Look``), so that one decoder draws contours, dots or washes.

    What it drew last is its memory (``_settle``): where nothing changes a picture is mostly the one
    before, so a sensor's noise does not make the paint shiver.
    """

    def __init__(self, c: LightVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = c.decoder
        self.source_half = nn.Conv2d(3, half, 4, stride=2, padding=1)
        self.source_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.into = nn.Conv2d(c.latent_channels, eighth, 3, padding=1)
        self.compare = nn.Conv2d(THUMBNAIL, eighth, 3, padding=1)
        self.trunk = nn.ModuleList(
            [MemoryBlock(eighth, c.trunk_memory)]
            + [MemoryBlock(eighth, 0) for _ in range(c.trunk_blocks - 1)]
        )
        self.up1 = nn.ConvTranspose2d(
            eighth, CHUNK * quarter, 2, stride=2
        )  # a picture of the chunk each
        self.gate1 = nn.ConvTranspose2d(eighth, quarter, 2, stride=2)  # shared by the chunk
        self.look = Look(c.latent_channels, eighth, c.look, (quarter, quarter, half, half))
        self.block = MemoryBlock(quarter, c.memory)
        self.block2 = MemoryBlock(quarter, 0)
        self.up0 = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.source_mid = nn.Conv2d(half, half, 3, padding=1)
        self.gate0 = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.mid = nn.Conv2d(half, half, 3, padding=1)
        self.out = nn.Conv2d(half, 16, 3, padding=1)  # 2x2 pixels: red, green, blue, keep
        self.thumbnail = nn.Conv2d(c.latent_channels, THUMBNAIL, 1, bias=False)

    def forward(
        self, z_BTCHW: Tensor, source_BTCHW: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        rows, frames = source_BTCHW.shape[:2]
        z, source = _last(z_BTCHW.flatten(0, 1)), source_BTCHW.flatten(0, 1)
        trunk_state, picture_state, drawn = (None, None, None) if state is None else state
        was = _last(_thumbnail(source))
        x = self.into(z).add_(self.compare(was))
        before, trunk_memory = self.trunk[0].earlier(x, rows, trunk_state)
        x = self.trunk[0](x, before)
        for block in self.trunk[1:]:
            x = block(x)
        x = F.relu(x)
        look, up, gate = self.look(z, was, x), self.up1(x), _plus_one(self.gate1, x)
        up = up.unflatten(1, (CHUNK, -1)).flatten(0, 1)
        small = F.pixel_shuffle(self.thumbnail(z), 2)
        small = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)

        parts = _parts(len(source), source.device)
        shallow = side_by_side(lambda p: self._shallow(source[p], up[p], _of(gate, p)), parts)
        remembered = torch.cat([x[:, : self.block.memory] for _, x in shallow])
        before, picture_memory = self.block.earlier(remembered, rows, picture_state)

        def finish(n: int) -> Tensor:
            p, (s0, x) = parts[n], shallow[n]
            y = self._picture(s0, x, before[p], [(_of(a, p), _of(b, p)) for a, b in look])
            y[:, :3] += _of(small, p)
            return y

        y = torch.cat(side_by_side(finish, range(len(parts)))).unflatten(0, (rows, frames))
        pictures = _settle(y[:, :, :3], y[:, :, 3:], drawn)
        return pictures, (trunk_memory, picture_memory, pictures[:, -1].clone())

    def _shallow(self, source: Tensor, up: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """The source's features at half resolution, and at quarter, where the latents join."""
        s0 = F.relu(self.source_half(_last(source)), inplace=True)
        return s0, _last(up).addcmul(self.source_quarter(s0), gate)

    def _picture(
        self, s0: Tensor, x: Tensor, before: Tensor, look: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        x = self.block2(self.block(x, before, look[0]), None, look[1])
        x = F.relu(x)
        deep = F.relu(_filter(self.source_mid, s0, look[2]), inplace=True)
        x = F.relu(self.up0(x).add_(s0).addcmul_(deep, _plus_one(self.gate0, x)), inplace=True)
        x = F.relu(_filter(self.mid, x, look[3]), inplace=True)
        return F.pixel_shuffle(self.out(x), 2)


class Look(nn.Module):
    """What the whole picture's latents say of the look: scales and shifts of the decoder's filters.

    Told by the latents themselves and by how they differ from the source's thumbnail: saturated
    paint is a look in a grey room, and none in a garden.

    Read per latent frame, so a change of look takes effect with its first chunk.
    """

    def __init__(self, latent: int, trunk: int, width: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.compare = nn.Conv2d(latent + THUMBNAIL, width, 1)
        self.read = nn.Linear(2 * latent + trunk + width, width)
        self.set = nn.Linear(width, 2 * sum(layers))

    def forward(self, z_NCHW: Tensor, source_NCHW: Tensor, trunk_NCHW: Tensor) -> list[Modulation]:
        """For every layer scale and shift ``[N C 1 1]``, N latent frames; ``source`` is its
        thumbnail.
        """
        deviation, mean = torch.std_mean(z_NCHW, (2, 3), correction=0)
        change = F.silu(self.compare(torch.cat([z_NCHW, source_NCHW], 1))).mean((2, 3))
        seen = torch.cat([mean, deviation, trunk_NCHW.mean((2, 3)), change], 1)
        out = self.set(F.silu(self.read(seen)))[..., None, None]
        scales, shifts = (part.split(self.layers, 1) for part in out.chunk(2, 1))
        return [(1 + scale, shift) for scale, shift in zip(scales, shifts, strict=True)]


class MemoryBlock(nn.Module):
    """Pre-activation residual block that also sees ``memory`` channels of its own input one time
    step earlier; the look may set its inner filters.
    """

    def __init__(self, channels: int, memory: int) -> None:
        super().__init__()
        self.memory = memory
        self.conv1 = nn.Conv2d(channels + memory, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def earlier(self, x: Tensor, rows: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """What each picture of ``x`` (``[B*T C H W]`` in order of time) sees of the one before it,
        and what the next call's ``past`` is.  Without a past the first picture is its own.
        """
        mine = F.relu(x[:, : self.memory]).unflatten(0, (rows, -1))
        first = mine[:, :1] if past is None else past[:, None].to(mine.dtype)
        before = _last(torch.cat([first, mine[:, :-1]], 1).flatten(0, 1))
        return before, mine[:, -1].clone()

    def forward(
        self, x: Tensor, before: Tensor | None = None, look: Modulation | None = None
    ) -> Tensor:
        """``before`` is of ``earlier``: wanted if there is memory."""
        seen = F.relu(x)
        if before is None:
            y = _filter(self.conv1, seen, look)
        else:
            # The two parts of the convolution apart: joining their inputs would copy both.
            of_now, of_before = self.conv1.weight.split([x.shape[1], self.memory], 1)
            y = F.conv2d(seen, of_now, self.conv1.bias, padding=1)
            y = _modulate(y.add_(F.conv2d(before, of_before, padding=1)), look)
        return self.conv2(F.relu(y, inplace=True)).add_(x)


def _settle(fresh_BTCHW: Tensor, keep_BTCHW: Tensor, drawn_BCHW: Tensor | None) -> Tensor:
    """Blends every picture with the one before it: a recursive filter over time whose strength the
    network chooses for each pixel.

    Where a cell's mean colour has changed nothing is kept, whatever the network says: no trail
    outlives its cause, and a new look shows at once.
    """
    pictures, share_BTCHW = [], KEPT * keep_BTCHW.float().sigmoid()
    for fresh, share in zip(fresh_BTCHW.float().unbind(1), share_BTCHW.unbind(1), strict=True):
        if drawn_BCHW is None:
            drawn_BCHW = fresh
        change = F.avg_pool2d(drawn_BCHW, SCALE).sub_(F.avg_pool2d(fresh, SCALE)).abs()
        alike = (1 - change.amax(1, keepdim=True) / CHANGED).clamp(min=0)
        share = share * F.interpolate(alike, scale_factor=SCALE, mode="bilinear")
        drawn_BCHW = torch.lerp(fresh, drawn_BCHW, share)
        pictures.append(drawn_BCHW)
    return torch.stack(pictures, 1)


def _parts(count: int, device: torch.device) -> list[slice]:
    """Which pictures (or pairs) go through together: all, or each alone where that pays."""
    size = 1 if worthwhile(device) else count
    return [slice(n, n + size) for n in range(0, count, size)]


def _of(x: Tensor, part: slice) -> Tensor:
    """For each picture of the part, or for a part of one picture alone, its latent frame's row."""
    if part.stop - part.start == 1:
        return x[part.start // CHUNK][None]
    return x.repeat_interleave(CHUNK, 0)[part]


def _filter(conv: nn.Conv2d, x: Tensor, look: Modulation | None) -> Tensor:
    """The convolution with its output's scale and shift set.  For one picture they go into the
    weights: no pass over its pixels.
    """
    if look is None or len(look[0]) > 1:
        return _modulate(conv(x), look)
    assert conv.bias is not None
    scale, shift = look
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = torch.addcmul(shift.flatten(), conv.bias, scale.flatten())
    return F.conv2d(x, weight, bias, padding=conv.padding)


def _modulate(y: Tensor, look: Modulation | None) -> Tensor:
    if look is None:
        return y
    return torch.addcmul(look[1], y, look[0])


def _thumbnail(video: Tensor) -> Tensor:
    """A chunk's mean picture, 2x2 RGB a latent pixel: ``[B*T 3 H W]`` to ``[B*T/4 12 H/8 W/8]``."""
    small = F.avg_pool2d(video.unflatten(0, (-1, CHUNK)).mean(1), 4)
    return F.pixel_unshuffle(small, 2)


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
        assert decoder.out.bias is not None
        decoder.out.bias[12:] = -2  # keeps little at first
        # It starts as one decoder for every look, and as deep as without the second block.
        for layer in (decoder.look.set, decoder.block2.conv2, decoder.compare):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        # Without the thumbnail shortcut deep ReLU stacks learn luminance only at first.

        eye = torch.eye(THUMBNAIL)
        model.encoder.thumbnail.weight.zero_()[:THUMBNAIL, :, 0, 0] = 1.6 * eye
        decoder.thumbnail.weight.zero_()[:, :THUMBNAIL, 0, 0] = eye / 1.6
