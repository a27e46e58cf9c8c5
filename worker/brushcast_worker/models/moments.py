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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Memory = tuple[Tensor, ...]  # [B S C H W] each
TAPS = 3  # moments that a causal convolution sees


@dataclass(frozen=True, slots=True)
class Sum:
    """What a convolution gave, and what is still to be added: who reads it next adds it."""

    x_NCHW: Tensor
    bias_C: Tensor | None = None
    shortcut_NCHW: Tensor | None = None

    def whole(self) -> Tensor:
        """``[N C H W]``."""
        x_NCHW = self.x_NCHW
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
        whole: bool,
        apart: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Taps and sum; where there is no ``past``, no taps; where it is not asked for, no
        ``whole`` sum.
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
        if self.kernel is None:
            return self._gathered(total.whole(), scale_C)
        return self.kernel(total, scale_C, self._past(total.x_NCHW), whole=False)[0]

    def gather_whole(self, total: Sum, scale_C: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the sum."""
        if self.kernel is None:
            whole_NCHW = total.whole()
            return self._gathered(whole_NCHW, scale_C), whole_NCHW
        return self.kernel(total, scale_C, self._past(total.x_NCHW), whole=True)

    def gather_apart(self, total: Sum, scale_C: Tensor) -> Tensor:
        """With the moments of a pixel side by side, the two before the first in front: ``[B H W T+2
        C]``.
        """
        assert self.kernel is not None
        past_BSCHW = self._past(total.x_NCHW)
        return self.kernel(total, scale_C, past_BSCHW, whole=False, apart=True)[0]

    def whole(self, total: Sum) -> Tensor:
        """The sum."""
        if self.kernel is None:
            return total.whole()
        return self.kernel(total, None, None, whole=True)[1]

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

    def after(self) -> Memory:
        """What the stream remembers now."""
        assert next(self._before, None) is None, "a memory of another autoencoder"
        return tuple(self._after)

    def _gathered(self, x_NCHW: Tensor, scale_C: Tensor | None) -> Tensor:
        y_NCHW = x_NCHW if scale_C is None else F.silu(normalised(x_NCHW, scale_C))
        return taps_side_by_side(self.join(y_NCHW), self.rows)

    def _past(self, x_NCHW: Tensor) -> Tensor:
        """What the kernel reads, and writes over."""
        self._after.append(self._blank(x_NCHW, TAPS - 1) if self.begins else next(self._before))
        return self._after[-1]

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
