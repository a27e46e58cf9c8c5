"""Yuv: RGB pictures as the planes Y, Cb, Cr that video formats hold, at a given size.

A smaller picture is scaled plane by plane: colours are converted at its own size, which for 384x384
at 1280x720 takes a third of what scaling first takes; its luminance stays crisp (`upscale`), and
its chroma is scaled once, from its full detail, instead of up and down again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.badge import Corner, Patch, plane_patches
from brushcast.frame import Pixels, Size, centre_crop, resize
from brushcast.upscale import Upscaler

Matrix = NDArray[np.float32]
# I420: the planes Y, Cb, Cr. NV12: Y, then CbCr in turn. YUYV, UYVY: 4:2:2, the order of its bytes.
Layout = Literal["I420", "NV12", "YUYV", "UYVY"]


def _limited_range(kr: float, kb: float) -> Matrix:
    """8 bit, limited range: rows Y, Cb, Cr of (R, G, B, 1)."""
    kg = 1 - kr - kb
    return np.array(
        [
            [219 / 255 * kr, 219 / 255 * kg, 219 / 255 * kb, 16],
            [-112 / 255 * kr / (1 - kb), -112 / 255 * kg / (1 - kb), 112 / 255, 128],
            [112 / 255, -112 / 255 * kg / (1 - kr), -112 / 255 * kb / (1 - kr), 128],
        ],
        np.float32,
    )


BT709: Matrix = _limited_range(0.2126, 0.0722)
BT601: Matrix = _limited_range(0.299, 0.114)


class YuvConverter:
    """Converts to one size (even sides) and one matrix. One owner thread; what it works in is kept,
    as fresh memory costs as much as the work (page faults)."""

    def __init__(self, size: Size, matrix: Matrix) -> None:
        self._size = size
        self._matrix = matrix
        self._upscaler = Upscaler(size)
        self._packed_HWC: Pixels = np.empty((0, 0, 3), np.uint8)
        self._small: list[Pixels] = []  # Y, Cb, Cr at the picture's own size
        self._badges: dict[Corner, tuple[Patch, ...]] = {}

    def convert(
        self, pixels_HWC: Pixels, planes: Sequence[Pixels], badge: Corner | None = None
    ) -> None:
        """Write a picture ([H W 3] uint8 RGB of any size; another shape is cropped) into the planes
        Y [H W], Cb and Cr [H/2 W/2] of this converter's size; chroma is the mean of its 2x2 pixels.
        badge: the corner that says "AI"; it is laid on last, as crisp as the size allows.
        """
        size = self._size
        pixels_HWC = centre_crop(pixels_HWC, size)
        height, width, _ = pixels_HWC.shape
        smaller = height * width < size.area_px
        if not smaller:
            pixels_HWC = resize(pixels_HWC, size)
        if self._packed_HWC.shape != pixels_HWC.shape:
            self._packed_HWC = np.empty_like(pixels_HWC)
            self._small = [np.empty(pixels_HWC.shape[:2], np.uint8) for _ in planes]
        cv2.transform(pixels_HWC, self._matrix, dst=self._packed_HWC)
        if smaller:
            self._scale(planes)
        else:
            half = (size.width // 2, size.height // 2)
            halved_HWC = cv2.resize(self._packed_HWC, half, interpolation=cv2.INTER_AREA)
            for channel, source_HWC in enumerate((self._packed_HWC, halved_HWC, halved_HWC)):
                cv2.extractChannel(source_HWC, channel, dst=planes[channel])
        if badge is not None:
            if badge not in self._badges:
                self._badges[badge] = plane_patches(size, badge, self._matrix)
            for patch, plane_HW in zip(self._badges[badge], planes, strict=False):
                patch.lay_on(plane_HW)

    def _scale(self, planes: Sequence[Pixels]) -> None:
        cv2.split(self._packed_HWC, self._small)
        self._upscaler.luma(self._small[0], planes[0])
        for source_HW, plane_HW in zip(self._small[1:], planes[1:], strict=True):
            shrinks = plane_HW.shape[1] < source_HW.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            where = (plane_HW.shape[1], plane_HW.shape[0])
            cv2.resize(source_HW, where, dst=plane_HW, interpolation=how)


class YuvPacker:
    """Pictures as one flat array in a layout that virtual cameras hold. One owner thread."""

    def __init__(self, size: Size, matrix: Matrix, layout: Layout) -> None:
        self._size = size
        self._layout = layout
        self._converter = YuvConverter(size, matrix)

    def pack(self, pixels_HWC: Pixels, badge: Corner | None = None) -> Pixels:
        """A new array of `packed_bytes` bytes. Chroma is the mean of four pixels (the one of a
        corner, as OpenCV alone would take, leaves whole blocks more than 3 levels off); where a
        layout holds a row of it for each row of pixels, the same row twice.
        """
        area, width = self._size.area_px, self._size.width
        planar: Pixels = np.empty(area * 3 // 2, np.uint8)
        y_HW = planar[:area].reshape(-1, width)
        cb_HW = planar[area : area * 5 // 4].reshape(-1, width // 2)
        cr_HW = planar[area * 5 // 4 :].reshape(-1, width // 2)
        self._converter.convert(pixels_HWC, [y_HW, cb_HW, cr_HW], badge)
        if self._layout == "I420":
            return planar
        flat: Pixels = np.empty(packed_bytes(self._size, self._layout), np.uint8)
        if self._layout == "NV12":
            flat[:area] = y_HW.ravel()
            flat[area::2], flat[area + 1 :: 2] = cb_HW.ravel(), cr_HW.ravel()
        else:
            lines_HL = flat.reshape(-1, 2 * width)
            luma = 0 if self._layout == "YUYV" else 1
            lines_HL[:, luma::2] = y_HW
            for row in (0, 1):
                lines_HL[row::2, 1 - luma :: 4] = cb_HW
                lines_HL[row::2, 3 - luma :: 4] = cr_HW
        return flat


def packed_bytes(size: Size, layout: Layout) -> int:
    """How many bytes a picture has in a layout."""
    return size.area_px * 2 if layout in ("YUYV", "UYVY") else size.area_px * 3 // 2
