"""The page under a painting: what stays on it while the objects move.

Everything on it repeats after ``PERIOD`` or ``PANE`` pixels, so that a model of latents (8 pixels
each, 4x4 of them a token) can know where on the page it is without being told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PERIOD = 8  # pixels: hatching, dots, laid paper
PANE = 32  # pixels: the grid of a drawing office, the quarries of a window


@dataclass(frozen=True, slots=True)
class Page:
    """Pixel centres counted from the page's top left corner: ``v`` ``[H 1]`` down, ``u`` ``[1 W]``
    across.
    """

    v: Tensor
    u: Tensor

    @staticmethod
    def of(x: Tensor) -> Page:
        """The page under a picture ``[B C H W]``."""
        height, width = x.shape[-2:]
        return Page(
            (torch.arange(height, device=x.device) + 0.5)[:, None],
            (torch.arange(width, device=x.device) + 0.5)[None],
        )

    @property
    def dots(self) -> Tensor:
        """Round hills and valleys in -1..1."""
        return 0.5 * (self._wave(self.u) + self._wave(self.v))

    @property
    def up(self) -> Tensor:
        """Diagonal waves, rising, in -1..1."""
        return self._wave(self.u + self.v)

    @property
    def down(self) -> Tensor:
        """Diagonal waves, falling, in -1..1."""
        return self._wave(self.u - self.v)

    @property
    def laid(self) -> Tensor:
        """The fine horizontal ridges of laid paper, two a period, in -1..1."""
        return self._wave(2 * self.v)

    @staticmethod
    def _wave(x: Tensor) -> Tensor:
        return (x * (2 * math.pi / PERIOD)).cos()


def stripe(wave: Tensor, amount: Tensor) -> Tensor:
    """A stripe that is ``amount`` of its period wide."""
    return torch.sigmoid(9 * (wave - 1 + 2 * amount)) * (amount / 0.05).clamp(0, 1)


def line_every(period: int, x: Tensor, width: float) -> Tensor:
    """1 on lines of ``width`` pixels, ``period`` apart, soft by a pixel; ``x`` in pixels."""
    distance = (x / period - (x / period).round()).abs() * period
    return (0.5 * width + 0.5 - distance).clamp(0, 1)


def blocks(x: Tensor, side: int) -> Tensor:
    """Means of ``side`` by ``side`` pixels, as large as before; the last ones may be cut."""
    small = torch.nn.functional.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)
    grown = small.repeat_interleave(side, -2).repeat_interleave(side, -1)
    return grown[..., : x.shape[-2], : x.shape[-1]]
