"""Badge: the small "AI" that says in the picture itself that it was painted by a model.

A translucent pill in a corner, drawn once for a size and laid on picture by picture. It is laid on
what a sink is about to show, after scaling, so that it is crisp and nothing sharpens it. Letters
and pill are shapes, drawn here: no font is needed, and every size has its own clean edges.

Where: names stand at the lower left in Zoom, Meet, Teams and Discord, controls along the lower
edge, so the upper left is the default. A picture is often cut in the middle to 4:3, to a square or
to a circle by whoever shows it. So the corner is not that of the picture: the pill leans against
the circle that fits into its middle, as far out as it can be without losing a letter.

Letters: H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.errors import ConfigError
from brushcast.frame import Pixels, Size

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
CORNERS: tuple[Corner, ...] = get_args(Corner)
DEFAULT_CORNER: Corner = "top-left"

# Of the picture's shorter side; all of it by eye, on eight looks, greys, noise and stripes.
HEIGHT = 0.05
ACROSS, DOWN = 0.12, 0.135  # from the middle square's corner to the pill's
LEAST_PX = 14  # below, the letters are no letters
ASPECT = 1.72  # width by height

_FILL_RGB, _FILL = (18, 19, 24), 0.72  # white on it: 7 to 1 even over white
_EDGE_RGB, _EDGE, _EDGE_WIDTH = (255, 255, 255), 0.30, 0.045  # parts it from a dark picture
_INK_RGB, _INK = (255, 255, 255), 0.97
_CAP = 0.44  # height of the letters, by the pill's
_FINE = 4  # drawn so much larger, then averaged: 2 ms at 1280x720, once
_LEAST = np.float32(1e-6)  # an opacity to divide by
_SUBPIXEL = 8  # bits of a place in OpenCV's shapes

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Patch:
    """What is laid on one plane, or on a whole RGB picture: `(what is there x kept + added) / 256`.

    top, left: in pixels of that plane. kept, added: [h w] or [h w C] uint16.
    """

    top: int
    left: int
    kept: NDArray[np.uint16]
    added: NDArray[np.uint16]

    def lay_on(self, plane: Pixels) -> None:
        """In place: [H W] or [H W C] uint8 of the size that the patch was made for."""
        height, width = self.kept.shape[:2]
        there = plane[self.top : self.top + height, self.left : self.left + width]
        mixed = np.multiply(there, self.kept, dtype=np.uint16)
        mixed += self.added
        mixed >>= 8
        there[...] = mixed


def parse_badge(value: object) -> Corner | None:
    """A corner's name, or None for no badge. Raises ConfigError for anything else."""
    for corner in CORNERS:
        if value == corner:
            return corner
    if value is None:
        return None
    raise ConfigError(f"badge {value!r}: wanted nothing or one of {', '.join(CORNERS)}")


def rgb_patch(size: Size, corner: Corner) -> Patch | None:
    """For [H W 3] RGB pictures of that size; None when they are too small for a badge."""
    drawn = _drawn(size)
    if drawn is None:
        return None
    colour_HWC, alpha_HW = drawn
    top, left = _place(size, corner, *alpha_HW.shape)
    return _patch(top, left, colour_HWC, alpha_HW[:, :, None])


