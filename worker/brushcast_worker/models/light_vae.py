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

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.int8 import Conv, Levels, Modulation, Up, cells, whole
from brushcast_worker.models.resample import channels_last, enlarged, means, shuffled
from brushcast_worker.models.settle import settle
from brushcast_worker.models.side_by_side import as_they_come, aside, worthwhile

State = tuple[Tensor, ...]  # memories of the last picture, [B C H W] each


@dataclass(frozen=True, slots=True, kw_only=True)
class LightVAEConfig:
    """Channel counts at half, quarter and eighth resolution.  ``guided`` off: nothing yet (the
    published tiny VAE is ``tiny_vae``).
    """

    latent_channels: int = 16
    encoder: tuple[int, int, int] = (32, 48, 96)
    decoder: tuple[int, int, int] = (16, 32, 96)
    trunk_blocks: int = 2
    trunk_memory: int = (
        32  # channels of the previous chunk that the decoder sees again at eighth resolution
    )
    picture_blocks: int = 2  # at quarter resolution, for every picture
    look: int = 64  # width of what the decoder reads off the whole picture's latents
    guided: bool = True

    def __post_init__(self) -> None:
        if not self.guided:
            raise ValueError("guided False; only the source-guided decoder exists")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the decoder makes of the source before it knows the latents."""

    thumbnail: Tensor  # of each chunk
    compared: Tensor  # the same, for the trunk
    shallow: list[tuple[Tensor, Tensor]]  # features of each part of the pictures, see ``_parts``


Guide = Callable[[], Seen]  # waits for it


CHUNK = 4  # pictures to a latent frame
SCALE = 8  # pixels to a latent pixel, each way
THUMBNAIL = 12  # latent channels that start as a 2x2 RGB thumbnail of their cell
KEPT = 0.9  # of the picture before, at most, where nothing changes


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

    def encode(
        self, video_BTCHW: Tensor, state: State | None = None, begins_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Pictures in [-1, 1], T a multiple of 4, to normalised latents ``[B T/4 16 H/8 W/8]``;
        sides are multiples of 16.  ``begins``: rows whose state counts for nothing.
        """
        frames, height, width = video_BTCHW.shape[1], *video_BTCHW.shape[-2:]
        if frames % CHUNK or height % 16 or width % 16:
            raise ValueError(
                f"{frames} pictures of {width}x{height}; multiples of {CHUNK} and of 16x16 wanted"
            )
        z, state = self.encoder(video_BTCHW, state, begins_B)
        return (z - self.mean) / self.std, state

    def decode(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """Normalised latents and their source pictures to pictures in [-1, 1] (not clamped) of the
        source's size.
        """
        painted = list(self.paint(z_BTCHW, source_BTCHW, state))
        return torch.cat([pictures for pictures, _ in painted], 1), painted[-1][1]

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: State | None = None,
        guide: Guide | None = None,
        begins_B: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, State]]:
        """As ``decode``, in parts: pictures as soon as they are there, and the state, which is
        whole with the last of them.  ``guide``: of ``guide`` for the same source, if it was called.
        ``begins``: rows whose state counts for nothing.
        """
        if source_BTCHW.shape[1] != CHUNK * z_BTCHW.shape[1]:
            raise ValueError(
                f"{source_BTCHW.shape[1]} source pictures; {CHUNK * z_BTCHW.shape[1]} wanted"
            )
        z = z_BTCHW * self.std + self.mean
        return self.decoder.paint(z, source_BTCHW, state, guide, begins_B)

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """False: they always are."""
        return False

    def guide(self, source_BTCHW: Tensor) -> Guide:
        """Begins what ``paint`` does with the source alone, on a core that the transformer leaves
        free.
        """
        rows, frames = source_BTCHW.shape[:2]
        parts = _parts(rows, frames, source_BTCHW.device)  # here: aside there is no other core
        see = functools.partial(self.decoder.see, source_BTCHW.flatten(0, 1), parts)
        return aside(see, source_BTCHW.device)

    def blank(self, rows: int, height: int, width: int) -> tuple[State, State]:
        """The encoder's and the decoder's state of streams that have none yet: zeros of the shapes
        and in the order that ``encode`` and ``paint`` give, for pictures of this size.
        """
        c, like = self.config, self.encoder.out.weight

        def deep(channels: int) -> Tensor:
            shape = rows, channels, height // SCALE, width // SCALE
            return channels_last(like.new_zeros(shape))

        drawn = like.new_zeros((rows, 3, height, width), dtype=torch.float32)
        return (deep(c.encoder[2]),), (deep(c.trunk_memory), drawn)


