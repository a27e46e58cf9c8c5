"""What stands in for pyvirtualcam and for Linux in the tests of virtual cameras: it refuses and
accepts what the real ones do.
"""

import enum
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from brushcast.frame import Pixels, Size
from brushcast.v4l2 import OUTPUT, Device, Holder, PixelFormat

SIZE = Size(64, 48)
SENT_SHAPE: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "RGB": lambda width, height: (height, width, 3),
    "RGBA": lambda width, height: (height, width, 4),
    "I420": lambda width, height: (width * height * 3 // 2,),
    "NV12": lambda width, height: (width * height * 3 // 2,),
    "YUYV": lambda width, height: (width * height * 2,),
    "UYVY": lambda width, height: (width * height * 2,),
}


class PixelFormatNames(enum.Enum):
    RGB = "raw "
    RGBA = "ABGR"
    I420 = "I420"
    NV12 = "NV12"
    YUYV = "YUY2"
    UYVY = "UYVY"


class FakePyvirtualcam(ModuleType):
    """The module: `kinds` are its backends, each with what it says instead of opening, or "". A
    camera without a name that was asked for is called as on Windows and macOS.
    """

    PixelFormat = PixelFormatNames

    def __init__(self, **kinds: str) -> None:
        super().__init__("pyvirtualcam")
        self.kinds = kinds
        self.refuse: dict[str, str] = {}
        self.opened: list[tuple[str, str]] = []  # backend and format, in order
        self.sent: list[Pixels] = []
        self.closed = 0
        self.on_open: Callable[[str], None] = lambda form: None

    def Camera(
        self, width: int, height: int, fps: float, *, fmt: Any, device: str | None, backend: str
    ) -> "FakeCamera":
        reason = self.kinds[backend] or self.refuse.get(device or "", "")  # KeyError, as there
        if reason:
            raise RuntimeError(f"'{backend}' backend: {reason}")
        self.opened.append((backend, fmt.name))
        self.on_open(fmt.name)
        names = {"obs": "OBS Virtual Camera", "unitycapture": "Unity Video Capture"}
        return FakeCamera(self, device or names[backend], SENT_SHAPE[fmt.name](width, height))


class FakeCamera:
    def __init__(self, owner: FakePyvirtualcam, device: str, shape: tuple[int, ...]) -> None:
        self.owner, self.device, self.shape = owner, device, shape

    def send(self, frame: Pixels) -> None:
        assert frame.dtype == np.uint8
        assert frame.shape == self.shape
        self.owner.sent.append(frame)

    def close(self) -> None:
        self.owner.closed += 1


class FakeLinux:
    """v4l2, as far as it is used: one free device of a module that lets one writer in."""

    def __init__(self) -> None:
        free = Device("/dev/video10", "v4l2 loopback", "Brushcast", OUTPUT)
        self.there: dict[str, Device] = {free.path: free}
        self.format: PixelFormat | None = PixelFormat(SIZE.width, SIZE.height, "YU12")
        self.is_old = False
        self.others: list[Holder] = []
        self.written: set[str] = set()
        self.revived: list[str] = []
        self.revives = True

    def devices(self) -> list[Device]:
        return list(self.there.values())

    def query(self, path: str) -> Device | None:
        return self.there.get(path)

    def read_format(self, path: str, *, output: bool) -> PixelFormat | None:
        return self.format

    def loopback_is_old(self) -> bool:
        return self.is_old

    def is_written(self, path: str, patience_s: float) -> bool:
        return path in self.written

    def holders(self, path: str) -> list[Holder]:
        return self.others

    def revive(self, path: str) -> None:
        self.revived.append(path)
        if self.revives:
            self.put(path, OUTPUT)

    def put(self, path: str, capabilities: int, driver: str = "v4l2 loopback") -> None:
        self.there[path] = Device(path, driver, "Camera", capabilities)
