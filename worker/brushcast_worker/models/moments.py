"""Moments: what the causal convolutions of a streaming autoencoder see, and remember for the next
call.

Letters: B rows (streams), T moments, C channels, H height, W width, N = T * B pictures in the order
of time (all rows of one moment stand together), S moments remembered.

A convolution over three moments is a convolution in the plane over three times the channels, its
taps side by side.  To bring them there costs more than it should if it is done operator by
operator, for what lies between two convolutions (bias, shortcut, norm, SiLU) and the memory pass
over the same pixels: so all of that is one function, ``gather``, and a GPU has a kernel for it
(``models.moments_triton``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Memory = tuple[Tensor, ...]  # [B S C H W] each
TAPS = 3  # moments that a causal convolution sees
PAIRED = 4  # moments from which on two at a time are cheaper
Form = Literal["taps", "pairs", "apart"]


@dataclass(frozen=True, slots=True)
class Sum:
    """What a convolution gave, and what is still to be added: who reads it next adds it.

    products: one ``[N C H W]``, or what ``gather_pairs`` leads to, four of ``[N/2 C H W]``.
    """

    products: tuple[Tensor, ...]
    bias_C: Tensor | None = None
    shortcut_NCHW: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H and W."""
        pictures, channels, height, width = self.products[0].shape
        return pictures * (1 if len(self.products) == 1 else 2), channels, height, width

    def whole(self) -> Tensor:
        """``[N C H W]``."""
        (x_NCHW,) = self.products
        if self.bias_C is not None:
            x_NCHW = x_NCHW + self.bias_C[:, None, None]
        return x_NCHW if self.shortcut_NCHW is None else x_NCHW + self.shortcut_NCHW


class Kernel(Protocol):
    """``models.moments_triton.gather``."""

    def __call__(
        self,
        total: Sum,
        scale_C: Tensor | None,
        past_BSCHW: Tensor | None,
        *,
        rows: int,
        whole: bool,
        form: Form = "taps",
    ) -> tuple[Tensor, Tensor]:
        """Moments and sum; where there is no ``past``, no moments; where it is not asked for, no
        ``whole`` sum.  Forms: see ``Walk``'s three ways to gather.
        """
        ...


