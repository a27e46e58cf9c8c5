"""Motion: how a chunk differs from what came before. Is it still, is it a cut, how fast is it?

Measured on the uint8 pictures, where they come from: a tenth of the cost of the same on float
tensors. Here in host memory, and of a large picture no more is read than the answer needs; on a
device that has them anyway by `device_motion`, with the same answers.

Letters: T pictures, H height, W width, C channels (3, RGB).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brushcast.frame import Pixels
from brushcast_worker.stages.noise import MOTION_DROP, SMOOTHING, NoiseConfig

# Of `peak`, in levels 0..255. A webcam at night has 2.4 from its sensor alone; a blink at 384 px
# has 9 and more.
STILL_BELOW = 3.0
# The pictures that a file holds for several frames: equal but for what the video codec did to them.
LOSSLESS_STILL_BELOW = 0.25
# Of `cut`. The real cuts of animation.mp4 have 0.75 and 0.83; the most that motion and exposure
# reached in 27 clips is 0.16.
CUT_ABOVE = 0.35
# Of a pair's `rms`: two pictures that differ less are no cut, and no thumbnails are made of them.
# `cut` is at most twice their mean difference in luminance / 0.25, and that is at most 0.58 rms:
# what is above CUT_ABOVE has an rms above 0.0755.
ALIKE_BELOW = 0.05

CELL = 8
NEW = 255.0  # `peak` where nothing was seen before
QUARTER, LEAST_DIFFERENCE = 0.25, 0.05  # of `_cut`: of the range; in quarters of the range
_LINES = 128  # rows of a picture, evenly spread, tell its mean motion as well as all do
_ROWS = 2  # and never more than every second row
_BAND = 64  # rows that are held against the reference at once: they stay in the cache
THUMB_STRIDE = 4
THUMB_CELL = 4
LUMINANCE = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # of red, green and blue
BINS = 16

Thumbnail = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Motion:
    """What was measured of a chunk.

    peak: levels, the largest mean absolute difference to the reference picture in any cell of 8x8
    pixels. The mean within a cell hides a sensor's noise; the maximum over cells keeps what is
    small but means something: a blink, a lip. rms: of the fastest pair of neighbours, the picture
    before the chunk included, in units of [-1, 1]. cut: how much the worst pair of neighbours looks
    like two scenes, 0 to about 2; 0 where they are too much alike to be.
    """

    peak: float
    rms: float
    cut: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as uint8, in host memory, and on a device, where it is there."""

    pixels_HWC: Pixels
    levels_HWC: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The pictures that the next chunk is held against. reference: the last that was computed;
    last: the last of all."""

    reference: Picture
    last: Picture


def measure(pictures_HWC: Sequence[Pixels], seen: Seen | None) -> Motion:
    """A chunk against what was seen before it; None: nothing was, and all of it is new."""
    neighbours = pictures_HWC if seen is None else [seen.last.pixels_HWC, *pictures_HWC]
    pairs = list(zip(neighbours[:-1], neighbours[1:], strict=True))
    moved = [_rms(a_HWC, b_HWC) for a_HWC, b_HWC in pairs]
    rms = max(moved, default=0.0)
    if seen is None:
        return Motion(NEW, rms, 0.0)
    peak = 0.0
    for picture_HWC in reversed(pictures_HWC):  # the last has moved furthest
        peak = max(peak, _peak(picture_HWC, seen.reference.pixels_HWC))
        if peak >= STILL_BELOW:  # it moves: by how much is of no use
            break
    return Motion(peak, rms, _worst_cut(neighbours, moved))


def thumbnail(pixels_HWC: Pixels) -> Thumbnail:
    """About [H/16 W/16] luminance in 0..1: what cuts are looked for in."""
    few_HWC = pixels_HWC[THUMB_STRIDE // 2 :: THUMB_STRIDE, THUMB_STRIDE // 2 :: THUMB_STRIDE]
    height, width = (side // THUMB_CELL for side in few_HWC.shape[:2])
    few_HWC = few_HWC[: height * THUMB_CELL, : width * THUMB_CELL]
    # Colour by colour, and rows first: numpy is slow where the innermost axis is short.
    red_HW, green_HW, blue_HW = (
        weight * few_HWC[..., channel] for channel, weight in enumerate(LUMINANCE)
    )
    luma_HW = red_HW + green_HW + blue_HW
    rows_HW = luma_HW.reshape(height, THUMB_CELL, width * THUMB_CELL).sum(1)
    cells_HW = rows_HW.reshape(height, width, THUMB_CELL).sum(2)
    return np.asarray(cells_HW / np.float32(255 * THUMB_CELL**2), dtype=np.float32)


def lines_apart(height: int) -> int:
    """Which rows of a picture tell its mean motion: every n-th."""
    return max(_ROWS, height // _LINES)


def noise_level(moved: float, s0: float, before: float | None, config: NoiseConfig) -> float:
    """The chunk's noise scale: `noise.noise_scale` for a motion, of either form, that is known
    already."""
    lowered = s0 - MOTION_DROP * min(moved / config.full, 1.0)
    scale = SMOOTHING * lowered + (1 - SMOOTHING) * (s0 if before is None else before)
    return min(max(scale, config.lowest), config.highest)


def _difference(a_HWC: Pixels, b_HWC: Pixels) -> Pixels:
    difference = np.maximum(a_HWC, b_HWC)
    difference -= np.minimum(a_HWC, b_HWC)
    return difference


def _rms(a_HWC: Pixels, b_HWC: Pixels) -> float:
    """Of the mean square, in units of [-1, 1]."""
    stride = lines_apart(len(a_HWC))
    difference = _difference(a_HWC[::stride], b_HWC[::stride])
    rows = difference.reshape(len(difference), -1).astype(np.float32)
    # Row by row: a product of whole pictures would wake the threads of numpy's BLAS.
    squares = np.vecdot(rows, rows).sum(dtype=np.float64)
    return math.sqrt(squares / difference.size) / 127.5


def _peak(a_HWC: Pixels, b_HWC: Pixels) -> float:
    """Of all cells, but the search ends with the band of rows in which one moves."""
    height, width, channels = a_HWC.shape
    peak = 0.0
    # From the middle outwards: there is what moves.
    for top in sorted(range(0, height, _BAND), key=lambda y: abs(2 * y + _BAND - height)):
        rows = slice(top, top + _BAND)
        difference = _difference(a_HWC[rows], b_HWC[rows])
        lines = difference.reshape(-1, CELL, width * channels).sum(1, dtype=np.uint16)
        cells = lines.reshape(len(lines), width // CELL, CELL * channels).sum(2, dtype=np.uint32)
        peak = max(peak, float(cells.max() / (CELL * CELL * channels)))
        if peak >= STILL_BELOW:
            break
    return peak


def _worst_cut(neighbours_HWC: Sequence[Pixels], moved: Sequence[float]) -> float:
    """`moved`: the rms of each pair."""
    thumbs: dict[int, Thumbnail] = {}
    cut = 0.0
    for n, rms in enumerate(moved):
        if rms < ALIKE_BELOW:
            continue
        for of in (n, n + 1):
            if of not in thumbs:
                thumbs[of] = thumbnail(neighbours_HWC[of])
        cut = max(cut, _cut(thumbs[n], thumbs[n + 1]))
    return cut


def _cut(a_HW: Thumbnail, b_HW: Thumbnail) -> float:
    """The mean absolute difference (in units of a quarter of the range) times the part of the
    picture that changed its class of brightness. Fast motion changes pixels but keeps the
    histogram, a lamp that is turned up changes the histogram little by little: neither alone is a
    cut."""
    difference = float(np.abs(a_HW - b_HW).mean()) / QUARTER
    if difference < LEAST_DIFFERENCE:
        return 0.0
    moved = np.abs(_histogram(a_HW) - _histogram(b_HW)).sum() / 2
    return 2 * difference * float(moved)


def _histogram(thumb_HW: Thumbnail) -> NDArray[np.float64]:
    classes = np.rint(thumb_HW * (BINS - 1)).astype(np.intp)
    return np.bincount(classes.ravel(), minlength=BINS) / thumb_HW.size
