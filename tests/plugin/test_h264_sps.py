"""What a payload says of itself is read before anything decodes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import MalformedMessage
from brushcast.frame import Size
from brushcast.h264 import Encoder
from brushcast.h264_chain import NUMBER
from brushcast.h264_sps import MAX_UNITS, check_picture, sps_size, units
from tests.plugin.moving import clip_pictures

SMALL = Size(128, 80)


def streams(size: Size = SMALL, count: int = 2) -> list[bytes]:
    encoder = Encoder()
    return [bytes(encoder.encode(one, 2000))[NUMBER.size :] for one in clip_pictures(size, count)]


def sps_of(stream: bytes) -> bytes:
    return next(unit for unit in units(stream) if unit[0] & 0x1F == 7)


class Writer:
    """Bits, most significant first."""

    def __init__(self) -> None:
        self.bits = ""

    def put(self, value: int, count: int) -> Writer:
        self.bits += f"{value:0{count}b}"
        return self

    def code(self, value: int) -> Writer:
        digits = f"{value + 1:b}"
        self.bits += "0" * (len(digits) - 1) + digits
        return self

    def unit(self, head: int = 0x67) -> bytes:
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8)
        return bytes([head]) + raw.replace(b"\0\0\0", b"\0\0\3\0")


def sps(blocks_wide: int, blocks_high: int, **changes: int) -> bytes:
    """A parameter set of the high profile with so many blocks of 16 pixels."""
    field = {"chroma": 1, "depth": 0, "scaling": 0, "order": 2, "references": 1, "frames": 1}
    field |= changes
    bits = Writer().put(100, 8).put(0, 8).put(31, 8).code(0)
    bits.code(field["chroma"]).code(field["depth"]).code(field["depth"]).put(0, 1)
    bits.put(field["scaling"], 1).code(0).code(field["order"])
    bits.code(field["references"]).put(0, 1).code(blocks_wide - 1).code(blocks_high - 1)
    bits.put(field["frames"], 1).put(1, 1)
    crop = [field.get(side, 0) for side in ("left", "right", "top", "bottom")]
    bits.put(int(any(crop)), 1)
    for amount in crop if any(crop) else ():
        bits.code(amount)
    return bits.put(0, 1).unit()


def as_stream(*parts: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + part for part in parts)


@pytest.mark.parametrize("text", ["128x80", "512x288", "320x180", "2x2", "130x82", "1024x576"])
def test_the_encoders_own_size_is_read(text: str) -> None:
    size = Size.parse(text)
    first, second = streams(size)
    assert sps_size(sps_of(first)) == size
    assert check_picture(first, size) is True
    assert check_picture(second, size) is False


@given(st.integers(1, 512), st.integers(1, 512), st.integers(0, 7), st.integers(0, 7))
def test_any_size_is_read(wide: int, high: int, right: int, bottom: int) -> None:
    unit = sps(wide, high, right=right, bottom=bottom)
    assert sps_size(unit) == Size(16 * wide - 2 * right, 16 * high - 2 * bottom)


def test_a_large_picture_in_a_small_payload_is_refused() -> None:
    first = streams()[0]
    bomb = first.replace(sps_of(first), sps(480, 270))
    assert len(bomb) < 20_000
    with pytest.raises(MalformedMessage, match="H.264 of 7680x4320, declared 128x80"):
        check_picture(bomb, SMALL)
    with pytest.raises(MalformedMessage, match="at most 8192 a side"):
        sps_size(sps(513, 1))


def test_a_second_size_behind_the_first_is_found() -> None:
    first = streams()[0]
    with pytest.raises(MalformedMessage, match="H.264 of 1280x720"):
        check_picture(first + as_stream(sps(80, 45)), SMALL)
    with pytest.raises(MalformedMessage, match="H.264 of 1280x720"):
        check_picture(streams()[1] + as_stream(sps(80, 45)), SMALL)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"chroma": 3}, "4:2:0"),
        ({"chroma": 0}, "4:2:0"),
        ({"depth": 2}, "8 bits"),
        ({"scaling": 1}, "no scaling lists|scaling"),
        ({"order": 1}, "picture order"),
        ({"references": 17}, "at most 16 references"),
        ({"frames": 0}, "whole frames"),
        ({"right": 64}, "a picture"),
    ],
)
def test_what_our_encoders_do_not_make_is_refused(changes: dict[str, int], wanted: str) -> None:
    with pytest.raises(MalformedMessage, match=wanted):
        sps_size(sps(8, 5, **changes))


def test_other_units_and_keyframes_without_a_size_are_refused() -> None:
    first, second = streams()
    with pytest.raises(MalformedMessage, match="unit of kind 20"):
        check_picture(first + as_stream(b"\x74abc"), SMALL)
    with pytest.raises(MalformedMessage, match="without a picture"):
        check_picture(as_stream(sps(8, 5)), SMALL)
    key = next(unit for unit in units(first) if unit[0] & 0x1F == 5)
    with pytest.raises(MalformedMessage, match="does not say its size"):
        check_picture(as_stream(key), SMALL)
    with pytest.raises(MalformedMessage, match="more than"):
        check_picture(as_stream(*[b"\x06remark"] * (MAX_UNITS + 1)), SMALL)
    with pytest.raises(MalformedMessage, match="do not begin"):
        check_picture(b"x" + second, SMALL)
    with pytest.raises(MalformedMessage, match="parameter set of"):
        sps_size(b"\x67" + b"x" * 600)


def test_a_million_start_codes_cost_nothing() -> None:
    with pytest.raises(MalformedMessage):
        check_picture(b"\0\0\1" * 1_000_000, SMALL)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed_and_nothing_else(rest: bytes) -> None:
    for stream in (rest, b"\0\0\1" + rest, b"\0\0\1\x67" + rest):
        try:
            check_picture(stream, SMALL)
        except MalformedMessage:
            pass


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_a_damaged_parameter_set_is_the_declared_size_or_malformed(at: int, new: bytes) -> None:
    unit = bytearray(sps(8, 5))
    at = 1 + at % (len(unit) - 1)
    unit[at : at + len(new)] = new
    try:
        size = sps_size(bytes(unit))
    except MalformedMessage:
        return
    assert size.width <= 8192
    assert size.height <= 8192
