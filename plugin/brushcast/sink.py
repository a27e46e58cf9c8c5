"""Sink: where the finished pictures go: a virtual camera, OBS, a file, nowhere.

A sink knows nothing of rings, cards or clocks; the camera process gives each one a thread of its
own.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size, fit
from brushcast.obs_sink import ObsSink
from brushcast.recording import Recording, check_target
from brushcast.v4l2 import Device, devices, query, read_format
from brushcast.yuv import BT601, YuvConverter

SinkKind = Literal["auto", "camera", "file", "null", "obs", "preview"]

FORMAT_CHECK_TICKS = 30  # pyvirtualcam only prints failed writes: the device is asked itself
LOOPBACK_ADVICE = (
    "sudo apt install v4l2loopback-dkms && "
    "sudo modprobe v4l2loopback exclusive_caps=1 card_label=Brushcast"
)
_FOURCC = "YU12"  # V4L2's name of I420


class Sink(Protocol):
    """What every sink guarantees. One thread calls it, in the order open, write..., close.

    title: for people, without a folder.
    """

    title: str

    def open(self, size: Size, rate_fps: float, first_HWC: Pixels) -> None:
        """On return the first picture has really been written: others can connect. Raises
        SinkError; nothing is left open then.
        """
        ...

    def write(self, pixels_HWC: Pixels, tick: int) -> None:
        """Show a picture, brought to the size that was opened, now; the very same array as before
        is the same picture. tick: output periods since `open` (its
        picture was 0); it rises, and leaves out what the caller had to drop. Raises SinkError; then
        only `close` may follow.
        """
        ...

    def close(self) -> None:
        """Let go of everything. Never raises; may be called twice, and without `open`."""
        ...


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A parsed sink. target: the file's path or the camera's device; "" for any device and for the
    others.
    """

    kind: SinkKind
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}" if self.target else self.kind

    @property
    def id(self) -> str:
        """`[a-z0-9_-]{1,64}`, for the panel."""
        tail = re.sub(r"[^a-z0-9]+", "-", Path(self.target).name.lower()).strip("-")
        return f"{self.kind}-{tail}"[:64].rstrip("-") if tail else self.kind


def parse_sink(spec: str) -> SinkSpec:
    """`auto`, `camera`, `camera:DEVICE`, `file:PATH`, `null`, `obs`, `preview`. Raises SinkError,
    also for a file that can never be written (unknown ending, a folder, an unwritable folder)."""
    kind, _, target = spec.partition(":")
    if spec in ("auto", "null", "obs", "preview", "camera"):
        return SinkSpec(spec)  # type: ignore[arg-type]  # one of SinkKind, just compared
    if kind == "camera" and target:
        path = f"/dev/video{target}" if target.isdigit() else target
        return SinkSpec("camera", path if sys.platform.startswith("linux") else target)
    if kind == "file" and target:
        path = str(Path(target).expanduser())
        check_target(Path(path))
        return SinkSpec("file", path)
    raise SinkError(f"sink {spec!r}: wanted auto, camera[:DEVICE], file:PATH, null, obs or preview")


def make_sink(spec: SinkSpec, *, keep_existing: bool = False) -> Sink:
    """An unopened sink. keep_existing: a file that is there already is kept and NAME-2, NAME-3, ...
    written instead.
    """
    if spec.kind == "file":
        return FileSink(Path(spec.target), keep_existing=keep_existing)
    if spec.kind in ("camera", "auto"):
        return CameraSink(spec.target or None)
    if spec.kind == "obs":
        return ObsSink()
    return NullSink("preview in the panel" if spec.kind == "preview" else "null")


class NullSink:
    """Takes every picture and forgets it; the panel's preview reads the ring, so `preview` is this
    too.
    """

    def __init__(self, title: str = "null") -> None:
        self.title = title
        self.pictures = 0

    def open(self, size: Size, rate_fps: float, first_HWC: Pixels) -> None:
        self.pictures = 1

    def write(self, pixels_HWC: Pixels, tick: int) -> None:
        self.pictures += 1

    def close(self) -> None:
        """Nothing is held."""


