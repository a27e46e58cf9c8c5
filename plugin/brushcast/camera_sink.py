"""CameraSink: a virtual camera that other programs take for a webcam.

pyvirtualcam (GPL-2.0) is imported here, in the camera process, and nowhere else. It knows one kind
of virtual camera on each system, on Windows two; they are tried in the order of BACKENDS.

Colours. All of these cameras but Unity Capture hold YUV, and none says in which matrix, so it is
what readers take for granted that counts:

- v4l2loopback: BT.601, limited range, at every size. The module announces sRGB without an encoding,
  which the V4L2 specification reads as BT.601 (`v4l2-ctl` prints "maps to ITU-R 601"), as the USB
  video class does for a webcam that says nothing. FFmpeg and OpenCV do so too, and so does Chromium
  (its V4L2 capture gives pictures no colour space, its painting takes BT.601 for those): measured
  at 640x480 and at 1280x720 in tests/system/vcam, within 3 levels. BT.709 would be up to 30 off.
  The exception is OBS as a reader, which takes BT.709 for what says nothing (obs-studio pull
  request 3415): use Brushcast's own source in OBS.
- OBS's camera on Windows and macOS: BT.709, limited range: what OBS itself sends through the same
  camera since that pull request. pyvirtualcam would convert RGB with BT.601, so it is given planes.
  Readers differ there (webrtc/samples issue 1587: Edge takes BT.709, Chrome BT.601), with OBS's own
  pictures as with ours. Not measured: there was no such machine.
- Unity Capture: RGBA, no matrix at all.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from brushcast import v4l2
from brushcast.badge import Corner
from brushcast.camera_setup import LOAD, RELOAD
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size, fit
from brushcast.v4l2 import Device, PixelFormat
from brushcast.yuv import BT601, BT709, Layout, Matrix, YuvPacker

log = logging.getLogger(__name__)

FORMAT_CHECK_TICKS = 30  # pyvirtualcam only prints failed writes: the device is asked itself
OTHER_WRITER_S = 0.5  # who writes less often than that is taken for gone
INSTALL_PYVIRTUALCAM = "pip install pyvirtualcam"
RELOAD_LOOPBACK = f"close what uses it, then {RELOAD}"
_PREFERRED = "YU12"
_LAYOUTS: dict[str, Layout] = {"YU12": "I420", "NV12": "NV12", "YUYV": "YUYV", "UYVY": "UYVY"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A kind of virtual camera. name: pyvirtualcam's. matrix: of its pictures, None for RGBA.
    install: what a user does to get one.
    """

    name: str
    platform: str
    title: str
    matrix: Matrix | None
    install: str


BACKENDS = (
    Backend(
        name="v4l2loopback",
        platform="linux",
        title="v4l2loopback",
        matrix=BT601,
        install=f"sudo apt install v4l2loopback-dkms && {LOAD}",
    ),
    Backend(
        name="obs",
        platform="win32",
        title="OBS Virtual Camera",
        matrix=BT709,
        install="install OBS 26 or newer (obsproject.com); it takes one program at a time, so stop "
        "OBS's own virtual camera",
    ),
    Backend(
        name="unitycapture",
        platform="win32",
        title="Unity Video Capture",
        matrix=None,
        install="download github.com/schellingb/UnityCapture and run its Install.bat",
    ),
    Backend(
        name="obs",
        platform="darwin",
        title="OBS Virtual Camera",
        matrix=BT709,
        install="install OBS 30 or newer (obsproject.com) on macOS 13 or newer, start its virtual "
        "camera once, allow it in System Settings and stop it again: it takes one program at a "
        "time",
    ),
)


def backends_of(platform: str) -> list[Backend]:
    """Those of a system (as sys.platform names it), in the order in which they are tried."""
    return [backend for backend in BACKENDS if platform.startswith(backend.platform)]


