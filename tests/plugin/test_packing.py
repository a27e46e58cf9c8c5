"""Whatever the codec, pictures come out in the order in which they went in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from brushcast.errors import MalformedMessage
from brushcast.frame import Pixels, Size
from brushcast.h264_chain import begins_chain
from brushcast.packing import CODECS, Packer, Unpacker
from brushcast.wire.messages import Codec, Header, Kind, PixelFormat
from tests.plugin.moving import clip_pictures, psnr_db

SIZE = Size(128, 80)


def header(seq: int, codec: Codec, size: Size = SIZE) -> Header:
    return Header(
        kind=Kind.FRAME, seq=seq, width=size.width, height=size.height, stride=3 * size.width,
        pixel_format=PixelFormat.RGB8, codec=codec,
    )  # fmt: skip


@pytest.fixture
def unpacker() -> Iterator[Unpacker]:
    made = Unpacker(lambda: None)
    yield made
    made.close()
    made.close()


def wait(unpacker: Unpacker, count: int) -> list[tuple[Header, Pixels | None]]:
    taken: list[tuple[Header, Pixels | None]] = []
    ends_s = time.monotonic() + 30
    while len(taken) < count:
        assert time.monotonic() < ends_s, len(taken)
        taken += unpacker.take(time.monotonic_ns())
        time.sleep(0.002)
    return taken


def test_codecs_may_change_from_picture_to_picture(unpacker: Unpacker) -> None:
    packer = Packer()
    order = [Codec.RAW, Codec.H264, Codec.H264, Codec.JPEG, Codec.RAW, Codec.H264, Codec.JPEG]
    pictures = clip_pictures(SIZE, len(order))
    begun = []
    for seq, (codec, picture_HWC) in enumerate(zip(order, pictures, strict=True)):
        payload = packer.pack(picture_HWC, codec, quality=90, picture_bytes=4000)
        if codec is Codec.H264:
            begun.append(begins_chain(payload))
        unpacker.put(header(seq, codec), payload)
    taken = wait(unpacker, len(order))
    assert [one.seq for one, _ in taken] == list(range(len(order)))
    assert begun == [True, False, True], "after another codec a chain begins anew"
    for (one, back_HWC), picture_HWC in zip(taken, pictures, strict=True):
        assert back_HWC is not None
        assert np.array_equal(back_HWC, picture_HWC) or one.codec is not Codec.RAW
        assert psnr_db(back_HWC, picture_HWC) > 30


def test_raw_and_jpeg_need_no_process_and_no_waiting(unpacker: Unpacker) -> None:
    before = threading.active_count()
    for seq, codec in enumerate((Codec.RAW, Codec.JPEG)):
        unpacker.put(header(seq, codec), Packer().pack(clip_pictures(SIZE, 1)[0], codec))
    assert len(unpacker.take(0)) == 2
    assert unpacker.decoder is None
    assert threading.active_count() == before


def test_what_is_no_picture_is_refused_and_leaves_no_gap(unpacker: Unpacker) -> None:
    good = Packer().pack(clip_pictures(SIZE, 1)[0], Codec.JPEG)
    unpacker.put(header(1, Codec.JPEG), good)
    for codec in (Codec.RAW, Codec.JPEG, Codec.H264):
        with pytest.raises(MalformedMessage):
            unpacker.put(header(2, codec), b"\0\0\0\0 nothing")
    unpacker.put(header(3, Codec.JPEG), good)
    assert [one.seq for one, _ in unpacker.take(0)] == [1, 3]


def test_what_was_forgotten_does_not_come_out(unpacker: Unpacker) -> None:
    packer = Packer()
    for seq in range(3):
        unpacker.put(header(seq, Codec.H264), packer.pack(clip_pictures(SIZE, 3)[seq], Codec.H264))
    unpacker.forget()
    packer.restart()
    unpacker.put(header(9, Codec.H264), packer.pack(clip_pictures(SIZE, 3)[0], Codec.H264))
    ((one, back_HWC),) = wait(unpacker, 1)
    assert one.seq == 9
    assert back_HWC is not None


def test_prepared_it_has_its_process(unpacker: Unpacker) -> None:
    unpacker.prepare()
    assert unpacker.decoder is not None
    ends_s = time.monotonic() + 30
    while unpacker.decoder.pid is None and time.monotonic() < ends_s:
        time.sleep(0.01)
    assert unpacker.decoder.pid is not None


def test_the_names_are_those_of_the_codecs() -> None:
    assert {Codec[name.upper()] for name in CODECS.split()} == set(Codec) - {Codec.NONE}
