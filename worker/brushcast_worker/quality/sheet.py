"""Contact sheets: what the figures were measured on, for eyes.

Letters: C channels (RGB), H W size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from brushcast.errors import ConfigError
from brushcast.frame import Pixels, Size, fit

COLUMN_PX = 320
HEAD_PX = 28  # room for the column's name
JPEG_QUALITY = 90
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_sheet(rows: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    """A row for each look, a column for each kind of picture (``[3 H W]`` in [-1, 1]). Raises
    ConfigError when it cannot be written.
    """
    columns = list(next(iter(rows.values())))
    lines = [_head(columns)]
    for look, pictures in rows.items():
        cells = [_cell(pictures[name]) for name in columns]
        _label(cells[0], look, 22)
        lines.append(np.concatenate(cells, 1))
    write_picture(np.concatenate(lines), path)


def write_picture(pixels_HWC: Pixels, path: Path) -> None:
    """As JPEG."""
    bgr = np.ascontiguousarray(pixels_HWC[..., ::-1])
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _cell(picture_CHW: Tensor) -> Pixels:
    scaled = ((picture_CHW.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    pixels = np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
    height, width, _ = pixels.shape
    return fit(pixels, Size(COLUMN_PX, round(COLUMN_PX * height / width / 2) * 2)).copy()


def _head(columns: Sequence[str]) -> Pixels:
    head = np.full((HEAD_PX, COLUMN_PX * len(columns), 3), 245, np.uint8)
    for number, name in enumerate(columns):
        _write(head, name, (number * COLUMN_PX + 8, HEAD_PX - 9), (20, 20, 20))
    return head


def _label(cell: Pixels, text: str, down: int) -> None:
    (width, _), _ = cv2.getTextSize(text, FONT, 0.5, 1)
    cv2.rectangle(cell, (0, 0), (width + 16, down + 8), (20, 20, 20), -1)
    _write(cell, text, (8, down), (245, 245, 245))


def _write(picture: Pixels, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, at, FONT, 0.5, colour, 1, cv2.LINE_AA)