class CameraSink:
    """A virtual camera, whichever is there. Pictures are never mirrored: apps mirror their own
    preview.

    device: a device's path (Linux) or the camera's name as apps show it; None for any. platform: as
    in sys.platform.
    """

    def __init__(self, device: str | None = None, *, platform: str = sys.platform) -> None:
        self.title = device or "virtual camera"
        self._device = device
        self._platform = platform
        self._camera: Any = None
        self._packer: YuvPacker | None = None  # None: RGBA
        self._wanted: PixelFormat | None = None  # of a V4L2 device
        self._size = Size(2, 2)
        self._last: tuple[Pixels, Corner | None, Pixels] | None = None  # as given, as sent

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        """As promised by `Sink`. The error names every camera that was tried, what it said, and how
        each kind is installed.
        """
        kinds = backends_of(self._platform)
        if not kinds:
            raise SinkError(f"virtual camera: none is known for {self._platform}")
        how_to = "; ".join(f"{kind.title}: {kind.install}" for kind in kinds)
        try:
            import pyvirtualcam
        except (ImportError, OSError) as error:
            raise SinkError(
                f"virtual camera: pyvirtualcam is missing ({_line(error)}): {INSTALL_PYVIRTUALCAM}."
                f" It needs one of these, too: {how_to}"
            ) from None
        self._size = size
        tried: list[str] = []
        for kind in kinds:
            for device in self._candidates(kind, tried):
                on_linux = kind.name == "v4l2loopback"
                name = device if on_linux else kind.title
                try:
                    self._begin(pyvirtualcam, kind, device, rate_fps)
                    self._first(first_HWC, badge)
                except SinkError as error:
                    self.close()
                    tried.append(f"{name} ({error})")
                else:
                    return
        raise SinkError(f"virtual camera: tried {'; '.join(tried)}. To get one: {how_to}")

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        assert self._camera is not None, "open comes first"
        try:
            self._send(pixels_HWC, badge)
            if tick % FORMAT_CHECK_TICKS == 0 and self._wanted is not None:
                self._check_format(self.title, self._wanted)
        except SinkError as error:
            raise SinkError(f"virtual camera {self.title}: {error}") from None

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is None:
            return
        try:
            camera.close()
        except (RuntimeError, OSError):
            return  # it is gone already
        if self._wanted is not None:
            found = v4l2.query(self.title)
            if found is not None and not found.takes_pictures and v4l2.loopback_is_old():
                v4l2.revive(self.title)

    def _candidates(self, kind: Backend, tried: list[str]) -> Iterator[str | None]:
        """Devices of a kind to try, in order. Notes in `tried` why another one was not."""
        if kind.name != "v4l2loopback":
            yield self._device
            return
        if self._device is not None:
            found = v4l2.query(self._device)
            among = [found] if found is not None else []
            if found is None:
                tried.append(f"{self._device} ({_why_no_device(self._device)})")
        else:
            among = [found for found in v4l2.devices() if found.is_loopback]
            if not among:
                tried.append(f"{kind.title} (there is no such device)")
        for found in among:
            if reason := _why_not(found):
                tried.append(f"{found.path} ({reason})")
            else:
                yield found.path

    def _begin(self, module: Any, kind: Backend, device: str | None, rate_fps: float) -> None:
        """Open one. Raises SinkError with the bare reason."""
        self._last = None
        if kind.name != "v4l2loopback":
            self._wanted = None
            self._packer = None
            if kind.matrix is not None:
                self._packer = YuvPacker(self._size, kind.matrix, "I420")
            form = "RGBA" if kind.matrix is None else "I420"
            self._camera = self._opened(module, kind, device, form, rate_fps)
            self.title = str(self._camera.device)
        else:
            assert device is not None, "v4l2loopback is opened by its path"
            self._begin_v4l2(module, kind, device, rate_fps)

    def _first(self, pixels_HWC: Pixels, badge: Corner | None) -> None:
        self._send(pixels_HWC, badge)
        if self._wanted is not None:
            self._check_format(self.title, self._wanted)
            _warn_of_shared_capabilities(self.title)

    def _begin_v4l2(self, module: Any, kind: Backend, device: str, rate_fps: float) -> None:
        """Open it in the layout that it has to have: a device that somebody reads keeps the format
        of its last writer, and "accepts" every other one.
        """
        wanted = PixelFormat(self._size.width, self._size.height, _PREFERRED)
        self._open_v4l2(module, kind, device, wanted, rate_fps)
        held = _format_of(device)
        if held is not None and held != wanted and held.fourcc in _LAYOUTS:
            if (held.width, held.height) == (wanted.width, wanted.height):
                self.close()
                wanted = held
                self._open_v4l2(module, kind, device, wanted, rate_fps)
        self._check_format(device, wanted)  # before a picture is garbled, not after

    def _open_v4l2(
        self, module: Any, kind: Backend, device: str, wanted: PixelFormat, rate_fps: float
    ) -> None:
        layout = _LAYOUTS[wanted.fourcc]
        assert kind.matrix is not None
        self._packer = YuvPacker(self._size, kind.matrix, layout)
        self._wanted, self.title = wanted, device
        self._camera = self._opened(module, kind, device, layout, rate_fps)

    def _opened(
        self, module: Any, kind: Backend, device: str | None, form: str, rate_fps: float
    ) -> Any:
        try:
            return module.Camera(
                self._size.width,
                self._size.height,
                rate_fps,
                fmt=module.PixelFormat[form],
                device=device,
                backend=kind.name,
            )
        except KeyError:
            raise SinkError("this pyvirtualcam does not know it: update it") from None
        except (RuntimeError, OSError, ValueError) as error:
            reason = _line(error).removeprefix(f"'{kind.name}' backend: ")
            in_use = "busy" in reason or "in use" in reason
            raise SinkError(_in_use(device, reason) if in_use and device else reason) from None

    def _send(self, pixels_HWC: Pixels, badge: Corner | None) -> None:
        if self._last is None or self._last[0] is not pixels_HWC or self._last[1] != badge:
            self._last = (pixels_HWC, badge, self._packed(pixels_HWC, badge))
        try:
            self._camera.send(self._last[2])
        except (RuntimeError, OSError) as error:
            raise SinkError(_line(error)) from None

    def _packed(self, pixels_HWC: Pixels, badge: Corner | None) -> Pixels:
        if self._packer is not None:
            return self._packer.pack(pixels_HWC, badge)
        height, width = self._size.height, self._size.width
        opaque_HWC: Pixels = np.full((height, width, 4), 255, np.uint8)
        if badge is None and pixels_HWC.shape[0] * pixels_HWC.shape[1] >= self._size.area_px:
            opaque_HWC[:, :, :3] = fit(pixels_HWC, self._size)
        else:  # scaled up, and given its badge, as planes, for one look everywhere
            planes = YuvPacker(self._size, BT601, "I420").pack(pixels_HWC, badge)
            cv2.cvtColor(planes.reshape(-1, width), cv2.COLOR_YUV2RGBA_I420, dst=opaque_HWC)
        return opaque_HWC

    def _check_format(self, device: str, wanted: PixelFormat) -> None:
        """Believe only what the device itself says. Raises SinkError."""
        found = _format_of(device)
        if found is None:
            if self._camera is not None and os.path.exists(device) and v4l2.query(device) is None:
                return  # as many have it open as may (max_openers): it cannot be asked now
            raise SinkError(f"the device is gone; wanted {wanted}")
        if found == wanted:
            return
        readers = v4l2.holders(device)
        if readers:
            who = ", ".join(str(reader) for reader in readers)
            advice = f"it stays so while a program has it open: close {who}, then switch it on"
        else:
            advice = f"the module's max_width or max_height may be less: {RELOAD_LOOPBACK}"
        raise SinkError(f"is set to {found}, wanted {wanted}; {advice}")


