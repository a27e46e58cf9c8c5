"""What an H.264 payload of ours is, and what it takes. Pure, without PyAV.

A byte stream (ITU-T H.264, annex B) with four bytes before it: the picture's number since the last
keyframe, which has 0. A receiver that finds a number missing knows that it cannot decode what
follows.
"""

from __future__ import annotations

import struct

from brushcast.frame import Size
from brushcast.wire.messages import Payload

NUMBER = struct.Struct("!I")
MOST_BITS_A_PIXEL = 0.35  # 6.4 kB a picture of 512x288: 39.4 dB on the bundled clip, no more beyond
LEAST_BITS_A_PIXEL = 0.06  # 1.1 kB: 36 dB there; below, faces smear
LEAST_BYTES = 400  # below, flat surfaces come out in another grey


def bytes_a_picture(size: Size, bits_a_pixel: float) -> int:
    """What a picture of that size takes at so many bits a pixel."""
    return max(LEAST_BYTES, round(size.area_px * bits_a_pixel / 8))


def begins_chain(payload: Payload) -> bool:
    """Whether this picture needs none before it."""
    return bytes(payload[: NUMBER.size]) == NUMBER.pack(0)
