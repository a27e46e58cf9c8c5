"""The hand that paints: where it presses harder, which follows from a stream's noise.

So a seed means strokes: the same noise, the same strokes; other noise, others.  Without it a model
that is trained by regression learns to ignore its noise, and every seed gives one picture.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.teachers.filters import blur, luma, saturate, smoothstep

LATENT = 8  # pixels


def heavier(img: Tensor) -> Tensor:
    """What a teacher is shown to paint with a heavier hand: deeper, firmer, more colourful."""
    g = luma(img)
    return saturate((img + 0.9 * (g - blur(g, 6)) - 0.10).clamp(0, 1), 1.45)


def strokes(noise: Tensor) -> Tensor:
    """From noise ``[B C H W]`` whose first channel lies in strokes (``stages.noise.stroked``) to
    where the hand presses, ``[B 1 8H 8W]`` 0..1.
    """
    pressed = smoothstep(-0.7, 0.7, noise[:, :1].float())
    return F.interpolate(pressed, scale_factor=LATENT, mode="bilinear", align_corners=False)
