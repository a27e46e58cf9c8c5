"""Webcam: a camera through FFmpeg's V4L2, DirectShow or AVFoundation input.

Only V4L2 could be run where this was written (the kernel's test webcam); the other two follow
FFmpeg's documentation.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Generator

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from brushcast.clip import rgb_of
from brushcast.errors import SourceError
from brushcast.frame import Frame, Size
from brushcast.v4l2 import devices, query

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
OPEN_S = 5.0
STAMP_AGE_NS = 500_000_000  # a driver's time stamp is believed when it is that fresh
GOOD_RATE = 0.8  # of the wanted rate


def camera_candidates(platform: str = sys.platform) -> list[str]:
    """Cameras to try, best first. A virtual camera may be our own output and is never among
    them.
    """
    if platform.startswith("linux"):
        return [found.path for found in devices() if found.captures and not found.is_loopback]
    return ["0", "1"]


class CameraSource:
    """A webcam through FFmpeg: V4L2, DirectShow or AVFoundation. Size and rate are what the camera
    agreed to.
    """

    def __init__(self, which: str, wanted_size: Size, rate_fps: float) -> None:
        """which: a number, or a device's path (Linux) or name. Raises SourceError."""
        self._which = which
        file, format_name, title = camera_address(which)
        self.title = title
        self._container = _negotiate(file, format_name, wanted_size, rate_fps, f"camera {which}")
        stream = self._container.streams.video[0]
        context = stream.codec_context
        self.size = Size(context.width // 2 * 2, context.height // 2 * 2)
        self.rate_fps = float(stream.average_rate or stream.guessed_rate or rate_fps)
        self._frames = _decoded(self._container)
        self._seq = 0
        log.info("%s: %s at %.3g per second", title, self.size, self.rate_fps)

    def read(self, stop: threading.Event) -> Frame | None:
        if stop.is_set():
            return None
        try:
            frame = next(self._frames)
        except (av.error.FFmpegError, StopIteration, OSError) as error:
            reason = getattr(error, "strerror", None) or "no more pictures"
            raise SourceError(f"camera {self._which}: lost ({reason})") from None
        if stop.is_set():
            return None
        pixels = rgb_of(frame)[: self.size.height, : self.size.width]
        captured_ns = _captured_ns(frame, time.monotonic_ns())
        result = Frame(np.ascontiguousarray(pixels), self._seq, captured_ns)
        self._seq += 1
        return result

    def close(self) -> None:
        try:
            self._frames.close()  # before its container: the other way round Python crashes at exit
            self._container.close()
        except (av.error.FFmpegError, OSError):
            log.debug("camera %s did not close cleanly", self._which)


def camera_address(which: str, platform: str = sys.platform) -> tuple[str, str, str]:
    """(what FFmpeg opens, its input format, the title) of a camera. Raises SourceError."""
    if platform.startswith("linux"):
        path = f"/dev/video{which}" if which.isdigit() else which
        device = query(path)
        if device is None:
            there = ", ".join(found.path for found in devices() if found.captures) or "none"
            raise SourceError(
                f"camera {which}: {path} is no camera that can be opened; found: {there}"
            )
        return path, "v4l2", device.title or f"camera {which}"
    if platform == "win32":
        name = _dshow_name(int(which)) if which.isascii() and which.isdigit() else which
        return f"video={name}", "dshow", name
    if platform == "darwin":
        # AVFoundation counts cameras from 0; "none" is the microphone that is not wanted.
        return f"{which}:none", "avfoundation", f"camera {which}"
    raise SourceError(f"camera {which}: cameras are supported on Linux, Windows and macOS only")


def _dshow_name(number: int) -> str:
    """DirectShow knows cameras by name only."""
    try:
        found = [device for device in av.enumerate_input_devices("dshow") if _is_video(device)]
    except (av.error.FFmpegError, ValueError, OSError):
        found = []
    if number >= len(found):
        names = ", ".join(device.description for device in found) or "none"
        raise SourceError(f"camera {number}: there is no such camera; found: {names}")
    return found[number].description


def _is_video(device: av.DeviceInfo) -> bool:
    return "video" in [str(kind) for kind in device.media_types]


def _negotiate(
    file: str, format_name: str, size: Size, rate_fps: float, name: str
) -> InputContainer:
    """Open with the first wish that is granted, else with the best of what was got. Read back,
    never believed.
    """
    best: tuple[float, dict[str, str]] | None = None
    last_error: BaseException | None = None
    for options in _wishes(format_name, size, rate_fps):
        try:
            container = _open_camera(file, format_name, options)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            last_error = error
            if isinstance(error, PermissionError | FileNotFoundError):
                break
            continue
        score = _score(container, size, rate_fps)
        if score >= 2.0:
            return container
        container.close()
        if best is None or score > best[0]:
            best = (score, options)
    if best is None:
        reason = getattr(last_error, "strerror", None) or last_error
        raise SourceError(f"{name}: cannot be opened ({reason}); is another program using it?")
    try:
        return _open_camera(file, format_name, best[1])
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise SourceError(f"{name}: cannot be opened again ({error})") from None


def _wishes(format_name: str, size: Size, rate_fps: float) -> list[dict[str, str]]:
    """From the best to the humblest. Most webcams give 720p at 30 only as motion JPEG."""
    rate = f"{rate_fps:g}"
    sizes = [size, Size(1280, 720), Size(640, 480)]
    compressed: dict[str, dict[str, str]] = {
        "v4l2": {"input_format": "mjpeg"},
        "dshow": {"vcodec": "mjpeg"},
        "avfoundation": {"pixel_format": "nv12"},
    }
    wishes = [
        {"video_size": str(wanted), "framerate": rate, **extra}
        for wanted in dict.fromkeys(sizes)
        for extra in (compressed[format_name], {})
    ]
    if format_name == "avfoundation":
        wishes.append({"framerate": "30"})  # its default of 29.97 is refused by most cameras
    return [*wishes, {}]


def _open_camera(file: str, format_name: str, options: dict[str, str]) -> InputContainer:
    opened = av.open(file, "r", format=format_name, options=options, timeout=OPEN_S)
    if not opened.streams.video:
        opened.close()
        raise ValueError("it gives no pictures")
    return opened


def _score(container: InputContainer, size: Size, rate_fps: float) -> float:
    """2 and more: the size and the rate that were wanted. Below: the rate counts more than the
    size.
    """
    stream = container.streams.video[0]
    context = stream.codec_context
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    good_rate = min(1.0, rate / (GOOD_RATE * rate_fps))
    area = min(1.0, context.width * context.height / size.area_px)
    exact = (context.width, context.height) == (size.width, size.height) and good_rate >= 1.0
    return 2.0 if exact else good_rate + 0.5 * area


def _decoded(container: InputContainer) -> Generator[VideoFrame, None, None]:
    """FFmpeg's iterator in one of ours, which lets go of it when it is closed."""
    yield from container.decode(video=0)


def _captured_ns(frame: VideoFrame, now_ns: int) -> int:
    """The driver's own time stamp where it is one of this host's monotonic clock, else now."""
    if frame.pts is None or frame.time_base is None:
        return now_ns
    stamp_ns = round(frame.pts * frame.time_base * NS_PER_S)
    return stamp_ns if 0 <= now_ns - stamp_ns <= STAMP_AGE_NS else now_ns
