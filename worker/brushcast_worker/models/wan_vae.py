"""The Wan 2.1 video autoencoder as a stream: pictures to latents and back, chunk after chunk.

Letters: B rows (streams), T pictures or latent frames, C channels, H height, W width, N = T * B
pictures in the order of time (all rows of one moment stand together), S moments remembered.

Structure, parameter names and the latents' mean and deviation are those of Wan 2.1 (wan/modules/
vae.py in Wan-Video/Wan2.1, Apache-2.0; arXiv 2503.20314, section 4.1), so that ``Wan2.1_VAE.pth``
loads.  The first picture of a stream is a latent frame of its own; after it every ``chunk`` of them
is one.

All that a stream remembers is a tuple of tensors that is passed in and handed back, rows first: the
last moments that each causal convolution has seen.  None is a stream's beginning.  A clip in one
call and the same clip in pieces give the same numbers (tests/worker/models/test_wan_vae.py).

A convolution over three moments is a convolution in the plane over three times the channels.  The
weights lie in memory so that this is a view of the published shape and channels-last at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.attention import wide_attention
from brushcast_worker.models.causal_conv import Conv
from brushcast_worker.models.moments import (
    TAPS,
    Kernel,
    Memory,
    Sum,
    Walk,
    normalised,
    taps_side_by_side,
)

# Of every latent channel (published).
LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WanVAEConfig:
    """Sizes of one autoencoder.

    normalise_encoded: whether ``encode`` makes latents of mean 0 and deviation 1, as Wan does and
    as ``decode`` takes them.  The published live pipeline leaves that out (and so it is the
    default): what was encoded is then decoded with another contrast, but is said to move more
    steadily.
    """

    dim: int
    z_dim: int
    dim_mult: tuple[int, ...]  # width of each level, in dims; each is half the size of the last
    num_res_blocks: int  # of a level of the encoder; the decoder's have one more
    temporal_downsample: tuple[bool, ...]  # where two levels meet: whether time is halved too
    mean: tuple[float, ...] = LATENT_MEAN
    std: tuple[float, ...] = LATENT_STD
    normalise_encoded: bool = False

    def __post_init__(self) -> None:
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError(
                f"{len(self.temporal_downsample)} changes of time for {len(self.dim_mult)} levels; "
                f"{len(self.dim_mult) - 1} wanted"
            )
        if not len(self.mean) == len(self.std) == self.z_dim:
            raise ValueError(
                f"z_dim {self.z_dim}, but mean and std of {len(self.mean)} and {len(self.std)} "
                "channels"
            )
        if min(self.dim, self.z_dim, self.num_res_blocks, *self.dim_mult) < 1 or self.dim % 2:
            raise ValueError(
                f"dim {self.dim}, z_dim {self.z_dim}, num_res_blocks {self.num_res_blocks}, "
                f"dim_mult {self.dim_mult}: wanted 1 or more each, and dim even"
            )

    @property
    def scale(self) -> int:
        """Pixels that a latent pixel is wide."""
        return 2 ** (len(self.dim_mult) - 1)

    @property
    def chunk(self) -> int:
        """Pictures of a latent frame, after a stream's first."""
        return 2 ** sum(self.temporal_downsample)


VAE_SIZES: dict[str, WanVAEConfig] = {
    "wan-2.1": WanVAEConfig(
        dim=96,
        z_dim=16,
        dim_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        temporal_downsample=(False, True, True),
    ),
}


