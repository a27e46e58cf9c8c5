"""V4L2 requests: numbers and layouts are those of linux/videodev2.h. Devices: tests/system."""

import struct
import sys
from typing import Any

import pytest

from brushcast import v4l2


def test_the_request_numbers_are_the_kernels() -> None:
    assert v4l2.VIDIOC_QUERYCAP == 0x80685600
    assert v4l2.VIDIOC_G_FMT == 0xC0D05604


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel")
@pytest.mark.parametrize("path", ["/dev/null", "/no/such/device"])
def test_what_is_no_video_device_answers_nothing(path: str) -> None:
    assert v4l2.query(path) is None
    assert v4l2.read_format(path, output=True) is None


def test_an_answer_is_read_from_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(path: str, request: int, data: bytearray) -> bool:
        if request == v4l2.VIDIOC_QUERYCAP:
            struct.pack_into(
                "=16s32s32sIII", data, 0, b"v4l2 loopback", b"Brushcast", b"x", 1, 0, 0
            )
            struct.pack_into("=II", data, 84, 0x80000000 | 3, 2)
        else:
            assert struct.unpack_from("=I", data) == (2,)
            struct.pack_into("=II4s", data, 8, 1280, 720, b"YU12")
        return True

    monkeypatch.setattr(v4l2, "_ask", ask)
    device: Any = v4l2.query("/dev/video9")
    assert (device.title, device.captures, device.takes_pictures) == ("Brushcast", False, True)
    assert device.is_loopback
    assert str(v4l2.read_format("/dev/video9", output=True)) == "1280x720 YU12"
