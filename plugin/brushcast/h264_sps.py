"""What an H.264 payload says of itself before anything decodes it: its units and its size. Pure.

From ITU-T H.264 (08/2021): byte stream format (annex B), 7.3.2.1.1 (sequence parameter set), 9.1
(exp-Golomb codes). Only what our encoders make is let through: 8 bits, 4:2:0, whole frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from brushcast.errors import MalformedMessage
from brushcast.frame import Size
from brushcast.wire.messages import Payload

MAX_UNITS = 64  # of one picture; ours has four
MAX_SPS_BYTES = 512

_SLICE, _KEY_SLICE, _SEI, _SPS, _PPS, _DELIMITER, _FILLER = 1, 5, 6, 7, 8, 9, 12
_KNOWN = frozenset({_SLICE, _KEY_SLICE, _SEI, _SPS, _PPS, _DELIMITER, _FILLER})
_START = b"\0\0\1"
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_MOST_BLOCKS = 512  # of 16 pixels: 8192
_MOST_ZEROS = 20  # of one code: no field that is read needs more


def check_picture(payload: Payload, size: Size) -> bool:
    """Whether this picture is a keyframe (it then says its size and needs no other picture).

    Raises MalformedMessage: another size than `size`, units of another kind, no picture in it.
    """
    kinds = set()
    for unit in units(bytes(payload)):
        kind = unit[0] & 0x1F
        if unit[0] & 0x80 or kind not in _KNOWN:
            raise MalformedMessage(f"H.264 unit of kind {kind}: wanted slices, sets and remarks")
        if kind == _SPS and (seen := sps_size(unit)) != size:
            raise MalformedMessage(f"H.264 of {seen}, declared {size}")
        kinds.add(kind)
    if not kinds & {_SLICE, _KEY_SLICE}:
        raise MalformedMessage(f"H.264 of {len(payload)} bytes without a picture")
    if _KEY_SLICE in kinds and not kinds >= {_SPS, _PPS}:
        raise MalformedMessage("H.264 keyframe that does not say its size")
    return _KEY_SLICE in kinds


def units(stream: bytes) -> Iterator[bytes]:
    """The units of a byte stream, without their start codes; none is empty. Raises
    MalformedMessage."""
    at = stream.find(_START)
    if at < 0 or stream[:at].strip(b"\0"):
        raise MalformedMessage(f"{len(stream)} bytes that do not begin as H.264")
    count = 0
    while at >= 0:
        begin, at = at + 3, stream.find(_START, at + 3)
        unit = (stream[begin:] if at < 0 else stream[begin:at]).rstrip(b"\0")
        count += 1
        if not unit or count > MAX_UNITS:
            raise MalformedMessage(f"H.264 with an empty unit or more than {MAX_UNITS} of them")
        yield unit


def sps_size(unit: bytes) -> Size:
    """The picture's size from a sequence parameter set. Raises MalformedMessage."""
    if len(unit) > MAX_SPS_BYTES:
        raise MalformedMessage(f"H.264 parameter set of {len(unit)} bytes")
    bits = _Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
    profile = bits.take(8)
    bits.take(16)  # constraints and level
    bits.code()  # its own number
    if profile in _WITH_CHROMA:
        _check(bits.code() == 1, "4:2:0")
        _check(bits.code() == 0 and bits.code() == 0, "8 bits")
        _check(not bits.take(2), "no transform bypass and no scaling lists")
    bits.code()  # length of frame numbers
    order = bits.code()
    _check(order in (0, 2), "picture order of type 0 or 2")
    if order == 0:
        bits.code()
    _check(bits.code() <= 16, "at most 16 references")
    bits.take(1)  # gaps
    blocks_wide, blocks_high = bits.code() + 1, bits.code() + 1
    _check(max(blocks_wide, blocks_high) <= _MOST_BLOCKS, f"at most {16 * _MOST_BLOCKS} a side")
    _check(bits.take(1) == 1, "whole frames")
    bits.take(1)  # inference
    left, right, top, bottom = (bits.code() for _ in range(4)) if bits.take(1) else (0, 0, 0, 0)
    width = 16 * blocks_wide - 2 * (left + right)
    height = 16 * blocks_high - 2 * (top + bottom)
    _check(width >= 2 and height >= 2, "a picture")
    return Size(width, height)


def _check(true: bool, wanted: str) -> None:
    if not true:
        raise MalformedMessage(f"H.264 of another kind, wanted {wanted}")


class _Bits:
    """A parameter set's bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise MalformedMessage("H.264 parameter set that is cut off")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def code(self) -> int:
        """ue(v): as many ones after the zeros as there were zeros, less one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise MalformedMessage("H.264 parameter set with a number out of range")
        return (1 << zeros) - 1 + self.take(zeros)
