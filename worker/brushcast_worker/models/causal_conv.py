"""Conv: a convolution over the present and the two moments before it, in the forms that a GPU is
fastest with.

Letters: N pictures in the order of time, C channels, H height, W width.  See ``models.moments``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.moments import TAPS, Sum, Walk, pair_weights, taps_side_by_side

WIDE = 16  # channels that a tensor core wants to see, or a multiple of it


class Conv(nn.Module):
    """A causal convolution: over three moments (the current one is the last), or over one."""

    def __init__(self, inputs: int, outputs: int, taps: int = TAPS, side: int = 1) -> None:
        super().__init__()
        self.side = side
        # In memory the inputs lie innermost and the moments next: see ``along``.
        weight = torch.empty(outputs, side, side, taps, inputs).permute(0, 4, 3, 1, 2)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs * taps * side * side)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self._widened: Tensor | None = None
        self._pairs: list[Tensor] | None = None

    def forward(self, x_NCHW: Tensor, walk: Walk) -> Sum:
        """As many moments out as in."""
        return self.over(taps_side_by_side(walk.join(x_NCHW), walk.rows))

    def over(self, x_NCHW: Tensor) -> Sum:
        """Of moments that stand side by side already."""
        return Sum((self._product(x_NCHW, None),), self.bias)

    def after(
        self, total: Sum, scale_C: Tensor, walk: Walk, *, whole: bool = False
    ) -> tuple[Sum, Tensor]:
        """Of a sum that is normalised first; and the sum, if it is wanted."""
        if not walk.in_pairs(total):
            taps_NCHW, x_NCHW = walk.gather_whole(total, scale_C, whole=whole)
            return self.over(taps_NCHW), x_NCHW
        if self._pairs is None:
            self._pairs = pair_weights(self.weight)
        seen_4NCHW, x_NCHW = walk.gather_pairs(total, scale_C, whole=whole)
        padding = self.side // 2
        products = (
            F.conv2d(x, weight, padding=padding)
            for x, weight in zip(seen_4NCHW, self._pairs, strict=True)
        )
        return Sum(tuple(products), self.bias), x_NCHW

    def along(self, x_NCHW: Tensor, outputs: int | None = None) -> Tensor:
        """The same, with the bias; the first ``outputs`` channels, or all."""
        return self._product(x_NCHW, self.bias[:outputs], outputs)

    def widen(self) -> None:
        """Empty inputs are put beside the others, up to a multiple of ``WIDE``."""
        weight = self._flat()
        missing = -weight.shape[1] % WIDE
        wide = F.pad(weight, (0, 0, 0, 0, 0, missing))
        self._widened = wide.contiguous(memory_format=torch.channels_last)

    def _product(self, x_NCHW: Tensor, bias: Tensor | None, outputs: int | None = None) -> Tensor:
        weight = self._flat(outputs)
        if self._widened is not None:
            missing = self._widened.shape[1] - x_NCHW.shape[1]
            x_NCHW, weight = F.pad(x_NCHW, (0, 0, 0, 0, 0, missing)), self._widened
        return F.conv2d(x_NCHW, weight, bias, padding=self.side // 2)

    def _flat(self, outputs: int | None = None) -> Tensor:
        """``[outputs taps*inputs side side]``: a view."""
        return self.weight[:outputs].transpose(1, 2).flatten(1, 2)
