"""Pictures come back; nothing is decoded that is not what the header says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brushcast.codec import decode, encode, jpeg_size
from brushcast.errors import MalformedMessage
from brushcast.frame import Pixels
from brushcast.wire.messages import Codec, Header, Kind, PixelFormat


def header(width: int, height: int, codec: Codec) -> Header:
    return Header(
        kind=Kind.FRAME,
        width=width,
        height=height,
        stride=3 * width,
        pixel_format=PixelFormat.RGB8,
        codec=codec,
    )


def gradient(width: int, height: int) -> Pixels:
    """Red to the right, green downwards, blue constant: a swap of channels or axes shows."""
    picture_HWC = np.full((height, width, 3), 40, np.uint8)
    picture_HWC[..., 0] = np.linspace(0, 250, width, dtype=np.uint8)
    picture_HWC[..., 1] = np.linspace(0, 250, height, dtype=np.uint8)[:, None]
    return picture_HWC


@given(arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9), st.just(3))))
def test_raw_pictures_come_back_exactly(picture_HWC: Pixels) -> None:
    height, width, _ = picture_HWC.shape
    payload = encode(picture_HWC, Codec.RAW)
    back_HWC = decode(header(width, height, Codec.RAW), bytes(payload))
    assert np.array_equal(back_HWC, picture_HWC)
    assert back_HWC.flags.owndata
    assert back_HWC.flags.c_contiguous
    assert back_HWC.flags.writeable


def test_a_raw_payload_is_a_view_and_works_for_read_only_and_cut_pictures() -> None:
    picture_HWC = gradient(64, 32)
    picture_HWC.setflags(write=False)
    assert np.shares_memory(np.frombuffer(encode(picture_HWC, Codec.RAW), np.uint8), picture_HWC)
    cut_HWC = picture_HWC[4:20, 8:40]
    back_HWC = decode(header(32, 16, Codec.RAW), encode(cut_HWC, Codec.RAW))
    assert np.array_equal(back_HWC, cut_HWC)


def test_jpeg_pictures_come_back_nearly() -> None:
    picture_HWC = gradient(512, 288)
    payload = bytes(encode(picture_HWC, Codec.JPEG))
    assert len(payload) < picture_HWC.nbytes / 8
    back_HWC = decode(header(512, 288, Codec.JPEG), payload)
    assert np.abs(back_HWC.astype(int) - picture_HWC).mean() < 2
    assert back_HWC.flags.owndata
    assert back_HWC.flags.c_contiguous


def test_a_higher_quality_is_nearer_and_larger() -> None:
    noisy_HWC = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    small, large = (bytes(encode(noisy_HWC, Codec.JPEG, quality)) for quality in (50, 95))
    assert len(small) < len(large)


def test_sizes_must_be_the_declared_ones() -> None:
    raw, jpeg = (bytes(encode(gradient(64, 32), codec)) for codec in (Codec.RAW, Codec.JPEG))
    with pytest.raises(MalformedMessage, match="raw picture of 64x34"):
        decode(header(64, 34, Codec.RAW), raw)
    with pytest.raises(MalformedMessage, match="JPEG of 64x32, declared 32x64"):
        decode(header(32, 64, Codec.JPEG), jpeg)
    with pytest.raises(MalformedMessage, match="no picture"):
        decode(Header(kind=Kind.PING), b"")


def test_the_size_is_compared_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded a picture of another size")

    bomb = bytes(encode(np.zeros((4000, 4000, 3), np.uint8), Codec.JPEG))
    monkeypatch.setattr(cv2, "imdecode", never)
    with pytest.raises(MalformedMessage, match="JPEG of 4000x4000, declared 64x64"):
        decode(header(64, 64, Codec.JPEG), bomb)


def test_a_second_size_inside_the_file_is_refused() -> None:
    small, large = (bytes(encode(gradient(side, side), Codec.JPEG)) for side in (16, 512))
    at = large.index(b"\xff\xc0")
    segment = large[at : at + 2 + int.from_bytes(large[at + 2 : at + 4], "big")]
    first = small.index(b"\xff\xc0")
    with pytest.raises(MalformedMessage, match="another kind"):
        jpeg_size(small[:first] + segment + small[first:])


@pytest.mark.parametrize("kind", [".png", ".webp", ".bmp"])
def test_other_formats_are_refused(kind: str) -> None:
    done, data = cv2.imencode(kind, gradient(64, 32))
    assert done
    with pytest.raises(MalformedMessage, match="no whole JPEG"):
        decode(header(64, 32, Codec.JPEG), data.tobytes())


def test_progressive_and_grey_files_are_refused() -> None:
    progressive = cv2.imencode(".jpg", gradient(64, 32), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    grey = cv2.imencode(".jpg", gradient(64, 32)[..., 0])[1]
    for data in (progressive, grey):
        with pytest.raises(MalformedMessage, match="wanted baseline with 3 channels"):
            decode(header(64, 32, Codec.JPEG), data.tobytes())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_picture(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(header(64, 32, Codec.JPEG), b"\xff\xd8" + payload + b"\xff\xd9")


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_damaged_picture_is_a_picture_of_that_size_or_malformed(
    at: int, value: int, cut: bool
) -> None:
    data = bytearray(encode(gradient(64, 32), Codec.JPEG))
    at %= len(data)
    if cut:
        del data[at : at + 20]
    else:
        data[at] = value
    try:
        back_HWC = decode(header(64, 32, Codec.JPEG), bytes(data))
    except MalformedMessage:
        return
    assert back_HWC.shape == (32, 64, 3)
