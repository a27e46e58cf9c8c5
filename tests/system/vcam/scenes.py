"""In the guest: what happens before a real v4l2loopback, scene by scene. Each answers with what was
seen; what it should be is in test_pictures.py and test_quirks.py.

/dev/video10 has exclusive_caps=0, /dev/video11 exclusive_caps=1, /dev/video20 is vivid, a camera.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyvirtualcam

from brushcast import camera_setup, v4l2
from brushcast.camera_sink import CameraSink
from brushcast.errors import SinkError, SourceError
from brushcast.frame import Size
from brushcast.playout import Kind
from brushcast.ring import Ring
from brushcast.source import open_source
from tests.system.vcam.readers import (
    PAUSE_S,
    Watcher,
    chart,
    ffmpeg,
    foreign_writer,
    levels_off,
    opencv,
    shown,
)

OPEN, EXCLUSIVE, CAMERA = "/dev/video10", "/dev/video11", "/dev/video20"
DEVICES = {"open": OPEN, "exclusive": EXCLUSIVE}
SMALL, HD, HELD = Size(640, 480), Size(1280, 720), Size(320, 240)
LAYOUTS = ("I420", "NV12", "YUYV", "UYVY")
WISHES = (  # of FFmpeg as a reader
    ("-input_format", "yuyv422"),
    ("-input_format", "nv12"),
    ("-input_format", "rgb24"),
    ("-video_size", "800x600"),
)

Seen = dict[str, Any]


def refusal(device: str | None, size: Size = SMALL) -> str:
    """What the sink says; "" when it opens."""
    sink = CameraSink(device)
    try:
        sink.open(size, 30, chart(size))
    except SinkError as error:
        return str(error)
    finally:
        sink.close()
    return ""


def wait_until(true: Callable[[], bool], most_s: float = 60) -> None:
    deadline_s = time.monotonic() + most_s
    while not true() and time.monotonic() < deadline_s:
        time.sleep(PAUSE_S)


def capabilities(device: str) -> str:
    found = v4l2.query(device)
    assert found is not None, device
    return "capture" * found.captures + "output" * found.takes_pictures


def pictures() -> Seen:
    """Both sizes on both devices, read by both programs; what the device says of its colours; what
    a reader gets that wishes for a format that the device has not got.
    """
    seen: Seen = {"idle": {name: capabilities(path) for name, path in DEVICES.items()}}
    for name, device in DEVICES.items():
        for size in (SMALL, HD):
            with shown(device, size):
                told = subprocess.run(["v4l2-ctl", "-d", device, "-V"], capture_output=True)
                seen[f"{name} {size}"] = {
                    "format": str(v4l2.read_format(device, output=False)),
                    "capabilities": capabilities(device),
                    "colours": told.stdout.decode(),
                    "ffmpeg": ffmpeg(device, size)["levels"],
                    "opencv": opencv(device, size),
                }
                if (device, size) == (EXCLUSIVE, SMALL):
                    seen["wishes"] = {
                        wish: ffmpeg(device, size, option, wish)["levels"]
                        for option, wish in WISHES
                    }
    seen["left"] = {name: capabilities(path) for name, path in DEVICES.items()}
    return seen


def layouts() -> Seen:
    """Every layout that a reader may hold the device in, left there by another writer."""
    seen: Seen = {}
    for size in (SMALL, HD):
        for layout in LAYOUTS:
            form = pyvirtualcam.PixelFormat[layout]
            one = pyvirtualcam.Camera(size.width, size.height, 30, fmt=form, device=OPEN)
            one.send(
                np.zeros(size.area_px * (3 if layout in ("I420", "NV12") else 4) // 2, np.uint8)
            )
            reader = os.open(OPEN, os.O_RDWR | os.O_NONBLOCK)
            one.close()
            with shown(OPEN, size):
                found = {
                    "format": str(v4l2.read_format(OPEN, output=False)),
                    "ffmpeg": ffmpeg(OPEN, size)["levels"],
                }
                if size == SMALL:
                    found["opencv"] = opencv(OPEN, size)
                seen[f"{layout} {size}"] = found
            os.close(reader)
    with foreign_writer(OPEN, SMALL, "rgb24"):
        wait_until(lambda: v4l2.read_format(OPEN, output=False) is not None)
        watcher = Watcher(OPEN, SMALL)
        watcher.wait_for(1)
    seen["RGB3"] = {"refusal": refusal(OPEN), "pid": watcher.pid}
    watcher.close()
    return seen


def reader_first() -> Seen:
    """Somebody opens the camera before there is one; then there is."""
    seen: Seen = {}
    for name, device in DEVICES.items():
        early = ffmpeg(device, SMALL)
        with shown(device, SMALL):
            seen[name] = {"early": early, "then": ffmpeg(device, SMALL)}
    return seen


def two_writers() -> Seen:
    """The device is taken; then the other program dies without a word."""
    seen: Seen = {}
    for name, device in DEVICES.items():
        with foreign_writer(device, SMALL) as pid:
            wait_until(lambda path=device: v4l2.is_written(path, 1), 30)
            seen[name] = {"refusal": refusal(device), "pid": pid}
            if name == "open":
                any_camera = CameraSink()
                any_camera.open(SMALL, 30, chart(SMALL))
                seen["any"] = any_camera.title
                any_camera.close()
        with shown(device, SMALL):
            seen[name]["then"] = ffmpeg(device, SMALL)["levels"]
    return seen


def size_mismatch() -> Seen:
    """A reader stays while the camera is opened again, larger; then in the reader's size."""
    seen: Seen = {}
    for name, device in DEVICES.items():
        with shown(device, HELD):
            watcher = Watcher(device, HELD)
            watcher.wait_for(2)
        seen[name] = {"refusal": refusal(device), "pid": watcher.pid}
        with shown(device, HELD):
            seen[name]["goes on"] = watcher.wait_for(2)
        seen[name] |= {"count": watcher.count, "worst": watcher.worst}
        watcher.close()
    return seen