class WanVAE(nn.Module):
    """The autoencoder.  Weights only: what a stream remembers comes in as an argument."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        c = self.config = config
        self.encoder = Encoder(c)
        self.conv1 = Conv(2 * c.z_dim, 2 * c.z_dim, 1)
        self.conv2 = Conv(c.z_dim, c.z_dim, 1)
        self.decoder = Decoder(c)
        self._kernel: Kernel | None = None
        for name, values in (("mean", c.mean), ("std", c.std)):  # constants
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def encode(self, video_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        """Pictures in [-1, 1] to latents ``[B T/chunk z_dim H/scale W/scale]``.

        A stream begins (state None) with 1 + n * chunk pictures, which are 1 + n latent frames, and
        goes on with n * chunk of them.  Raises ValueError for other numbers or odd sizes.
        """
        c, (rows, frames, _, height, width) = self.config, video_BTCHW.shape
        first = int(state is None)
        if frames < 1 or (frames - first) % c.chunk or height % c.scale or width % c.scale:
            raise ValueError(
                f"{frames} pictures of {width}x{height}; wanted {'1 + ' * first}multiples of "
                f"{c.chunk} with sides in multiples of {c.scale}"
            )
        walk = Walk(state, rows, self._kernel)
        y_NCHW = self.encoder(_in_time(video_BTCHW), walk)
        z_NCHW = self.conv1.along(y_NCHW, outputs=c.z_dim)  # the rest would be the variance
        if c.normalise_encoded:
            z_NCHW = (z_NCHW - self.mean) / self.std
        return _in_rows(z_NCHW, rows), walk.after()

    def decode(
        self, z_BTCHW: Tensor, state: Memory | None = None, *, one_by_one: bool = False
    ) -> tuple[Tensor, Memory]:
        """Latents of mean 0 and deviation 1 to pictures, about [-1, 1] and not clamped.

        A latent frame is ``chunk`` pictures; a stream's first (state None) is one.  ``one_by_one``:
        at their full size pictures are painted one after the other, in a quarter of the memory.
        """
        rows = z_BTCHW.shape[0]
        walk = Walk(state, rows, self._kernel)
        z_NCHW = _in_time(z_BTCHW) * self.std + self.mean
        x_NCHW = self.decoder(self.conv2.along(z_NCHW), walk, one_by_one=one_by_one)
        return _in_rows(x_NCHW, rows), walk.after()

    def fuse(self, kernel: Kernel) -> None:
        """From now on ``kernel`` does what lies between the convolutions, and a call writes what it
        remembers over the ``state`` that it is given.  Weights are folded to forms that a GPU is
        faster with, so they must be there already.
        """
        self._kernel = kernel
        self.encoder.conv1.widen()
        self.decoder.fold()


class Norm(nn.Module):
    """Every pixel's channels to a root mean square of 1, times ``gamma``."""

    def __init__(self, channels: int, ones: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * ones))  # published shapes differ

    @property
    def scale_C(self) -> Tensor:
        """What ``normalised`` takes."""
        return self.gamma.flatten() * self.gamma.shape[0] ** 0.5

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return normalised(x_NCHW, self.scale_C)


class Residual(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": Norm(inputs, 3),
                "2": Conv(inputs, outputs, side=3),
                "3": Norm(outputs, 3),
                "6": Conv(outputs, outputs, side=3),
            }
        )
        self.shortcut = Conv(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, total: Sum, walk: Walk) -> Sum:
        part = self.residual
        y, x_NCHW = part["2"].after(total, part["0"].scale_C, walk, whole=True)
        y, _ = part["6"].after(y, part["3"].scale_C, walk)
        if self.shortcut is None:
            return Sum(y.products, y.bias_C, x_NCHW)
        (beside_NCHW,) = self.shortcut.over(x_NCHW).products
        return Sum(y.products, part["6"].bias + self.shortcut.bias, beside_NCHW)


