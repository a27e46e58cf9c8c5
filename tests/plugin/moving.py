"""Pictures of the bundled clip, for whoever packs pictures."""

from __future__ import annotations

import functools
from itertools import islice
from pathlib import Path

import numpy as np

import brushcast
from brushcast.clip import Clip
from brushcast.frame import Pixels, Size, fit

CLIP = Path(brushcast.__file__).parent / "assets" / "clip.mp4"


@functools.cache
def clip_pictures(size: Size, count: int) -> tuple[Pixels, ...]:
    """The first so many, at that size."""
    with Clip(CLIP) as clip:
        return tuple(fit(one.pixels_HWC, size) for one in islice(clip.pictures(), count))


def psnr_db(one_HWC: Pixels, other_HWC: Pixels) -> float:
    """How near two pictures are: 30 is visibly different, 40 is not."""
    error = float(np.mean((one_HWC.astype(np.float64) - other_HWC) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
