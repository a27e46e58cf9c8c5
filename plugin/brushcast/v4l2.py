"""V4L2: what Linux says about a video device, asked with ioctl. Elsewhere every question is
answered with None.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Through importlib: not on Windows; and elsewhere there are no such devices to ask.
fcntl: Any = importlib.import_module("fcntl") if sys.platform.startswith("linux") else None

CAPTURE = 0x00000001
OUTPUT = 0x00000002
LOOPBACK_DRIVER = "v4l2 loopback"
# From this version on v4l2loopback lets one writer in and takes the next one when it has gone.
MENDED_LOOPBACK = (0, 13)

_DEVICE_CAPS = 0x80000000
_QUERYCAP = struct.Struct("=16s32s32sIII12x")  # struct v4l2_capability
# struct v4l2_format with v4l2_pix_format: type, (64-bit padding), width, height, fourcc, field,
# bytesperline, sizeimage
_FORMAT_BYTES = 208
_FORMAT = struct.Struct("=I4xII4sIIIII")
_BUF_TYPE_CAPTURE, _BUF_TYPE_OUTPUT = 1, 2
_BUF_TYPE = struct.Struct("=I")
_POLL_S = 0.02


_IN, _OUT, _BOTH = 1, 2, 3  # to the kernel, from it


def _request(direction: int, number: int, length_bytes: int) -> int:
    """_IOW('V', ...), _IOR('V', ...) and _IOWR('V', ...) of linux/ioctl.h."""
    return direction << 30 | length_bytes << 16 | ord("V") << 8 | number


VIDIOC_QUERYCAP = _request(_OUT, 0, _QUERYCAP.size)
VIDIOC_G_FMT = _request(_BOTH, 4, _FORMAT_BYTES)
VIDIOC_STREAMON = _request(_IN, 18, _BUF_TYPE.size)
VIDIOC_STREAMOFF = _request(_IN, 19, _BUF_TYPE.size)


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


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a device open. name: as `ps` shows it."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


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


def holders(path: str, processes: Path = Path("/proc")) -> list[Holder]:
    """The other processes that have the device open, by number; those of other users only when this
    one may look into them. processes: where the system keeps them.
    """
    found = []
    for folder in processes.glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            opened = {os.readlink(link) for link in (folder / "fd").iterdir()}
            name = (folder / "comm").read_text(errors="replace").strip()
        except OSError:
            continue  # another user's, or gone meanwhile
        if path in opened:
            found.append(Holder(int(folder.name), name))
    return sorted(found, key=lambda holder: holder.pid)


def loopback_is_old(module: Path = Path("/sys/module/v4l2loopback")) -> bool:
    """Whether the loaded v4l2loopback is of before MENDED_LOOPBACK; those before 0.13 did not say
    which they are (Debian 12 has 0.12.7). False when none is loaded.
    """
    try:
        text = (module / "version").read_text()
    except OSError:
        return module.is_dir()
    found = re.match(r"(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) < MENDED_LOOPBACK


def is_written(path: str, patience_s: float) -> bool:
    """Whether new pictures come out of a v4l2loopback device: some program writes to it. Waits for
    one as long as `patience_s`. Only for what `loopback_is_old`: later ones say so themselves
    (busy), and let one program read.
    """
    with _opened(path) as handle:
        if handle is None or not _read(handle):
            return False  # nobody writes, and nobody has since the last one closed it
        while _read(handle):
            pass  # those that were there already
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if _read(handle):
                return True
            time.sleep(_POLL_S)
        return False


def revive(path: str) -> None:
    """Make a v4l2loopback device before MENDED_LOOPBACK take pictures again.

    With exclusive_caps it can otherwise be written once only: it stops to announce that it takes
    pictures with the first that is written, and announces it again when a handle is closed that
    had said that it streams; writers by write(2) never say so. So a handle says it here.
    """
    with _opened(path) as handle:
        if handle is not None:
            for request in (VIDIOC_STREAMON, VIDIOC_STREAMOFF):
                with contextlib.suppress(OSError):  # it has no buffers yet, and has noted it
                    fcntl.ioctl(handle, request, _BUF_TYPE.pack(_BUF_TYPE_OUTPUT))
    query(path)  # the kernel goes by what it answered last, also to those who do not ask


def _read(handle: int) -> bool:
    """Whether there was another picture; one byte of it is read."""
    try:
        return bool(os.read(handle, 1))
    except OSError:
        return False


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