class Attention(nn.Module):
    """Self-attention of one head within each picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels, 2)
        self.to_qkv = _plane(channels, 3 * channels, 1)
        self.proj = _plane(channels, channels, 1)

    def forward(self, total: Sum, walk: Walk) -> Sum:
        x_NCHW = walk.whole(total)
        qkv_NHWC = self.to_qkv(self.norm(x_NCHW)).permute(0, 2, 3, 1)
        q, k, v = qkv_NHWC.flatten(1, 2)[:, None].chunk(3, -1)  # one head
        attend = F.scaled_dot_product_attention if walk.kernel is None else wide_attention
        y_NHWC = attend(q, k, v)[:, 0].unflatten(1, qkv_NHWC.shape[1:3])
        y_NCHW = F.conv2d(y_NHWC.permute(0, 3, 1, 2), self.proj.weight)
        return Sum((y_NCHW,), self.proj.bias, x_NCHW)


class Downsample(nn.Module):
    """Half the size, and where ``in_time`` half the moments: a stream's first stays alone."""

    def __init__(self, channels: int, *, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": _plane(channels, channels, 3, stride=2)})
        self.time_conv = Conv(channels, channels) if in_time else None

    def forward(self, total: Sum, walk: Walk) -> Sum:
        conv = self.resample["1"]
        padded_NCHW = F.pad(walk.whole(total), (0, 1, 0, 1))
        half = Sum((F.conv2d(padded_NCHW, conv.weight, stride=2),), conv.bias)
        if self.time_conv is None:
            return half
        x_NCHW = walk.whole(half)
        if not walk.begins:
            x_NCHW = walk.join(x_NCHW, 1)
            return self.time_conv.over(taps_side_by_side(x_NCHW, walk.rows, stride=2))
        walk.keep(x_NCHW, 1)
        if len(x_NCHW) == walk.rows:
            return Sum((x_NCHW,))
        later = self.time_conv.over(taps_side_by_side(x_NCHW, walk.rows, stride=2))
        return Sum((torch.cat([x_NCHW[: walk.rows], walk.whole(later)]),))


class Upsample(nn.Module):
    """Twice the size and half the channels, and where ``in_time`` twice the moments: a stream's
    first stays alone, and those after it know nothing of it here.
    """

    def __init__(self, channels: int, *, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": _plane(channels, channels // 2, 3, padding=1)})
        self.time_conv = Conv(channels, 2 * channels) if in_time else None
        self._folded: Tensor | None = None

    def forward(self, total: Sum, walk: Walk) -> Sum:
        if self.time_conv is None:
            x_NCHW = walk.whole(total)
        elif walk.begins:
            first_NCHW, later_NCHW = walk.whole(total).tensor_split([walk.rows])
            later_NCHW = walk.whole(self.time_conv(later_NCHW, walk))
            x_NCHW = torch.cat([first_NCHW, _one_after_the_other(later_NCHW, walk.rows)])
        else:
            pairs_NCHW = walk.whole(self.time_conv.over(walk.gather(total)))
            x_NCHW = _one_after_the_other(pairs_NCHW, walk.rows)
        return Sum((self._enlarged(x_NCHW),), self.resample["1"].bias)

    def fold(self) -> None:
        """Of the nine pixels that a convolution sees of an enlarged picture many are the same: four
        different ones are left, so it is a transposed convolution of 4 x 4 with stride 2.
        """
        # By the pixel's place in its pair, to what is left of it, the pair, and to the right.
        weight = self.resample["1"].weight.float()
        for side in (2, 3):
            a, b, c = weight.unbind(side)
            weight = torch.stack([c, b + c, a + b, a], side)
        folded = weight.transpose(0, 1).to(self.resample["1"].weight.dtype)
        self._folded = folded.contiguous(memory_format=torch.channels_last)

    def _enlarged(self, x_NCHW: Tensor) -> Tensor:
        if self._folded is not None:
            return F.conv_transpose2d(x_NCHW, self._folded, stride=2, padding=1)
        x_NCHW = F.interpolate(x_NCHW, scale_factor=2.0, mode="nearest-exact")
        return F.conv2d(x_NCHW, self.resample["1"].weight, padding=1)


class Encoder(nn.Module):
    """Pictures to the mean and log variance of latents."""

    def __init__(self, c: WanVAEConfig) -> None:
        super().__init__()
        self.conv1 = Conv(3, c.dim, side=3)
        widths = [c.dim, *(c.dim * mult for mult in c.dim_mult)]
        self.downsamples = nn.ModuleList()
        for level, width in enumerate(widths[1:]):
            self.downsamples.append(Residual(widths[level], width))
            self.downsamples.extend(Residual(width, width) for _ in range(c.num_res_blocks - 1))
            if level < len(c.temporal_downsample):
                in_time = c.temporal_downsample[level]
                self.downsamples.append(Downsample(width, in_time=in_time))
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * c.z_dim)

    def forward(self, x_NCHW: Tensor, walk: Walk) -> Tensor:
        y = self.conv1(x_NCHW, walk)
        for part in (*self.downsamples, *self.middle):
            y = part(y, walk)
        return self.head["2"].along(walk.gather(y, self.head["0"].scale_C))


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, c: WanVAEConfig) -> None:
        super().__init__()
        widths = [c.dim * mult for mult in reversed(c.dim_mult)]
        self.conv1 = Conv(c.z_dim, widths[0], side=3)
        self.middle = _middle(widths[0])
        self.upsamples = nn.ModuleList()
        for level, width in enumerate(widths):
            taken = widths[level - 1] // 2 if level else width
            self.upsamples.append(Residual(taken, width))
            self.upsamples.extend(Residual(width, width) for _ in range(c.num_res_blocks))
            if level < len(c.temporal_downsample):
                in_time = c.temporal_downsample[-1 - level]
                self.upsamples.append(Upsample(width, in_time=in_time))
        self.head = _head(widths[-1], 3)

        self._folded: Tensor | None = None

    def forward(self, z_NCHW: Tensor, walk: Walk, *, one_by_one: bool) -> Tensor:
        last = max(n for n, part in enumerate(self.upsamples) if isinstance(part, Upsample))
        y = self.conv1(z_NCHW, walk)
        for part in (*self.middle, *self.upsamples[: last + 1]):
            y = part(y, walk)
        finish = partial(self._finish, self.upsamples[last + 1 :])
        return walk.one_by_one(y, finish) if one_by_one else finish(y, walk)

    def _finish(self, parts: Iterable[nn.Module], y: Sum, walk: Walk) -> Tensor:
        """At the pictures' full size."""
        for part in parts:
            y = part(y, walk)
        scale_C = self.head["0"].scale_C
        if self._folded is None:
            return self.head["2"].along(walk.gather(y, scale_C))
        return self._few(walk.gather_apart(y, scale_C)) + self.head["2"].bias[:, None, None]

    def fold(self) -> None:
        """See ``WanVAE.fuse``."""
        for part in self.upsamples:
            if isinstance(part, Upsample):
                part.fold()
        weight = self.head["2"].weight  # [3 C taps side side], the places mirrored for ``F.fold``
        self._folded = weight.flip(3, 4).permute(0, 3, 4, 2, 1).flatten(3).flatten(0, 2)

    def _few(self, x_BHWTC: Tensor) -> Tensor:
        """The last convolution: with three outputs it would leave a GPU's tensor cores idle.  So
        one product gives what each pixel sends to each of its nine neighbours, and `F.fold` adds
        that up.
        """
        assert self._folded is not None
        rows, height, width, moments, channels = x_BHWTC.shape
        pictures = []
        for moment in range(moments - TAPS + 1):
            seen = x_BHWTC[..., moment : moment + TAPS, :].flatten(3).flatten(1, 2)
            sent = self._folded @ seen.mT  # [B 3*9 H*W]
            side = self.head["2"].side
            pictures.append(F.fold(sent, (height, width), side, padding=side // 2))
        return torch.cat(pictures)


def _middle(width: int) -> nn.ModuleList:
    return nn.ModuleList([Residual(width, width), Attention(width), Residual(width, width)])


def _head(width: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": Norm(width, 3), "2": Conv(width, outputs, side=3)})


def _plane(inputs: int, outputs: int, side: int, *, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution within pictures, its weights as the causal ones' in memory."""
    conv = nn.Conv2d(inputs, outputs, side, stride=stride, padding=padding)
    return conv.to(memory_format=torch.channels_last)


def _one_after_the_other(x_NCHW: Tensor, rows: int) -> Tensor:
    """Two moments that stand side by side in the channels."""
    x_TBHWSC = x_NCHW.permute(0, 2, 3, 1).unflatten(0, (-1, rows)).unflatten(-1, (2, -1))
    return x_TBHWSC.permute(0, 4, 1, 2, 3, 5).flatten(0, 2).contiguous().permute(0, 3, 1, 2)


def _in_time(x_BTCHW: Tensor) -> Tensor:
    x_NCHW = x_BTCHW.transpose(0, 1).flatten(0, 1)
    return x_NCHW.contiguous(memory_format=torch.channels_last)


def _in_rows(x_NCHW: Tensor, rows: int) -> Tensor:
    return x_NCHW.unflatten(0, (-1, rows)).transpose(0, 1)
