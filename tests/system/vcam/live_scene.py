"""In the guest: `brushcast run` from a real V4L2 camera (vivid) to a real virtual camera.

The model would need minutes to load in emulation, so the worker runs on the machine outside and
`run` is told of it (`--worker tcp://`), as of one on another machine. The guest has no network: the
connection's bytes go through files in /out; test_live.py has the other end.
"""

import contextlib
import glob
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from typing import Any

import cv2
import numpy as np

from brushcast import v4l2
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind
from brushcast.ring import Ring
from brushcast.source import open_source

SIZE = Size(640, 360)  # one of vivid's own
MODEL_SIZE = Size(256, 144)  # small: CI may be busy with other things
PRESET = "watercolour"  # far from vivid's bars, and red is not blue in it: swapped channels show
RATE_FPS = 5
FRAMES = 20
CAMERA, DEVICE = "/dev/video20", "/dev/video11"
STILL_S = 1.0
LEAST_S = 200  # of emulated time, for the painting to come and to settle


def live() -> dict[str, Any]:
    """Writes /out/pictures.npz and /out/report.json as well."""
    # No clock in the picture: it stands still, so the painting settles.
    subprocess.run(["v4l2-ctl", "-d", CAMERA, "--set-ctrl", "osd_text_mode=2"], check=True)
    kept = {"raw": raw_picture()}
    door = socket.create_server(("127.0.0.1", 5599))
    threading.Thread(target=lend_worker, args=(door,), daemon=True).start()
    command = [sys.executable, "-m", "brushcast", "run", "--source", f"camera:{CAMERA}"]
    command += ["--sink", f"camera:{DEVICE}", "--preset", PRESET, "--badge", "off"]
    command += ["--worker", "tcp://127.0.0.1:5599", "--size", str(MODEL_SIZE)]
    command += ["--output-size", str(SIZE), "--fps", str(RATE_FPS), "--panel", "off"]
    run = subprocess.Popen([*command, "--for", "600", "--report", "/out/report.json"])
    while not (rings := glob.glob("/dev/shm/brushcast-*/ring")) and run.poll() is None:
        time.sleep(0.2)
    watch = Watch(Ring.attach(rings[0]))
    watch.start()
    begun = time.monotonic()
    while run.poll() is None and watch.longest_s < STILL_S and time.monotonic() - begun < LEAST_S:
        time.sleep(0.1)
    for reader, read in (("ffmpeg", read_with_ffmpeg), ("opencv", read_with_opencv)):
        kept[reader] = read()
        assert watch.picture is not None, "no styled picture came"
        kept[f"sent-{reader}"] = watch.picture  # its JPEG gets better while the link is quiet
    seen = {"format": str(v4l2.read_format(DEVICE, output=False))}
    run.send_signal(signal.SIGINT)
    np.savez("/out/pictures.npz", allow_pickle=False, **kept)
    return {**seen, "code": run.wait(90)}


def raw_picture() -> Pixels:
    source, stop = open_source(f"camera:{CAMERA}", SIZE, RATE_FPS), threading.Event()
    frames = [source.read(stop) for _ in range(3)]
    source.close()
    last = frames[-1]
    assert last is not None
    return last.pixels_HWC


def lend_worker(door: socket.socket) -> None:
    """Connection n is /out/n.up and /out/n.down, which only grow."""
    number = 0
    while True:
        connection, _ = door.accept()
        for pump in (send_up, bring_down):
            threading.Thread(target=pump, args=(connection, number), daemon=True).start()
        number += 1


def send_up(connection: socket.socket, number: int) -> None:
    with open(f"/out/{number}.up", "wb", buffering=0) as up:
        while data := connection.recv(65536):
            up.write(data)
    open(f"/out/{number}.end", "w").close()


def bring_down(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # hung up
        with open(f"/out/{number}.down", "w+b", buffering=0) as down:
            while True:
                if data := down.read(65536):
                    connection.sendall(data)
                else:
                    time.sleep(0.01)


class Watch(threading.Thread):
    """Looks at the ring, and knows the styled picture that it has held the longest at a time."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(daemon=True)
        self.ring, self.longest_s = ring, 0.0
        self.picture: Pixels | None = None

    def run(self) -> None:
        number, shown, since = 0, (False, 0), 0.0
        while True:
            found = self.ring.newest(number)
            if found is not None:
                number = found.number
                live = found.kind in (Kind.LIVE, Kind.HELD)
                now = (live, zlib.crc32(found.pixels_HWC.tobytes()))
                if now != shown:
                    print(found.kind.name, now[1], flush=True)  # noqa: T201
                    shown, since = now, time.monotonic()
                if live and time.monotonic() - since > self.longest_s:
                    self.picture, self.longest_s = found.pixels_HWC, time.monotonic() - since
            time.sleep(0.05)


def read_with_ffmpeg() -> Pixels:
    command = ["ffmpeg", "-v", "error", "-f", "v4l2", "-i", DEVICE, "-frames:v", str(FRAMES)]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=90)
    probe = ["ffprobe", "-v", "error", "-f", "v4l2", "-show_entries", "stream=width,height"]
    said = subprocess.run([*probe, "-of", "json", DEVICE], stdout=subprocess.PIPE, timeout=90)
    stream = json.loads(said.stdout)["streams"][0]
    shape = (-1, stream["height"], stream["width"], 3)
    return np.frombuffer(done.stdout, np.uint8).reshape(shape)


def read_with_opencv() -> Pixels:
    capture = cv2.VideoCapture(DEVICE, cv2.CAP_V4L2)
    frames = [capture.read() for _ in range(FRAMES)]
    capture.release()
    return np.array([bgr[:, :, ::-1] for good, bgr in frames if good])