class CameraProcess:
    """`python -m brushcast.camera` on a ring that holds the chart."""

    def __init__(self, device: str, size: Size, ring: Ring) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "brushcast.camera"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        sinks = [f"camera:{device}", "null"]
        first = {"ring": str(ring.path), "size": str(size), "rate_fps": 30, "sinks": sinks}
        self.tell({**first, "off": [], "restarted": False, "badge": None, "origin": None})
        self.events = iter(self.process.stdout.readline, "")
        self.ready = json.loads(next(self.events))

    def tell(self, message: Seen) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it gave up: its last event says why
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def stop(self) -> Seen:
        self.tell({"command": "stop"})
        events = [self.ready, *(json.loads(line) for line in self.events)]
        return {"event": events[-1], "code": self.process.wait(30)}

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def writer_killed() -> Seen:
    """The camera process is killed and started anew under a program that reads all the while."""
    return {name: killed(device) for name, device in DEVICES.items()}


def killed(device: str) -> Seen:
    ring, stop = Ring.create(SMALL), threading.Event()

    def feed() -> None:
        seq = 0
        while not stop.wait(PAUSE_S):
            seq += 1
            ring.write(chart(SMALL), Kind.LIVE, seq=seq, captured_ns=time.monotonic_ns())

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    camera = CameraProcess(device, SMALL, ring)
    watcher = Watcher(device, SMALL)
    seen: Seen = {"ready": camera.ready, "before": watcher.wait_for(3)}
    camera.kill()
    again = CameraProcess(device, SMALL, ring)
    seen |= {"again": again.ready, "after": watcher.wait_for(3), "runs": watcher.runs}
    wait_until(lambda: 0 <= levels_off(watcher.last, SMALL) <= 3, 20)
    seen |= {"levels": levels_off(watcher.last, SMALL), "stopped": again.stop()}
    watcher.close()
    stop.set()
    feeder.join()
    ring.unlink()
    return seen


def real_camera() -> Seen:
    """vivid as the source; it is no sink."""
    source, stop = open_source("camera:20", HD, 30), threading.Event()
    frames = [source.read(stop) for _ in range(4)]
    last = frames[-1]
    assert last is not None
    seen: Seen = {
        "title": source.title,
        "size": str(source.size),
        "seqs": [frame.seq for frame in frames if frame is not None],
        "shapes": [list(frame.pixels_HWC.shape) for frame in frames if frame is not None],
        "detail": float(last.pixels_HWC.std()),
        "age_ms": (time.monotonic_ns() - last.captured_ns) / 1e6,
        "as sink": refusal(CAMERA),
    }
    source.close()
    auto = open_source("auto")
    seen["auto"] = auto.title
    auto.close()
    try:
        open_source("camera:77")
    except SourceError as error:
        seen["no device"] = str(error)
    return seen


def too_many() -> Seen:
    """As many programs have the device open as the module lets."""
    limit = Path("/sys/devices/virtual/video4linux/video10/max_openers")
    usual = limit.read_text()
    limit.write_text("1")
    reader = os.open(OPEN, os.O_RDWR | os.O_NONBLOCK)
    seen: Seen = {"other": refusal(OPEN)}
    os.close(reader)
    with shown(OPEN, SMALL) as sink:
        sink.write(chart(SMALL), 0)
    seen["alone"] = sink.title
    limit.write_text(usual)
    return {**seen, "no device": refusal("/dev/video77")}


class Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def doctor() -> Seen:
    """What `brushcast doctor` says of it."""
    found = camera_setup.examine()
    return {"state": found.state, "message": found.message, "advice": found.advice}


def module_options(module: str) -> Seen:
    """Loaded in every wrong way, and not at all; what the sink and the doctor say."""
    seen: Seen = {}
    handler = Warnings()
    logging.getLogger("brushcast").addHandler(handler)
    for options in ("", "max_width=640 max_height=480", "exclusive_caps=1 card_label=Brushcast"):
        subprocess.run(["rmmod", "v4l2loopback"], check=True)
        subprocess.run(["insmod", module, "video_nr=10", *options.split()], check=True)
        handler.lines.clear()
        seen[options] = {"refusal": refusal(None, HD), "warnings": list(handler.lines)}
        seen[options]["doctor"] = doctor()
    subprocess.run(["rmmod", "v4l2loopback"], check=True)
    seen["absent"] = {"refusal": refusal(None), "doctor": doctor()}
    subprocess.run(["insmod", module, "video_nr=10,11", "devices=2", "exclusive_caps=0,1"])
    return seen


def all_scenes(module: str) -> Iterator[tuple[str, Callable[[], Seen]]]:
    """module: the file of v4l2loopback."""
    yield "real_camera", real_camera
    yield "pictures", pictures
    yield "layouts", layouts
    yield "reader_first", reader_first
    yield "two_writers", two_writers
    yield "size_mismatch", size_mismatch
    yield "too_many", too_many
    yield "writer_killed", writer_killed
    yield "module_options", lambda: module_options(module)
