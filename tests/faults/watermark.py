"""Watermark: source pictures that tell at the other end which they are, and whether they leaked.

A grid of 32x18 cells. Each cell's red-difference is up or down by a secret pattern that no look
produces: `leak` measures how much of that pattern is in a picture, 1 for a raw one, whatever
scaling, 4:2:0 or fading did to it. Each cell's luma is one of two levels: four rows of them spell
the picture's number with a checksum, the others move so that no picture is still. So a worker that
takes the colour out lets the number through: the age of what is shown can be measured end to end.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.frame import Pixels, Size

COLUMNS, ROWS = 32, 18
NUMBER_BITS, CHECK_BITS = 20, 12  # 9.7 hours at 30 a second; one guess in 4096 is taken for one
NUMBERS = 1 << NUMBER_BITS
_CODE_ROWS = slice(7, 11)  # 16 x 2 blocks of 2 x 2 cells
_LOW, _HIGH = 90.0, 170.0  # luma, 0..255
_RED = 50.0  # the red-difference, up or down; all four colours are within 0..255
_LEAST_CONTRAST = 20.0  # of luma: what is flatter holds no number (cards, blur)
# BT.709: luma of R, G, B; R = luma + 1.5748 Cr (ITU-R BT.709-6, items 3.2 and 3.3).
_LUMA_OF_RGB = np.array([0.2126, 0.7152, 0.0722])
_RED_FACTOR, _GREEN_FACTOR = 1.5748, -0.4681

Cells = NDArray[np.float64]


def _secret() -> Cells:
    """+1 and -1, as many of each in every row: no flat colour and no gradient looks like it."""
    rng = np.random.default_rng(0xB5)
    half = np.repeat([1.0, -1.0], COLUMNS // 2)
    return np.stack([rng.permutation(half) for _ in range(ROWS)])


SECRET_RC = _secret()


def source_picture(number: int, size: Size) -> Pixels:
    """[H W 3] uint8 RGB, writable. number: 0 and above; it is told modulo `NUMBERS`."""
    bars = (np.arange(COLUMNS) + number // 2) // 4 % 2 == 0
    is_high = np.broadcast_to(bars, (ROWS, COLUMNS)).copy()
    bits = _bits_of(number % NUMBERS)
    is_high[_CODE_ROWS] = np.kron(bits.reshape(2, 16), np.ones((2, 2), bool)).astype(bool)
    luma = np.where(is_high, _HIGH, _LOW)
    cells = np.stack(
        [
            luma + _RED_FACTOR * _RED * SECRET_RC,
            luma + _GREEN_FACTOR * _RED * SECRET_RC,
            luma,
        ],
        axis=-1,
    )
    small = np.rint(cells).astype(np.uint8)
    large = cv2.resize(small, (size.width, size.height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, np.uint8)


def leak(pixels_HWC: Pixels) -> float:
    """How much of a raw picture is in this one of the same shape: 1 all, 0 nothing (within about
    0.05 for what has no pattern of this size). A raw part of it counts by its area."""
    cells = _cells(pixels_HWC)
    red = (cells[..., 0] - cells @ _LUMA_OF_RGB) / _RED_FACTOR
    return _likeness(red)


def leak_of_planes(luma_HW: Pixels, cr_HW: Pixels) -> float:
    """The same of an I420 picture's planes, limited range. luma_HW is there for its shape."""
    assert luma_HW.shape[0] == 2 * cr_HW.shape[0], (luma_HW.shape, cr_HW.shape)
    return _likeness(_cells(cr_HW) * (255 / 224))


def number_of(pixels_HWC: Pixels) -> int | None:
    """The number that a picture's luma spells, or None."""
    return number_of_luma(_cells(pixels_HWC) @ _LUMA_OF_RGB)


def number_of_luma(luma: NDArray[np.float64] | Pixels) -> int | None:
    """The same of the luma alone: a whole plane, or its cells."""
    cells = luma if luma.shape == (ROWS, COLUMNS) else _cells(np.asarray(luma, np.uint8))
    blocks = np.asarray(cells[_CODE_ROWS], float).reshape(2, 2, 16, 2).mean(axis=(1, 3)).ravel()
    low, high = float(blocks.min()), float(blocks.max())
    if high - low < _LEAST_CONTRAST:
        return None
    bits = blocks > (low + high) / 2
    number = int(bits[:NUMBER_BITS] @ (1 << np.arange(NUMBER_BITS)))
    return number if np.array_equal(bits, _bits_of(number)) else None


def _bits_of(number: int) -> NDArray[np.bool_]:
    """Lowest first, then those of the checksum."""
    check = zlib.crc32(number.to_bytes(4, "big")) % (1 << CHECK_BITS)
    word = number | check << NUMBER_BITS
    return (word >> np.arange(NUMBER_BITS + CHECK_BITS) & 1).astype(bool)


def _cells(plane: Pixels) -> Cells:
    """The mean of each cell's middle, so that what edges bleed does not count."""
    fine = cv2.resize(plane, (COLUMNS * 5, ROWS * 5), interpolation=cv2.INTER_AREA)
    shape = (ROWS, 5, COLUMNS, 5, *fine.shape[2:])
    middle = np.asarray(fine, np.float64).reshape(shape)[:, 1:4, :, 1:4]
    return np.asarray(middle.mean(axis=(1, 3)))


def _likeness(red: Cells) -> float:
    return float((red * SECRET_RC).mean() / _RED)
