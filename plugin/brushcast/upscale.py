"""Upscale: a painted picture larger than it was painted, with its own edges crisp.

It is guided by the painted picture alone. Nothing here is ever given the camera's picture, so that
no detail of it can come back, whatever the privacy mode.

Luminance is sharpened at its own size, scaled, and then held between the least and the greatest
value that its neighbourhood in the small picture has: the overshoot of the sharpening, cut off at
what is really there, becomes steepness and leaves no halo. (Bounds by the neighbourhood as in
contrast-adaptive sharpening, Lottes 2019; here they are those of the small picture, interpolated.)
What is sharpened is the Laplacian of a Gaussian (Marr and Hildreth 1980): it leaves out the finest
detail, in which a slanted line's stairs are, so that contours come out smooth without a filter that
follows them. The eye sees edges in luminance: chroma is scaled linearly, and looks as with cubic.

It stays on the CPU: the picture is in host memory and is wanted there, and OpenCL (`cv2.UMat`)
needs a driver that many machines lack; a copy there, a dozen launches and a copy back for 2 ms of
work are no bargain (reckoned, not measured: none of ours has one).

Letters: H height, W width.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from brushcast.frame import Pixels, Size

# By eye, on six looks beside the same model's pictures at 1280x720 (media/compare_upscaling.py):
# at 3 ink is softer, from 8 on slanted contours show stairs and hatching grows too dark.
SHARPNESS = 5.0
# Levels of the Laplacian. Below is what shivers (the sensor's noise, the coder's blocks), above are
# pencil, dots and contours. What stands still shivers 12 to 30 % more than with cubic; 46 to 74 %
# if all were treated alike.
FAINT = 4.0
FAINT_SHARPNESS = 0.3  # paper grain stays what it was, and does not fade beside crisp lines

_ZERO = 128  # of signed values in 8 bits
_PER_LEVEL = 4  # OpenCV's Laplacian is four times the difference from the mean of the neighbours
_NEIGHBOURS = np.ones((3, 3), np.uint8)


class Upscaler:
    """Scales to one size. One owner thread; what it works in is kept, as fresh memory costs as much
    as the work (page faults)."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._bound_HW: Pixels = np.empty((size.height, size.width), np.uint8)
        self._resize_work(1, 1)

    def luma(self, source_HW: Pixels, plane_HW: Pixels) -> None:
        """Write a plane ([h w] uint8, any smaller size of the same shape) into `plane_HW`, [H W]
        uint8 of this size. No value leaves the range of the 4x4 pixels around its place in the
        source. One of this size is copied.
        """
        height, width = source_HW.shape
        if (width, height) == (self._size.width, self._size.height):
            np.copyto(plane_HW, source_HW)
            return
        if self._small_HW.shape != source_HW.shape:
            self._resize_work(height, width)
        where = (self._size.width, self._size.height)
        small_HW, edges_HW, bound_HW = self._small_HW, self._edges_HW, self._bound_HW
        cv2.GaussianBlur(source_HW, (3, 3), 0, dst=small_HW)
        cv2.Laplacian(small_HW, cv2.CV_8U, dst=edges_HW, ksize=1, scale=-1, delta=_ZERO)
        cv2.LUT(edges_HW, self._gains, dst=small_HW)
        cv2.addWeighted(source_HW, 1, small_HW, 1, -_ZERO, dst=small_HW)
        cv2.resize(small_HW, where, dst=plane_HW, interpolation=cv2.INTER_CUBIC)
        cv2.erode(source_HW, _NEIGHBOURS, dst=small_HW)
        cv2.resize(small_HW, where, dst=bound_HW, interpolation=cv2.INTER_LINEAR)
        cv2.max(plane_HW, bound_HW, dst=plane_HW)
        cv2.dilate(source_HW, _NEIGHBOURS, dst=small_HW)
        cv2.resize(small_HW, where, dst=bound_HW, interpolation=cv2.INTER_LINEAR)
        cv2.min(plane_HW, bound_HW, dst=plane_HW)

    def _resize_work(self, height: int, width: int) -> None:
        """For sources of that size."""
        self._small_HW: Pixels = np.empty((height, width), np.uint8)
        self._edges_HW: Pixels = np.empty((height, width), np.uint8)
        self._gains = _gains(math.sqrt(self._size.area_px / (height * width)))


def _gains(scale: float) -> Pixels:
    """What is added, by the Laplacian; both in 8 bits around _ZERO. scale: of each side. What
    scaling loses it loses on its way to twice the size: a little more than none needs little.
    """
    levels = (np.arange(256) - _ZERO) / _PER_LEVEL
    loud = levels**2 / (levels**2 + FAINT**2)
    sharpness = FAINT_SHARPNESS + (SHARPNESS - FAINT_SHARPNESS) * loud
    added = min(1.0, max(0.0, scale - 1)) * sharpness * levels
    return np.clip(np.rint(_ZERO + added), 0, 255).astype(np.uint8)