class Walk:
    """One call's way through the convolutions: each finds what it remembers, and leaves it for the
    next call.  Lives as long as the call.
    """

    def __init__(self, before: Memory | None, rows: int, kernel: Kernel | None = None) -> None:
        """``kernel``: does what ``gather`` does, and writes what is remembered over ``before``."""
        self.begins, self.rows, self.kernel = before is None, rows, kernel
        self._before: Iterator[Tensor] = iter(before or ())
        self._after: list[Tensor] = []

    def gather(self, total: Sum, scale_C: Tensor | None = None) -> Tensor:
        """The sum's moments, each beside the two before it, ``[N 3C H W]``; where a ``scale`` is
        given, of the normalised sum (see ``normalised``) after a SiLU.
        """
        return self.gather_whole(total, scale_C, whole=False)[0]

    def gather_whole(
        self, total: Sum, scale_C: Tensor | None, *, whole: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The same, and the sum, unless the ``whole`` is not wanted."""
        if self.kernel is None:
            whole_NCHW = total.whole()
            y_NCHW = whole_NCHW
            if scale_C is not None:
                y_NCHW = F.silu(normalised(whole_NCHW, scale_C))
            return taps_side_by_side(self.join(y_NCHW), self.rows), whole_NCHW
        return self.kernel(total, scale_C, self._past(total), rows=self.rows, whole=whole)

    def gather_pairs(self, total: Sum, scale_C: Tensor, *, whole: bool) -> tuple[Tensor, Tensor]:
        """For two moments at a time four pictures, ``[4 N/2 C H W]``, and the sum, if wanted.

        Two moments of a convolution over three see four, a to d.  They are sums of four products
        instead of six: of a - c, b + c, c - b and b - d (Winograd 1980, F(2, 3); for networks:
        Lavin & Gray 2016, arXiv:1509.09308, equation 5), see ``pair_weights``.
        """
        assert self.kernel is not None
        past_BSCHW = self._past(total)
        return self.kernel(total, scale_C, past_BSCHW, rows=self.rows, whole=whole, form="pairs")

    def gather_apart(self, total: Sum, scale_C: Tensor) -> Tensor:
        """With the moments of a pixel side by side, the two before the first in front: ``[B H W T+2
        C]``.
        """
        assert self.kernel is not None
        past_BSCHW = self._past(total)
        return self.kernel(total, scale_C, past_BSCHW, rows=self.rows, whole=False, form="apart")[0]

    def in_pairs(self, total: Sum) -> bool:
        """Whether there are enough moments for ``gather_pairs`` to pay."""
        moments = total.shape[0] // self.rows
        return self.kernel is not None and moments % 2 == 0 and moments >= PAIRED

    def whole(self, total: Sum) -> Tensor:
        """The sum."""
        if self.kernel is None:
            return total.whole()
        return self.kernel(total, None, None, rows=self.rows, whole=True)[1]

    def join(self, x_NCHW: Tensor, moments: int = TAPS - 1) -> Tensor:
        """The last moments before ``x`` and ``x``; where a stream begins they are black."""
        past = self._blank(x_NCHW, moments) if self.begins else next(self._before)
        joined_NCHW = torch.cat([*past.unbind(1), x_NCHW])
        self.keep(joined_NCHW, moments)
        return joined_NCHW

    def keep(self, x_NCHW: Tensor, moments: int) -> None:
        """Remembers the last ``moments`` of ``x``: a copy, so that the rest of it is let go."""
        last = x_NCHW[-moments * self.rows :].unflatten(0, (moments, self.rows))
        last_BSHWC = last.permute(1, 0, 3, 4, 2).clone(memory_format=torch.contiguous_format)
        self._after.append(last_BSHWC.permute(0, 1, 4, 2, 3))

    def one_by_one(self, total: Sum, function: Callable[[Sum, Walk], Tensor]) -> Tensor:
        """What the function, the last of this walk, makes of the sum, moment by moment: the same,
        in less memory.
        """
        (x_NCHW,) = total.products
        assert total.shortcut_NCHW is None
        memory = None if self.begins else tuple(self._before)
        found = []
        for x in x_NCHW.split(self.rows):
            walk = Walk(memory, self.rows, self.kernel)
            found.append(function(Sum((x,), total.bias_C), walk))
            memory = walk.after()
        self._after.extend(memory or ())
        return torch.cat(found)

    def after(self) -> Memory:
        """What the stream remembers now."""
        assert next(self._before, None) is None, "a memory of another autoencoder"
        return tuple(self._after)

    def _past(self, total: Sum) -> Tensor:
        """What the kernel reads, and writes over."""
        past = self._blank(total.products[0], TAPS - 1) if self.begins else next(self._before)
        self._after.append(past)
        return past

    def _blank(self, x_NCHW: Tensor, moments: int) -> Tensor:
        channels, height, width = x_NCHW.shape[1:]
        shape = self.rows, moments, height, width, channels
        return x_NCHW.new_zeros(shape).permute(0, 1, 4, 2, 3)


def normalised(x_NCHW: Tensor, scale_C: Tensor) -> Tensor:
    """Every pixel's channels divided by their length, times ``scale``."""
    length = torch.linalg.vector_norm(x_NCHW, dim=1, keepdim=True, dtype=torch.float32)
    unit = x_NCHW * length.clamp_min(1e-12).reciprocal().to(x_NCHW.dtype)
    return unit * scale_C[:, None, None]


def taps_side_by_side(x_NCHW: Tensor, rows: int, stride: int = 1) -> Tensor:
    """Every ``stride``-th moment with the two after it as one picture of three times the channels:
    two moments fewer come out than go in (with a stride of 1).
    """
    x_TBHWC = x_NCHW.permute(0, 2, 3, 1).unflatten(0, (-1, rows))
    count = len(x_TBHWC) - TAPS + 1
    moments = [x_TBHWC[tap : max(count + tap, 0) : stride] for tap in range(TAPS)]
    return torch.cat(moments, -1).flatten(0, 1).permute(0, 3, 1, 2)


def pair_weights(weight_OCTHW: Tensor) -> list[Tensor]:
    """What the four pictures of ``Walk.gather_pairs`` are convolved with, channels-last."""
    a, b, c = weight_OCTHW.float().unbind(2)
    parts = (a, (a + b + c) / 2, (a - b + c) / 2, c)
    last = torch.channels_last
    return [part.to(weight_OCTHW.dtype).contiguous(memory_format=last) for part in parts]
