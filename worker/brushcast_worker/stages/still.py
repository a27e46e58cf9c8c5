"""Is the scene still, or was there a cut? Two measures of a chunk against the picture before it.

Letters: T pictures, C channels (3, RGB), H height, W width. Both measures stay on the device; the
engine reads them once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# of the range 0..1: above the noise of a webcam at night (2.4), below a blink at 384 px (9 and
# more)
STILL_BELOW = 3 / 255
# a file's held pictures: equal but for what the video codec did to them
LOSSLESS_STILL_BELOW = 0.25 / 255
CUT_ABOVE = 0.5  # of `cut_score`; see there
CELL = 8
THUMB_CELL = 16
_LUMA = (0.299, 0.587, 0.114)
_BINS = 16


def motion_peak(x_TCHW: Tensor, before_CHW: Tensor) -> Tensor:
    """The largest mean absolute difference in any cell of 8x8 pixels between any of the pictures
    and the one before.

    Pictures in [-1, 1], sides in multiples of 8; the answer, a scalar tensor, is of the range 0..1.
    The mean within a cell hides the noise of a sensor; the maximum over cells keeps what is small
    but means something: a blink, a lip.
    """
    difference_THW = (x_TCHW - before_CHW).abs_().mean(1)
    cells = F.avg_pool2d(difference_THW[:, None], CELL)
    return cells.amax() / 2


def thumbnail(x_TCHW: Tensor) -> Tensor:
    """[T, H/16, W/16] luminance in 0..1: what `cut_score` compares."""
    small_TCHW = F.avg_pool2d(x_TCHW, THUMB_CELL, ceil_mode=True).float()
    luma_C = torch.tensor(_LUMA, device=x_TCHW.device)
    return torch.einsum("tchw,c->thw", small_TCHW, luma_C).add_(1).mul_(0.5)


def cut_score(thumbs_THW: Tensor) -> Tensor:
    """How much the worst neighbours among the thumbnails look like two scenes: a scalar tensor, 0
    (same) to about 2.

    The mean absolute difference (in units of 0.25) times the part of the picture that changed its
    brightness class. Fast motion changes pixels but keeps the histogram, a lamp changes the
    histogram little by little: neither alone is a cut.
    """
    near_THW, far_THW = thumbs_THW[:-1], thumbs_THW[1:]
    difference_T = (far_THW - near_THW).abs().mean((1, 2)) / 0.25
    classes = (thumbs_THW.clamp(0, 1) * (_BINS - 1)).round().long()
    histogram_TB = F.one_hot(classes, _BINS).flatten(1, 2).float().mean(1)
    moved_T = (histogram_TB[1:] - histogram_TB[:-1]).abs().sum(1) / 2
    return (difference_T * moved_T * 2).amax()