def _why_no_device(path: str) -> str:
    if not os.path.exists(path):
        return "there is no such device"
    if not os.access(path, os.R_OK | os.W_OK):
        return "no permission: sudo usermod -aG video $USER, then log out and in again"
    return "no video device, or as many programs have it open as may"


def _why_not(found: Device) -> str:
    """Why a device cannot be written to; "" when it can."""
    if not found.is_loopback:
        return f"{found.title}: a real camera, driver {found.driver}"
    if v4l2.loopback_is_old():
        if found.captures and v4l2.is_written(found.path, OTHER_WRITER_S):
            return _in_use(found.path, "another program writes to it")
        if not found.takes_pictures:
            v4l2.revive(found.path)
            again = v4l2.query(found.path)
            if again is None or not again.takes_pictures:
                return f"it takes pictures no more until it is loaded anew: {RELOAD_LOOPBACK}"
    elif not found.takes_pictures:
        return _in_use(found.path, "another program writes to it")
    return ""


def _in_use(device: str, reason: str) -> str:
    """A virtual camera takes pictures of one program at a time: say of whom."""
    who = ", ".join(str(holder) for holder in v4l2.holders(device)) or "a process not visible here"
    return f"in use, {reason}; only one program at a time can; it is open in {who}"


def _format_of(device: str) -> PixelFormat | None:
    return v4l2.read_format(device, output=True) or v4l2.read_format(device, output=False)


def _warn_of_shared_capabilities(device: str) -> None:
    found = v4l2.query(device)
    if found is not None and found.captures and found.takes_pictures:
        log.warning(
            "%s was loaded without exclusive_caps=1: browsers (Meet, Discord, Teams) do not list "
            "it; %s",
            device,
            RELOAD_LOOPBACK,
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