class FileSink:
    """A recording in real time, playable at any moment (see `recording`)."""

    def __init__(self, path: Path, *, keep_existing: bool = False) -> None:
        self.path = path
        self.title = path.name
        self._keep_existing = keep_existing
        self._recording: Recording | None = None
        self._rate = Fraction(30)

    def open(self, size: Size, rate_fps: float, first_HWC: Pixels) -> None:
        self._rate = Fraction(rate_fps).limit_denominator(1001)
        path = free_path(self.path) if self._keep_existing else self.path
        self._keep_existing = True  # switched off and on again, it continues in another file
        self._recording = Recording(path, size, self._rate, live=True)
        self.title = path.name
        try:
            self.write(first_HWC, 0)
        except SinkError:
            self.close()
            raise

    def write(self, pixels_HWC: Pixels, tick: int) -> None:
        assert self._recording is not None, "open comes first"
        self._recording.write(pixels_HWC, tick / self._rate)

    def close(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None


def free_path(path: Path) -> Path:
    """`path`, or NAME-2, NAME-3, ... beside it when it is taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


class CameraSink:
    """A virtual camera through pyvirtualcam (GPL-2.0: imported here, in the camera process, and
    nowhere else).

    Linux: v4l2loopback; Windows: OBS or Unity Capture; macOS: OBS. On Linux the picture is sent as
    I420 in BT.601 limited range, which readers of V4L2 assume (FFmpeg, OpenCV: within 3 levels);
    elsewhere pyvirtualcam converts.
    """

    def __init__(self, device: str | None = None) -> None:
        self.title = device or "virtual camera"
        self._device = device
        self._camera: Any = None
        self._size = Size(2, 2)
        self._yuv = YuvConverter(self._size, BT601)
        self._last: tuple[Pixels, Pixels] | None = None  # as given, as sent
        self._linux = sys.platform.startswith("linux")

    def open(self, size: Size, rate_fps: float, first_HWC: Pixels) -> None:
        try:
            module: Any = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise SinkError(
                f"virtual camera: pyvirtualcam is missing ({error}); pip install pyvirtualcam"
            ) from None
        self._size = size
        self._yuv = YuvConverter(size, BT601)
        self._last = None
        tried: list[str] = []
        for device in self._candidates(tried):
            try:
                self._camera = self._opened(module, device, size, rate_fps)
                break
            except (RuntimeError, OSError, ValueError) as error:
                tried.append(f"{device or 'any device'} ({' '.join(str(error).split())})")
        if self._camera is None:
            raise SinkError(f"virtual camera: tried {'; '.join(tried)}. {_advice()}")
        self.title = str(self._camera.device)
        try:
            self._send(first_HWC)
            self._check_format()
        except SinkError:
            self.close()
            raise

    def write(self, pixels_HWC: Pixels, tick: int) -> None:
        assert self._camera is not None, "open comes first"
        self._send(pixels_HWC)
        if tick % FORMAT_CHECK_TICKS == 0:
            self._check_format()

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            try:
                camera.close()
            except (RuntimeError, OSError):
                return  # it is gone already

    def _candidates(self, tried: list[str]) -> Iterator[str | None]:
        """What to try, in order. Notes in `tried` why something was not."""
        if not self._linux:
            yield self._device
        elif self._device is not None:
            found = query(self._device)
            if found is None:
                tried.append(f"{self._device} (no such video device)")
            elif not found.is_loopback:
                tried.append(
                    f"{self._device} ({found.title}: a real camera, driver {found.driver})"
                )
            else:
                yield self._device
        else:
            loopbacks = [found for found in devices() if found.is_loopback]
            if not loopbacks:
                tried.append("v4l2loopback (there is no such device)")
            yield from (found.path for found in loopbacks if _is_free(found))
            tried += [f"{found.path} (in use)" for found in loopbacks if not _is_free(found)]

    def _opened(self, module: Any, device: str | None, size: Size, rate_fps: float) -> Any:
        form = module.PixelFormat.I420 if self._linux else module.PixelFormat.RGB
        return module.Camera(size.width, size.height, rate_fps, fmt=form, device=device)

    def _send(self, pixels_HWC: Pixels) -> None:
        if self._last is None or self._last[0] is not pixels_HWC:
            made = self._i420 if self._linux else self._rgb
            self._last = (pixels_HWC, made(pixels_HWC))
        try:
            self._camera.send(self._last[1])
        except (RuntimeError, OSError) as error:
            raise SinkError(f"virtual camera {self.title}: {error}") from None

    def _i420(self, pixels_HWC: Pixels) -> Pixels:
        """The planes Y, Cb, Cr one after the other. Chroma is the mean of four pixels: with one of
        the four for all (as OpenCV alone would) whole blocks come out more than 3 levels off.
        """
        area, width = self._size.area_px, self._size.width
        flat: Pixels = np.empty(area * 3 // 2, np.uint8)
        cb, cr = flat[area : area * 5 // 4], flat[area * 5 // 4 :]
        planes = [flat[:area].reshape(-1, width)]
        planes += [plane.reshape(-1, width // 2) for plane in (cb, cr)]
        self._yuv.convert(pixels_HWC, planes)
        return flat

    def _rgb(self, pixels_HWC: Pixels) -> Pixels:
        """Scaled up as planes, for one look everywhere: such cameras halve chroma, too."""
        height, width, _ = pixels_HWC.shape
        if height * width >= self._size.area_px:
            return fit(pixels_HWC, self._size)
        flat = self._i420(pixels_HWC).reshape(-1, self._size.width)
        return np.asarray(cv2.cvtColor(flat, cv2.COLOR_YUV2RGB_I420), np.uint8)

    def _check_format(self) -> None:
        """A device in use by a reader "accepts" another size and then shows garbage: believe only
        what it says itself.
        """
        if not self._linux:
            return
        found = read_format(self.title, output=True) or read_format(self.title, output=False)
        wanted = f"{self._size} {_FOURCC}"
        if found is None:
            raise SinkError(f"virtual camera {self.title}: the device is gone; wanted {wanted}")
        if (found.width, found.height, found.fourcc) != (
            self._size.width,
            self._size.height,
            _FOURCC,
        ):
            raise SinkError(
                f"virtual camera {self.title}: is set to {found}, wanted {wanted}; "
                "close the programs that use it, then switch it on again"
            )


def _is_free(device: Device) -> bool:
    """Free for writing: with exclusive_caps a device that has a writer only captures."""
    return device.takes_pictures


def _advice(platform: str = sys.platform) -> str:
    if platform.startswith("linux"):
        return f"To get one: {LOOPBACK_ADVICE}"
    if platform == "darwin":
        return "To get one: install OBS 30 or newer and start its virtual camera once"
    return "To get one: install OBS or Unity Capture, and stop the virtual camera of OBS itself"
