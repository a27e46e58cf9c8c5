"""V4L2: what Linux says about a video device, asked with ioctl. Elsewhere every question is
answered with None.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Through importlib: not on Windows; and elsewhere there are no such devices to ask.
fcntl: Any = importlib.import_module("fcntl") if sys.platform.startswith("linux") else None

CAPTURE = 0x00000001
OUTPUT = 0x00000002
LOOPBACK_DRIVER = "v4l2 loopback"

_DEVICE_CAPS = 0x80000000
_QUERYCAP = struct.Struct("=16s32s32sIII12x")  # struct v4l2_capability
# struct v4l2_format with v4l2_pix_format: type, (64-bit padding), width, height, fourcc, field,
# bytesperline, sizeimage
_FORMAT_BYTES = 208
_FORMAT = struct.Struct("=I4xII4sIIIII")
_BUF_TYPE_CAPTURE, _BUF_TYPE_OUTPUT = 1, 2


def _request(number: int, length_bytes: int, *, writes: bool) -> int:
    """_IOR('V', ...) and _IOWR('V', ...) of linux/ioctl.h."""
    direction = 3 if writes else 2
    return direction << 30 | length_bytes << 16 | ord("V") << 8 | number


VIDIOC_QUERYCAP = _request(0, _QUERYCAP.size, writes=False)
VIDIOC_G_FMT = _request(4, _FORMAT_BYTES, writes=True)


@dataclass(frozen=True, slots=True)
class Device:
    """path: /dev/videoN. title: the name that people see. capabilities: V4L2_CAP_* of this node."""

    path: str
    driver: str
    title: str
    capabilities: int

    @property
    def captures(self) -> bool:
        """It gives pictures: a webcam, or a virtual camera with a writer."""
        return bool(self.capabilities & CAPTURE)

    @property
    def takes_pictures(self) -> bool:
        return bool(self.capabilities & OUTPUT)

    @property
    def is_loopback(self) -> bool:
        return self.driver == LOOPBACK_DRIVER


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The format that is set on a device. fourcc: four letters, for example YUYV or YU12."""

    width: int
    height: int
    fourcc: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.fourcc}"


def devices() -> list[Device]:
    """All /dev/videoN that can be asked, by number."""
    if fcntl is None:
        return []
    paths = [path for path in Path("/dev").glob("video*") if path.name[5:].isdigit()]
    paths.sort(key=lambda path: int(path.name[5:]))
    found = [device for path in paths if (device := query(str(path))) is not None]
    return found


def query(path: str) -> Device | None:
    """None when it does not exist, is no video device or may not be opened."""
    data = bytearray(_QUERYCAP.size)
    if not _ask(path, VIDIOC_QUERYCAP, data):
        return None
    driver, card, _, _, capabilities, device_capabilities = _QUERYCAP.unpack(data)
    if capabilities & _DEVICE_CAPS:
        capabilities = device_capabilities
    return Device(path, _text(driver), _text(card), capabilities)


def read_format(path: str, *, output: bool) -> PixelFormat | None:
    """The format that is set for capture or for output. None when the device has none or cannot be
    asked.
    """
    data = bytearray(_FORMAT_BYTES)
    struct.pack_into("=I", data, 0, _BUF_TYPE_OUTPUT if output else _BUF_TYPE_CAPTURE)
    if not _ask(path, VIDIOC_G_FMT, data):
        return None
    _, width, height, fourcc, *_ = _FORMAT.unpack_from(data)
    return PixelFormat(width, height, fourcc.decode("latin-1").strip("\0 "))


def _ask(path: str, request: int, data: bytearray) -> bool:
    if fcntl is None:
        return False
    with _opened(path) as handle:
        if handle is None:
            return False
        try:
            fcntl.ioctl(handle, request, data, True)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int | None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
