"""Figures of the pictures themselves: how alike neighbours are, how evenly things move, how sharp
it is. Pure: three consecutive painted pictures in, numbers out.

Everything but the sharpness is measured on grey pictures 256 pixels wide. Motion is dense
inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), from
the newer picture back to the older. "Compensated" means that the older one was warped along it
first, so that motion alone is no difference; what comes from outside the picture is left out,
what something uncovered is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from brushcast.frame import Pixels

WIDTH_PX = 256
PSNR_MOST_DB = 60.0  # of equal pictures it would be infinite
STILL_PX = 0.5  # added to the motion: below it unevenness is the estimate's own noise
# Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
# 2004: a Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
_WINDOW, _SIGMA = (11, 11), 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Grey = npt.NDArray[np.float32]  # [H W], 0..255


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFigures:
    """ssim, psnr_db: of two neighbours as they are; compensated_…: with the motion taken out.

    warp_error: 0..1, mean absolute difference of the compensated pair. motion_px: mean length of
    the motion from picture to picture, in pixels of the painted picture. smoothness: 0..1, 1 where
    everything moves on as it did. sharpness: variance of the Laplacian of the newest one.
    """

    ssim: float
    psnr_db: float
    compensated_ssim: float
    compensated_psnr_db: float
    warp_error: float
    motion_px: float
    smoothness: float
    sharpness: float


def measure(oldest: Pixels, middle: Pixels, newest: Pixels) -> PictureFigures:
    """Three consecutive pictures `[H W 3]` uint8 of one size. About 6 ms."""
    assert oldest.shape == middle.shape == newest.shape
    first, second, third = (_small(picture) for picture in (oldest, middle, newest))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before_HW2: Any = flow.calc(second, first, None)  # type: ignore[call-overload]
    now_HW2: Any = flow.calc(third, second, None)  # type: ignore[call-overload]
    height, width = third.shape
    places_HW2 = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    places_HW2 += now_HW2
    x_HW, y_HW = cv2.split(places_HW2)
    inside = (x_HW >= 0) & (y_HW >= 0) & (x_HW <= width - 1) & (y_HW <= height - 1)
    a, b = second.astype(np.float32), third.astype(np.float32)
    warped = cv2.remap(a, places_HW2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    followed_HW2 = cv2.remap(  # how the same things moved a picture earlier
        before_HW2, places_HW2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )  # type: ignore[call-overload]
    moved, moved_before = _length(now_HW2, inside), _length(followed_HW2, inside)
    bent = _length(now_HW2 - followed_HW2, inside)
    everywhere = np.ones_like(inside)
    return PictureFigures(
        ssim=_ssim(a, b, everywhere),
        psnr_db=_psnr_db(a, b, everywhere),
        compensated_ssim=_ssim(warped, b, inside),
        compensated_psnr_db=_psnr_db(warped, b, inside),
        warp_error=_mean(np.abs(warped - b), inside) / 255,
        motion_px=moved * newest.shape[1] / width,
        smoothness=max(0.0, 1 - bent / (moved + moved_before + STILL_PX)),
        sharpness=_sharpness(newest),
    )


def _small(pixels_HWC: Pixels) -> npt.NDArray[np.uint8]:
    grey = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2GRAY)
    height_px = max(16, round(WIDTH_PX * grey.shape[0] / grey.shape[1]))
    return cv2.resize(grey, (WIDTH_PX, height_px), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _sharpness(pixels_HWC: Pixels) -> float:
    grey = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def _ssim(a: Grey, b: Grey, where: npt.NDArray[np.bool_]) -> float:
    """Wang et al. 2004, equation 13, averaged over `where`."""

    def blurred(x: Grey) -> Grey:
        return cv2.GaussianBlur(x, _WINDOW, _SIGMA).astype(np.float32)

    mean_a, mean_b = blurred(a), blurred(b)
    spread = blurred(a * a) + blurred(b * b) - mean_a * mean_a - mean_b * mean_b
    together = blurred(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return _mean(light * (2 * together + _C2) / (spread + _C2), where)


def _psnr_db(a: Grey, b: Grey, where: npt.NDArray[np.bool_]) -> float:
    error = _mean((a - b) ** 2, where)
    return PSNR_MOST_DB if error <= 0 else min(PSNR_MOST_DB, 10 * math.log10(255**2 / error))


def _length(flow_HW2: Any, where: npt.NDArray[np.bool_]) -> float:
    return _mean(cv2.magnitude(flow_HW2[..., 0], flow_HW2[..., 1]), where)


def _mean(values: Any, where: npt.NDArray[np.bool_]) -> float:
    """0 where there is nothing to average."""
    return float(values[where].mean()) if where.any() else 0.0