class Encoder(nn.Module):
    """Half resolution per pair of pictures, then quarter, then eighth per chunk; memory of one
    chunk at the end.
    """

    def __init__(self, c: LightVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = c.encoder
        self.stem = Conv(6, half, 4, stride=2, signed=True)
        self.down1 = Conv(half, quarter, stride=2)
        self.down2 = Conv(2 * quarter, eighth, stride=2)
        self.block = MemoryBlock(eighth, eighth)
        self.out = Conv(eighth, c.latent_channels)
        self.thumbnail = nn.Conv2d(THUMBNAIL, c.latent_channels, 1, bias=False)

    def forward(
        self, video_BTCHW: Tensor, state: State | None, begins_B: Tensor | None
    ) -> tuple[Tensor, State]:
        rows, frames = video_BTCHW.shape[:2]
        video = video_BTCHW.flatten(0, 1).unflatten(0, (-1, CHUNK))

        def pair(n: int) -> tuple[Tensor, Tensor]:
            """A chunk's first or last two pictures, and their mean's thumbnail."""
            x = self.stem(
                channels_last(video[:, n]), channels_last(video[:, n + 1]), then=self.down1
            )
            return self.down1(x, then=self.down2), _thumbnail(video[:, n : n + 2])

        beside = aside(functools.partial(pair, 0), video.device)
        last, first = pair(2), beside()
        x = self.down2(first[0], last[0])
        past = None if state is None else state[0]
        before, memory = self.block.earlier(x, rows, past, begins_B)
        z = self.out(self.block(x, before))
        z = z + self.thumbnail((first[1] + last[1]) / 2)
        return z.unflatten(0, (rows, frames // CHUNK)), (memory,)


class Decoder(nn.Module):
    """Latent trunk per chunk at eighth resolution; then, per picture, source features join at
    quarter and half.

    The latents are in charge in two ways.  In place: they gate the source features at quarter
    resolution, and one convolution weighs both at half.  As a whole: what they make of the picture
    sets the scale and shift of the filters (``Look``), so that one decoder draws contours, dots or
    washes.

    What it drew last is its memory (``settle``): where nothing changes a picture is mostly the one
    before, so a sensor's noise does not make the paint shiver.
    """

    def __init__(self, c: LightVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = c.decoder
        self.source_half = Conv(3, half, 4, stride=2, signed=True)
        self.source_quarter = Conv(half, quarter, stride=2)
        self.into = nn.Conv2d(c.latent_channels, eighth, 3, padding=1)
        self.compare = nn.Conv2d(THUMBNAIL, eighth, 3, padding=1)
        self.trunk = nn.ModuleList(
            [MemoryBlock(eighth, c.trunk_memory)]
            + [MemoryBlock(eighth, 0) for _ in range(c.trunk_blocks - 1)]
        )
        self.up1 = Up(eighth, quarter, parts=CHUNK, signed=True)  # a picture of the chunk each
        self.gate1 = Up(eighth, quarter, signed=True)  # shared by the chunk
        modulated = (*[quarter] * c.picture_blocks, half, half)
        self.look = Look(c.latent_channels, eighth, c.look, modulated)
        self.blocks = nn.ModuleList(MemoryBlock(quarter, 0) for _ in range(c.picture_blocks))
        self.up0 = Up(quarter, half)
        self.join = Conv(2 * half, half)
        self.mid = Conv(half, half)
        self.out = Conv(half, 16)  # 2x2 pixels: red, green, blue, keep
        self.thumbnail = nn.Conv2d(c.latent_channels, THUMBNAIL, 1, bias=False)

    def see(self, source: Tensor, parts: Sequence[slice]) -> Seen:
        """What depends on the source alone."""
        small = channels_last(_thumbnail(source.unflatten(0, (-1, CHUNK))))
        return Seen(small, self.compare(small), [self._shallow(source[part]) for part in parts])

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: State | None,
        guide: Guide | None,
        begins_B: Tensor | None,
    ) -> Iterator[tuple[Tensor, State]]:
        """See ``LightVAE.paint``."""
        rows, frames, device = *source_BTCHW.shape[:2], source_BTCHW.device
        parts = _parts(rows, frames, device)
        z = channels_last(z_BTCHW.flatten(0, 1))
        trunk_state, drawn = (None, None) if state is None else state
        small = aside(functools.partial(self._small, z), device)
        seen = guide() if guide is not None else self.see(source_BTCHW.flatten(0, 1), parts)
        x = self.into(z).add_(seen.compared)
        before, trunk_memory = self.trunk[0].earlier(x, rows, trunk_state, begins_B)
        x = self.trunk[0](x, before)
        for block in self.trunk[1:]:
            x = block(x)
        set_filters = aside(functools.partial(self.look, z, seen.thumbnail, x), device)
        deep = self.up1.rounded(x)
        gate = self.gate1(deep, plus=1.0)
        look, background = set_filters(), small()

        def part_painted(n: int) -> tuple[Tensor, Tensor]:
            """Pictures without a past, and how much of it each pixel keeps."""
            part = parts[n]
            s0, x = seen.shallow[n]
            x = self._joined(x, deep, gate, part)
            y = self._picture(s0, x, [(_of(a, part), _of(b, part)) for a, b in look]).float()
            return y[:, :3].add(_of(background, part)), KEPT * y[:, 3:].sigmoid()

        settled = settle(
            _by_time(as_they_come(part_painted, range(len(parts))), rows, parts), drawn, begins_B
        )
        if len(parts) > 1:
            for picture in settled:
                yield picture[:, None], (trunk_memory, picture)
        else:
            pictures = list(settled)
            yield torch.stack(pictures, 1), (trunk_memory, pictures[-1])

    def _small(self, z: Tensor) -> Tensor:
        """The latents' own thumbnail, at the pictures' size.  What is not finite in the latents is
        not finite in any pixel, also after 8-bit layers.
        """
        small = self.thumbnail(z) + 0 * z.sum((1, 2, 3), keepdim=True)
        return enlarged(F.pixel_shuffle(small, 2), 4)

    def _shallow(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """The source's features at half resolution and at quarter."""
        s0 = self.source_half(channels_last(source), then=self.source_quarter)  # and for join
        return s0, self.source_quarter(s0)

    def _joined(self, x: Tensor, deep: Tensor | Levels, gate: Tensor, part: slice) -> Tensor:
        """The source's features at quarter resolution under the latents."""
        if part.stop - part.start == 1:
            up = self.up1(_row(deep, part.start // CHUNK), part.start % CHUNK)
        else:
            up = torch.stack([self.up1(deep, n) for n in range(CHUNK)], 1).flatten(0, 1)[part]
        return whole((cells(x) * _of(gate, part)).add_(up))  # in the order of x

    def _picture(self, s0: Tensor, x: Tensor, look: list[Modulation]) -> Tensor:
        for block, modulation in zip(self.blocks, look[:-2], strict=True):
            x = block(x, None, modulation)
        y = self.join(s0, self.up0(x, then=self.source_quarter), look=look[-2], then=self.mid)
        return shuffled(self.out(self.mid(y, look=look[-1], then=self.out)))

    def quantise(self) -> None:
        """One range for all at half resolution: ``join`` reads what is rounded already."""
        for conv in (self.source_quarter, self.join):
            conv.reach.fill_(max(self.source_quarter.reach, self.join.reach))


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
        self.conv1 = Conv(channels + memory, channels)
        self.conv2 = Conv(channels, channels)

    def earlier(
        self, x: Tensor, rows: int, past: Tensor | None, begins_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each picture of ``x`` (``[B*T C H W]`` in order of time) sees of the one before it,
        and what the next call's ``past`` is.  Without a past, and in rows that begin, the first
        picture is its own.
        """
        mine = F.relu(x[:, : self.memory]).unflatten(0, (rows, -1))
        first = mine[:, :1] if past is None else past[:, None].to(mine.dtype)
        if past is not None and begins_B is not None:
            first = torch.where(begins_B[:, None, None, None, None], mine[:, :1], first)
        before = channels_last(torch.cat([first, mine[:, :-1]], 1).flatten(0, 1))
        return before, mine[:, -1].clone()

    def forward(
        self, x: Tensor, before: Tensor | None = None, look: Modulation | None = None
    ) -> Tensor:
        """``before`` is of ``earlier``: wanted if there is memory."""
        y = self.conv1(x, before, look=look, then=self.conv2)
        return self.conv2(y, onto=x)


def _parts(rows: int, frames: int, device: torch.device) -> list[slice]:
    """Which pictures go through together: all, or each alone, in order of time, where that pays."""
    if not worthwhile(device):
        return [slice(0, rows * frames)]
    return [slice(n, n + 1) for t in range(frames) for n in range(t, rows * frames, frames)]


def _of(x: Tensor, part: slice) -> Tensor:
    """For each picture of the part, or for a part of one picture alone, its latent frame's row."""
    if part.stop - part.start == 1:
        return x[part.start // CHUNK][None]
    return x.repeat_interleave(CHUNK, 0)[part]


def _by_time(
    painted: Iterator[tuple[Tensor, ...]], rows: int, parts: Sequence[slice]
) -> Iterator[tuple[Tensor, ...]]:
    """From parts to pictures of one time, ``[B C H W]``."""
    if len(parts) == 1:
        whole = (x.unflatten(0, (rows, -1)).unbind(1) for x in next(painted))
        yield from zip(*whole, strict=True)
    else:
        for first in painted:
            of_rows = [first, *itertools.islice(painted, rows - 1)]
            yield tuple(torch.cat(x) for x in zip(*of_rows, strict=True)) if rows > 1 else first


def _row(x: Tensor | Levels, n: int) -> Tensor | Levels:
    if isinstance(x, Levels):
        return Levels(x.values_BCHW[n : n + 1], x.step, x.zero)
    return x[n : n + 1]


def _thumbnail(video_NTCHW: Tensor) -> Tensor:
    """The mean of consecutive pictures, 2x2 RGB a latent pixel: ``[N 12 H/8 W/8]``."""
    small = means(video_NTCHW.flatten(0, 1), 4).unflatten(0, video_NTCHW.shape[:2]).mean(1)
    return F.pixel_unshuffle(small.to(video_NTCHW.dtype), 2)


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
        decoder.out.weight.mul_(0.1)
        up0 = decoder.up0  # each output has one tap an input, not four
        up0.weight.mul_((up0.out_channels * 4 / up0.in_channels) ** 0.5)
        assert decoder.out.bias is not None
        decoder.out.bias[12:] = -2  # keeps little at first
        # It starts as one decoder for every look, with a single block, and without
        # the trunk: at full strength that made the rectifiers after it die within minutes.
        extra = [block.conv2 for block in decoder.blocks[1:]]
        starts_at_zero = (decoder.look.set, *extra, decoder.compare)
        for layer in (*starts_at_zero, decoder.up1, decoder.gate1):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        # Without the thumbnail shortcut deep ReLU stacks learn luminance only at first.

        eye = torch.eye(THUMBNAIL)
        model.encoder.thumbnail.weight.zero_()[:THUMBNAIL, :, 0, 0] = 1.6 * eye
        decoder.thumbnail.weight.zero_()[:, :THUMBNAIL, 0, 0] = eye / 1.6
