"""V4L2 requests: numbers and layouts are those of linux/videodev2.h. Devices: tests/system."""

import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from brushcast import v4l2


def test_the_request_numbers_are_the_kernels() -> None:
    assert v4l2.VIDIOC_QUERYCAP == 0x80685600
    assert v4l2.VIDIOC_G_FMT == 0xC0D05604
    assert v4l2.VIDIOC_STREAMON == 0x40045612
    assert v4l2.VIDIOC_STREAMOFF == 0x40045613


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


def test_who_has_a_device_open_is_told_by_name_and_number(tmp_path: Path) -> None:
    for pid, name, opened in (
        (40, "zoom", "/dev/video10"),
        (7, "obs", "/dev/video10"),
        (8, "bash", "/dev/tty"),
        (os.getpid(), "brushcast", "/dev/video10"),
    ):
        folder = tmp_path / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd" / "5").symlink_to(opened)
        (folder / "comm").write_text(f"{name}\n")
    (tmp_path / "99").mkdir()  # went away meanwhile
    (tmp_path / "self").mkdir()
    found = v4l2.holders("/dev/video10", tmp_path)
    assert [str(holder) for holder in found] == ["obs (process 7)", "zoom (process 40)"]


@pytest.mark.parametrize(
    ("text", "is_old"),
    [("0.12.7\n", True), ("0.13.0", False), ("0.15.0-3-gabc", False), ("new", False)],
)
def test_an_old_module_is_known(tmp_path: Path, text: str, is_old: bool) -> None:
    module = tmp_path / "v4l2loopback"
    assert not v4l2.loopback_is_old(module)  # none is loaded
    module.mkdir()
    assert v4l2.loopback_is_old(module)  # those did not say
    (module / "version").write_text(text)
    assert v4l2.loopback_is_old(module) == is_old


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe stands in for the device")
def test_a_device_is_written_when_new_pictures_come(tmp_path: Path) -> None:
    device = tmp_path / "video10"
    os.mkfifo(device)
    assert not v4l2.is_written(str(device), 0)
    handle, stop = os.open(device, os.O_RDWR | os.O_NONBLOCK), threading.Event()
    os.write(handle, b"old")
    assert not v4l2.is_written(str(device), 0.05)

    def write() -> None:
        while not stop.wait(0.005):
            os.write(handle, b"n")

    os.write(handle, b"old")
    writer = threading.Thread(target=write)
    writer.start()
    assert v4l2.is_written(str(device), 30)
    stop.set()
    writer.join()
    os.close(handle)


def test_a_revived_device_is_asked_for_its_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the kernel refuses the next writer that does not ask (FFmpeg)."""
    asked: list[str] = []
    monkeypatch.setattr(v4l2, "query", asked.append)
    v4l2.revive("/no/such/device")
    assert asked == ["/no/such/device"]
