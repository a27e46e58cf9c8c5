"""How a picture becomes a payload and back: raw bytes on one machine, JPEG on a network.

`decode` trusts nothing: the sizes are compared before anything is decoded, so that a small payload
cannot unpack into a large picture. Letters: H height, W width, C channels (always 3, RGB).
"""

from __future__ import annotations

import cv2
import numpy as np

from brushcast.errors import MalformedMessage
from brushcast.frame import Pixels
from brushcast.wire.messages import Codec, Header, Payload

JPEG_QUALITY = 88  # no blocks visible around ink lines at 512x288; about 45 kB

_SOF_BASELINE = 0xC0
_ALL_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of every process
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_SOI, _SOS, _EOI = 0xD8, 0xDA, 0xD9


def encode(pixels_HWC: Pixels, codec: Codec, quality: int = JPEG_QUALITY) -> Payload:
    """The payload of a [H W 3] uint8 RGB picture.

    RAW is a view of the picture itself: it must not be written to before the payload is sent.
    """
    assert pixels_HWC.shape[2:] == (3,), pixels_HWC.shape
    assert pixels_HWC.dtype == np.uint8, pixels_HWC.dtype
    if codec is Codec.RAW:
        return np.ascontiguousarray(pixels_HWC).data.cast("B")
    assert codec is Codec.JPEG, codec
    bgr_HWC = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return jpeg.data.cast("B")


def decode(header: Header, payload: Payload) -> Pixels:
    """The picture of a FRAME or RESULT: [H W 3] uint8 RGB, contiguous, owned, of the header's size.

    Raises MalformedMessage when the payload is anything else.
    """
    width, height = header.width, header.height
    if header.codec is Codec.RAW:
        wanted_bytes = 3 * width * height
        if len(payload) != wanted_bytes or not wanted_bytes:
            raise MalformedMessage(
                f"raw picture of {width}x{height} in {len(payload)} bytes, wanted {wanted_bytes}"
            )
        return np.frombuffer(payload, np.uint8).reshape(height, width, 3).copy()
    if header.codec is not Codec.JPEG:
        raise MalformedMessage(f"{header.kind.name} with codec {header.codec.name}: no picture")
    if jpeg_size(payload) != (width, height):
        seen = "x".join(map(str, jpeg_size(payload)))
        raise MalformedMessage(f"JPEG of {seen}, declared {width}x{height}")
    data = np.frombuffer(payload, np.uint8)
    try:
        bgr_HWC = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MalformedMessage(f"JPEG that cannot be decoded: {error.err!r:.200}") from None
    if bgr_HWC is None or bgr_HWC.shape != (height, width, 3) or bgr_HWC.dtype != np.uint8:
        raise MalformedMessage(f"JPEG of {len(payload)} bytes that cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr_HWC, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def jpeg_size(payload: Payload) -> tuple[int, int]:
    """(width, height) from a baseline three-channel JPEG's own header. Raises MalformedMessage.

    Only what `encode` makes is accepted: progressive files can cost seconds per kilobyte.
    """
    data = bytes(payload[-2:])
    if len(payload) < 4 or bytes(payload[:2]) != b"\xff\xd8" or data != b"\xff\xd9":
        raise MalformedMessage(f"{len(payload)} bytes that are no whole JPEG")
    at, found = 2, None
    while at + 4 <= len(payload) and payload[at] == 0xFF:
        marker = payload[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _ALONE or marker in (_SOI, _EOI):
            break
        length = payload[at + 2] << 8 | payload[at + 3]
        if length < 2 or at + 2 + length > len(payload):
            break
        if marker == _SOS:
            if found is None:
                break
            return found
        if marker in _ALL_SOF:
            segment = bytes(payload[at + 4 : at + 2 + length])
            if marker != _SOF_BASELINE or found or len(segment) < 6 or segment[5] != 3:
                raise MalformedMessage("JPEG of another kind, wanted baseline with 3 channels")
            found = (segment[3] << 8 | segment[4], segment[1] << 8 | segment[2])
        at += 2 + length
    raise MalformedMessage(f"JPEG whose header ends wrongly at byte {at}")
