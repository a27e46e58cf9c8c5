"""Pictures in between: what is shown at twice the rate that is painted.

Every second picture of a clip is painted and the others are made from their neighbours, so the
clip's own motion still says how the sequence ought to move, and the teacher how it ought to look.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Between = Callable[[Tensor, Tensor], Tensor]  # two neighbours ``[T 3 H W]`` to what lies between


def repeated(before_TCHW: Tensor, after_TCHW: Tensor) -> Tensor:
    """The playout outside its fades: a picture stays on until the next one is due."""
    return before_TCHW


def mixed(before_TCHW: Tensor, after_TCHW: Tensor) -> Tensor:
    """The playout's cross-fade at its middle (``card.py``: a weighted sum)."""
    return (before_TCHW + after_TCHW) / 2


WAYS: dict[str, Between] = {"repeated": repeated, "mixed": mixed}


def at_twice_the_rate(video_TCHW: Tensor, between: Between) -> Tensor:
    """``[2 T - 1 ...]``: the pictures with one in between each two."""
    inserted = between(video_TCHW[:-1], video_TCHW[1:])
    woven = torch.stack([video_TCHW[:-1], inserted], 1).flatten(0, 1)
    return torch.cat([woven, video_TCHW[-1:]])
