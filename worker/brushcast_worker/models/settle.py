"""Settle: the decoder's memory of what it drew, a recursive filter over time.

Letters: B rows, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from brushcast_worker.models.resample import line, means

CELL = 8  # pixels
CHANGED = 0.15  # in [-1, 1]: a cell whose colour differs by this much keeps nothing


def settle(
    painted_BCHW: Iterable[tuple[Tensor, Tensor]],
    drawn_BCHW: Tensor | None,
    begins_B: Tensor | None = None,
) -> Iterator[Tensor]:
    """Blends every picture with the one before it, ``drawn`` with the first.  ``painted``: pictures
    and ``share`` 0..1, how much of the one before the network would keep of each pixel.
    ``begins``: rows that have drawn nothing yet, whatever ``drawn`` holds for them.

    Where a cell's mean colour has changed nothing is kept, whatever the network says: no trail
    outlives its cause, and a new look shows at once.
    """
    before = drawn_BCHW
    for fresh, share in painted_BCHW:
        if before is None:
            before = fresh
        elif begins_B is not None:
            before, begins_B = torch.where(begins_B[:, None, None, None], fresh, before), None
        down, across = (line(side // CELL, CELL, fresh.device) for side in fresh.shape[2:])
        change = (means(before, CELL) - means(fresh, CELL)).abs().amax(1, keepdim=True)
        alike = (1 - change / CHANGED).clamp(min=0)
        before = torch.lerp(fresh, before, share * (down @ alike @ across.T))
        yield before
