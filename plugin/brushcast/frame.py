"""Frame: one picture in host memory, and how a picture of any shape is brought to a size.

Letters: H height, W width, C channels (always 3, RGB).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.errors import ConfigError

Pixels = NDArray[np.uint8]
Fit = Literal["crop", "pad"]

MAX_SIDE_PX = 8192  # larger sides are a mistake or an attack; also v4l2loopback's own limit


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A picture's size in pixels; both sides in 2..8192 and even (every video format wants
    that)."""

    width: int
    height: int

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not 2 <= side <= MAX_SIDE_PX or side % 2:
                raise ConfigError(
                    f"{name} {side} of size {self.width}x{self.height}: "
                    f"wanted an even number from 2 to {MAX_SIDE_PX}"
                )

    @classmethod
    def parse(cls, text: str) -> Size:
        """`"512x288"` → Size(512, 288). Raises ConfigError."""
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
        if match is None:
            raise ConfigError(f"size {text!r:.80}: wanted WIDTHxHEIGHT, for example 512x288")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def area_px(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. Owned by whoever holds it; nobody writes to it again.

    pixels_HWC: [H W 3] uint8 RGB, C-contiguous, read-only.
    seq: rises by one per picture of a source, from 0.
    captured_ns: the capturing host's monotonic clock; compared on that host only.
    """

    pixels_HWC: Pixels
    seq: int
    captured_ns: int

    def __post_init__(self) -> None:
        shape, dtype = self.pixels_HWC.shape, self.pixels_HWC.dtype
        assert len(shape) == 3, shape
        assert shape[2] == 3, shape
        assert dtype == np.uint8, dtype
        assert self.pixels_HWC.flags.c_contiguous
        self.pixels_HWC.setflags(write=False)

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels_HWC.shape
        return Size(width, height)


def resize(pixels_HWC: Pixels, size: Size) -> Pixels:
    """Scale to exactly `size`: halves, then linear downwards, cubic upwards (chosen by eye: Lanczos
    rings around ink lines, linear is soft; cubic costs 2.6 ms for 512x288 → 1280x720 on two cores).

    Halves are means of 2x2 pixels. Area averaging looks the same and takes 8 ms instead of 1.2 for
    1280x720 → 512x288, 18 instead of 1.6 from 1920x1080: half a core at 30 pictures a second.
    """
    height, width, _ = pixels_HWC.shape
    if (width, height) == (size.width, size.height):
        return pixels_HWC
    while width >= 2 * size.width and height >= 2 * size.height:
        width, height = width // 2, height // 2
        pixels_HWC = _scaled(pixels_HWC, width, height, cv2.INTER_LINEAR)
    shrinking = size.area_px < width * height
    how = cv2.INTER_LINEAR if shrinking else cv2.INTER_CUBIC
    return _scaled(pixels_HWC, size.width, size.height, how)


def _scaled(pixels_HWC: Pixels, width: int, height: int, how: int) -> Pixels:
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    return np.asarray(cv2.resize(pixels_HWC, (width, height), interpolation=how), dtype=np.uint8)


def fit(pixels_HWC: Pixels, size: Size, how: Fit = "crop") -> Pixels:
    """Bring a picture of any shape to `size` without distorting it.

    `crop` fills the size and cuts what sticks out on both sides; `pad` shows everything between
    black bars. Returns a C-contiguous [H W 3] uint8 array (the input itself when nothing had to be
    done).
    """
    height, width, _ = pixels_HWC.shape
    if (width, height) == (size.width, size.height):
        return np.ascontiguousarray(pixels_HWC)
    if how == "crop":
        return np.ascontiguousarray(resize(centre_crop(pixels_HWC, size), size))
    scale = min(size.width / width, size.height / height)
    inner = Size(_even(width * scale, size.width), _even(height * scale, size.height))
    canvas = np.zeros((size.height, size.width, 3), np.uint8)
    top, left = (size.height - inner.height) // 2, (size.width - inner.width) // 2
    canvas[top : top + inner.height, left : left + inner.width] = resize(pixels_HWC, inner)
    return canvas


def centre_crop(pixels_HWC: Pixels, size: Size) -> Pixels:
    """The largest middle part with the shape of `size`, at its own scale; C-contiguous."""
    height, width, _ = pixels_HWC.shape
    wanted_width = min(width, max(1, round(height * size.width / size.height)))
    wanted_height = min(height, max(1, round(width * size.height / size.width)))
    top, left = (height - wanted_height) // 2, (width - wanted_width) // 2
    return np.ascontiguousarray(pixels_HWC[top : top + wanted_height, left : left + wanted_width])


def _even(length: float, limit: int) -> int:
    return max(2, min(limit, 2 * round(length / 2)))


def model_size(aspect: Size, area_px: int, multiple: int = 16) -> Size:
    """The size of about `area_px` pixels in multiples of `multiple` whose shape is nearest to that
    of `aspect`.

    512x288 for 16:9 and 384x384 for a square, at 147456 px.
    """
    ratio = aspect.width / aspect.height
    best: tuple[float, Size] | None = None
    for height in range(multiple, 4096, multiple):
        width = max(multiple, round(height * ratio / multiple) * multiple)
        if width > 4096:
            break
        shape_error = abs(width / height / ratio - 1)
        area_error = abs(width * height / area_px - 1)
        cost = 3 * shape_error + area_error
        if best is None or cost < best[0]:
            best = (cost, Size(width, height))
    assert best is not None
    return best[1]
