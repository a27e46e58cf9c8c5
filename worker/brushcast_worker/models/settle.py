"""Settle: the decoder's memory of what it drew, a recursive filter over time.

Letters: B rows, C channels, H W size.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from brushcast_worker.models.resample import line, means
from brushcast_worker.models.side_by_side import side_by_side, worthwhile

CELL = 8  # pixels
CHANGED = 0.15  # in [-1, 1]: a cell whose colour differs by this much keeps nothing


def settle(
    fresh_BCHW: Sequence[Tensor], share_BCHW: Sequence[Tensor], drawn_BCHW: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Blends every picture with the one before it: a recursive filter over time whose strength,
    ``share`` 0..1, the network chooses for each pixel.  Also returns the last picture alone.

    Where a cell's mean colour has changed nothing is kept, whatever the network says: no trail
    outlives its cause, and a new look shows at once.
    """
    learning = torch.is_grad_enabled()
    first = fresh_BCHW[0]
    last = first if drawn_BCHW is None else drawn_BCHW
    pictures = first.new_empty(0 if learning else (len(first), len(fresh_BCHW), *first.shape[1:]))
    bands = _bands(first.shape[2], first.device)
    down, across = (line(side // CELL, CELL, first.device) for side in first.shape[2:])

    def blend(t: int, kept: Tensor, before: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Rows of a picture, and their cells' means."""
        kept = share_BCHW[t][:, :, rows] * (down[rows] @ kept @ across.T)
        place = None if learning else pictures[:, t, :, rows]
        x = torch.lerp(fresh_BCHW[t][:, :, rows], before[:, :, rows], kept, out=place)
        return x, means(x, CELL)

    drawn, cells_before = [], means(last, CELL)
    for t, fresh in enumerate(fresh_BCHW):
        change = (cells_before - means(fresh, CELL)).abs().amax(1, keepdim=True)
        alike = (1 - change / CHANGED).clamp(min=0)
        parts = side_by_side(functools.partial(blend, t, alike, last), bands)
        cells_before = torch.cat([cells for _, cells in parts], 2)
        last = parts[0][0] if learning else pictures[:, t]
        drawn.append(last)
    return (torch.stack(drawn, 1), last) if learning else (pictures, last.clone())


def _bands(height: int, device: torch.device) -> list[slice]:
    """Rows of a picture, whole cells, for a core each; or all together."""
    middle = height // 2 // CELL * CELL
    both = [slice(0, middle), slice(middle, height)]
    return both if worthwhile(device) and middle else [slice(0, height)]