def plane_patches(size: Size, corner: Corner, matrix: Floats) -> tuple[Patch, ...]:
    """For the planes Y [H W], Cb and Cr [H/2 W/2] of pictures of that size; none when they are too
    small for a badge. matrix: rows Y, Cb, Cr of (R, G, B, 1).
    """
    drawn = _drawn(size)
    if drawn is None:
        return ()
    colour_HWC, alpha_HW = drawn
    top, left = _place(size, corner, *alpha_HW.shape)
    yuv_HWC: Floats = colour_HWC @ matrix[:, :3].T + matrix[:, 3]
    half_HW = _halved(alpha_HW)
    mean_HWC = _halved(yuv_HWC * alpha_HW[:, :, None]) / np.maximum(half_HW, _LEAST)[:, :, None]
    return (
        _patch(top, left, yuv_HWC[:, :, 0], alpha_HW),
        _patch(top // 2, left // 2, mean_HWC[:, :, 1], half_HW),
        _patch(top // 2, left // 2, mean_HWC[:, :, 2], half_HW),
    )


def _patch(top: int, left: int, colour: Floats, alpha: Floats) -> Patch:
    """What is kept is rounded first and what is added follows it, so that no sum passes 255."""
    kept = np.rint(256 * (1 - alpha))
    added = np.rint(colour * (256 - kept) + 127)
    return Patch(top, left, kept.astype(np.uint16), added.astype(np.uint16))


def _place(size: Size, corner: Corner, height: int, width: int) -> tuple[int, int]:
    """(top, left), both even: chroma has half the size."""
    side = min(size.width, size.height)
    down = (size.height - side) / 2 + DOWN * side
    across = (size.width - side) / 2 + ACROSS * side
    top = down if corner.startswith("top") else size.height - down - height
    left = across if corner.endswith("left") else size.width - across - width
    return 2 * round(top / 2), 2 * round(left / 2)


def _drawn(size: Size) -> tuple[Floats, Floats] | None:
    """(colour_HWC 0..255, alpha_HW 0..1) of the pill, with even sides."""
    side = min(size.width, size.height)
    height = max(LEAST_PX, 2 * round(HEIGHT * side / 2))
    width = 2 * round(ASPECT * height / 2)
    if width + 2 * ACROSS * side > side or height + 2 * DOWN * side > side:
        return None
    shape = (height * _FINE, width * _FINE)
    pill = _pill(shape, 0.0)
    edge = pill - _pill(shape, _EDGE_WIDTH * height * _FINE)
    colour_HWC = np.zeros((height, width, 3), np.float32)
    alpha_HW = np.zeros((height, width), np.float32)
    for rgb, opacity, fine in (
        (_FILL_RGB, _FILL, pill),
        (_EDGE_RGB, _EDGE, edge),
        (_INK_RGB, _INK, _letters(shape)),
    ):
        over_HW = opacity * np.asarray(
            cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.float32
        )
        colour_HWC *= (1 - over_HW)[:, :, None]
        colour_HWC += over_HW[:, :, None] * np.array(rgb, np.float32)
        alpha_HW += over_HW * (1 - alpha_HW)
    return colour_HWC / np.maximum(alpha_HW, _LEAST)[:, :, None], alpha_HW


def _pill(shape: tuple[int, int], inset: float) -> Floats:
    """A rounded bar that fills the shape but for `inset`: how far a place is from its axis."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    beyond = np.maximum(np.abs(x - width / 2) - (width - height) / 2, 0)
    distance = np.hypot(beyond, y - height / 2)
    covered = np.clip(height / 2 - inset - distance + 0.5, 0, 1)
    return np.asarray(covered, np.float32)


def _letters(shape: tuple[int, int]) -> Floats:
    """ "AI" in the middle, as shapes of a broad grotesque. What is level or upright lies on whole
    pixels, or small letters would be grey.
    """
    height, width = (side / _FINE for side in shape)
    cap = 2 * round(_CAP * height / 2)
    # Of the height of the letters: A's width, its apex, its legs (level), its bar; the gap; I.
    a, apex, leg, bar_from, bar_to, gap = 0.98, 0.24, 0.225, 0.585, 0.745, 0.17
    stem = max(1, round(0.205 * cap)) / cap
    total = a + gap + stem
    right, top = round(width / 2 + cap * total / 2), (height - cap) / 2
    left = right - cap * total
    slope = (a - apex) / 2  # how far a leg goes aside on its way down
    canvas = np.zeros(shape, np.float32)

    def fill(value: float, *points: tuple[float, float]) -> None:
        places = _FINE * np.array([[left + cap * x, top + cap * y] for x, y in points])
        fixed = np.rint((places - 0.5) * 2**_SUBPIXEL).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], value, shift=_SUBPIXEL)

    def inner(y: float) -> float:
        """The left leg's inner side."""
        return slope * (1 - y) + leg

    fill(1.0, (0, 1), (slope, 0), (a - slope, 0), (a, 1))
    fork = 1 - (a / 2 - leg) / slope  # where the legs' inner sides meet
    fill(0.0, (a / 2, fork), (inner(bar_from), bar_from), (a - inner(bar_from), bar_from))
    foot = ((inner(bar_to), bar_to), (a - inner(bar_to), bar_to), (a - leg, 1.02), (leg, 1.02))
    fill(0.0, *foot)
    fill(1.0, (a + gap, 0), (a + gap + stem, 0), (a + gap + stem, 1), (a + gap, 1))
    return canvas


def _halved(values: Floats) -> Floats:
    height, width = values.shape[:2]
    fours = values.reshape(height // 2, 2, width // 2, 2, *values.shape[2:])
    return np.asarray(fours.mean((1, 3)), np.float32)
