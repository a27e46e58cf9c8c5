"""In the guest: programs that read a virtual camera, one that writes to it, and the chart that they
are shown.
"""

import contextlib
import functools
import subprocess
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from brushcast.camera_sink import CameraSink
from brushcast.frame import Pixels, Size

NO_PICTURE, OTHER_SIZE = -1, -2
READ_S = 60  # of emulated time: it decides when a test fails, not whether it passes
PAUSE_S = 0.05


@functools.cache
def chart(size: Size) -> Pixels:
    """Read-only. 64 colours in 8x8 squares; no two are equal, so mirrored it is another picture."""
    values = (0, 85, 170, 255)
    colours = np.array([(r, g, b) for r in values for g in values for b in values], np.uint8)
    rows = np.repeat(colours.reshape(8, 8, 3), size.height // 8, axis=0)
    pixels: Pixels = np.ascontiguousarray(np.repeat(rows, size.width // 8, axis=1))
    pixels.setflags(write=False)
    return pixels


def levels_off(pixels_HWC: Pixels | None, size: Size) -> int:
    """The largest difference to the chart at the middles of its squares."""
    if pixels_HWC is None:
        return NO_PICTURE
    if pixels_HWC.shape != (size.height, size.width, 3):
        return OTHER_SIZE
    tall, wide = size.height // 8, size.width // 8
    middles = np.s_[tall // 2 :: tall, wide // 2 :: wide]
    return int(np.abs(pixels_HWC[middles].astype(int) - chart(size)[middles]).max())


def ffmpeg(device: str, size: Size, *wishes: str, frames: int = 3) -> dict[str, object]:
    """Its last picture in levels off, its exit code and its last words."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "v4l2", *wishes, "-i", device]
    command += ["-frames:v", str(frames), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=READ_S)
    except subprocess.TimeoutExpired:
        return {"levels": NO_PICTURE, "code": None, "words": f"nothing within {READ_S} s"}
    pixels, picture = np.frombuffer(done.stdout, np.uint8), None
    if pixels.size:
        whole = pixels.size % (size.area_px * 3) == 0
        shape = (-1, size.height, size.width, 3) if whole else (1, -1, 1, 3)
        picture = pixels[: pixels.size // 3 * 3].reshape(shape)[-1]
    words = done.stderr.decode(errors="replace").strip()
    return {"levels": levels_off(picture, size), "code": done.returncode, "words": words}


def opencv(device: str, size: Size) -> int:
    """The fourth picture that OpenCV gets, in levels off."""
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    for _ in range(4):
        good, pixels = capture.read()
    capture.release()
    return levels_off(np.ascontiguousarray(pixels[:, :, ::-1]) if good else None, size)


class Watcher:
    """ffmpeg that reads on and on, as an app in a call; counts its pictures and keeps the last.
    worst: the most that any was off the chart.
    """

    def __init__(self, device: str, size: Size) -> None:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "v4l2", "-i", device]
        command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
        self.size, self.count, self.worst = size, 0, 0
        self.last: Pixels | None = None
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        size = self.size
        while len(data := self._process.stdout.read(size.area_px * 3)) == size.area_px * 3:
            self.last = np.frombuffer(data, np.uint8).reshape(size.height, size.width, 3)
            self.worst = max(self.worst, levels_off(self.last, size))
            self.count += 1

    def wait_for(self, pictures: int, most_s: float = READ_S) -> bool:
        """Until so many more have come."""
        wanted, deadline_s = self.count + pictures, time.monotonic() + most_s
        while self.count < wanted and time.monotonic() < deadline_s and self.runs:
            time.sleep(PAUSE_S)
        return self.count >= wanted

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()


@contextlib.contextmanager
def shown(device: str, size: Size) -> Iterator[CameraSink]:
    """The chart on a CameraSink of this process, over and over."""
    sink, stop, picture = CameraSink(device), threading.Event(), chart(size)
    sink.open(size, 30, picture)

    def feed() -> None:
        tick = 0
        while not stop.wait(PAUSE_S):
            tick += 1
            sink.write(picture, tick)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        stop.set()
        thread.join()
        sink.close()


@contextlib.contextmanager
def foreign_writer(device: str, size: Size, pixel_format: str = "yuv420p") -> Iterator[int]:
    """ffmpeg as another program that writes to the device; its process number. In the end it is
    killed, as nobody asks whoever crashes.
    """
    source = f"testsrc=size={size}:rate=15"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", source]
    command += ["-pix_fmt", pixel_format, "-f", "v4l2", device]
    with subprocess.Popen(command) as process:
        try:
            yield process.pid
        finally:
            process.kill()
