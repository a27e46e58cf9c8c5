"""The card that the OBS script shows while nothing of the product is there: the product's own, as
I420 and compressed. `python media/render_obs_card.py` writes it beside the script."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from brushcast.card import Composer
from brushcast.frame import Size
from brushcast.yuv import BT709, YuvConverter

SIZE = Size(640, 360)
TARGET = Path(__file__).parent.parent / "obs_scripts" / "brushcast_script" / "card.i420.z"


def card_i420() -> bytes:
    area, flat = SIZE.area_px, np.empty(SIZE.area_px * 3 // 2, np.uint8)
    planes = [flat[:area], flat[area : area * 5 // 4], flat[area * 5 // 4 :]]
    shaped = [planes[0].reshape(SIZE.height, -1)]
    shaped += [plane.reshape(SIZE.height // 2, -1) for plane in planes[1:]]
    YuvConverter(SIZE, BT709).convert(Composer(SIZE).card("starting"), shaped)
    return flat.tobytes()


if __name__ == "__main__":
    TARGET.write_bytes(zlib.compress(card_i420(), 9))
