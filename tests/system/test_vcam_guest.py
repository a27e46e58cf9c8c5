"""The camera process before a real v4l2loopback, in a small guest: size, colours, refusals; and a
real V4L2 camera.

Needs ../shared/vcam_guest with its setup.sh done. Software emulation: correctness is judged here,
never speed.
"""

import json
from typing import Any

import pytest

from tests.system.guest import run_in_guest, why_not

# Runs in the guest, with this Python; writes what it saw to /out/seen.json.
SCRIPT = '''
import json, subprocess, sys, threading, time
import cv2
import numpy as np
from brushcast import v4l2
from brushcast.errors import SinkError, SourceError
from brushcast.frame import Size
from brushcast.playout import Kind
from brushcast.ring import Ring
from brushcast.camera_sink import CameraSink
from brushcast.source import open_source

WIDTH, HEIGHT = 640, 360
values = (0, 85, 170, 255)
colours = [(r, g, b) for r in values for g in values for b in values]
squares = np.array(colours, np.uint8).reshape(8, 8, 3)
chart = np.repeat(np.repeat(squares, HEIGHT // 8, axis=0), WIDTH // 8, axis=1)
seen = {}


def error_of(pixels):
    """The largest difference at the middles of the squares; -1: another size, -2: no picture."""
    if pixels.shape != (HEIGHT, WIDTH, 3):
        return -1
    middles = np.s_[22::45, 40::80]
    return int(np.abs(pixels[middles].astype(int) - chart[middles]).max())


def read_with_ffmpeg(device):
    command = ["ffmpeg", "-v", "error", "-f", "v4l2", "-i", device, "-frames:v", "4"]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=90)
    except subprocess.TimeoutExpired:
        return -2
    pixels = np.frombuffer(done.stdout, np.uint8)
    if pixels.size % (WIDTH * HEIGHT * 3) or not pixels.size:
        return -1
    return error_of(pixels.reshape(-1, HEIGHT, WIDTH, 3)[-1])


def read_with_opencv(device):
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    for _ in range(4):
        good, pixels = capture.read()
    capture.release()
    return error_of(np.ascontiguousarray(pixels[:, :, ::-1])) if good else -1


def feed(ring, stop):
    seq = 0
    while not stop.wait(1 / 15):
        seq += 1
        ring.write(chart, Kind.LIVE, seq=seq, captured_ns=time.monotonic_ns())


def camera_process(device):
    ring, stop = Ring.create(Size(WIDTH, HEIGHT)), threading.Event()
    feeder = threading.Thread(target=feed, args=(ring, stop), daemon=True)
    feeder.start()
    process = subprocess.Popen(
        [sys.executable, "-m", "brushcast.camera"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    first = {"ring": str(ring.path), "size": "640x360", "rate_fps": 15,
             "sinks": [f"camera:{device}", "null"], "restarted": False}
    process.stdin.write(json.dumps(first) + "\\n")
    process.stdin.flush()
    events = iter(process.stdout.readline, "")
    ready = json.loads(next(events))
    result = {"ready": ready, "ffmpeg": None, "opencv": None}
    if ready["event"] == "ready":
        for _ in range(2):
            next(events)  # two seconds: the chart is on
        result["format"] = str(v4l2.read_format(device, output=False))
        result["ffmpeg"] = read_with_ffmpeg(device)
        result["opencv"] = read_with_opencv(device)
    process.stdin.write(json.dumps({"command": "stop"}) + "\\n")
    process.stdin.close()
    result["stopped"] = [json.loads(line) for line in process.stdout][-1]
    result["code"] = process.wait(30)
    stop.set()
    feeder.join()
    ring.unlink()
    return result


def real_camera():
    source, stop = open_source("camera:20", Size(1280, 720), 30), threading.Event()
    frames = [source.read(stop) for _ in range(4)]
    result = {
        "title": source.title, "size": str(source.size), "rate": source.rate_fps,
        "seqs": [frame.seq for frame in frames],
        "shapes": [list(frame.pixels_HWC.shape) for frame in frames],
        "detail": float(frames[-1].pixels_HWC.std()),
        "age_ms": (time.monotonic_ns() - frames[-1].captured_ns) / 1e6,
    }
    source.close()
    return result


def wrong_reader():
    """A reader that holds the device at one size while a writer asks for another."""
    small = np.zeros((240, 320, 3), np.uint8)
    one = CameraSink("/dev/video10")
    one.open(Size(320, 240), 15, small)
    one.write(small, 1)
    capture = cv2.VideoCapture("/dev/video10", cv2.CAP_V4L2)
    capture.read()
    one.close()
    other = CameraSink("/dev/video10")
    try:
        other.open(Size(WIDTH, HEIGHT), 15, chart)
        answer = "accepted"
    except SinkError as error:
        answer = str(error)
    other.close()
    capture.release()
    return answer


seen["devices"] = [[d.path, d.title, d.is_loopback] for d in v4l2.devices()]
seen["camera"] = real_camera()
auto = open_source("auto")
seen["auto"] = auto.title
auto.close()
seen["plain"] = camera_process("/dev/video10")
seen["again"] = camera_process("/dev/video10")["ffmpeg"]
seen["exclusive"] = camera_process("/dev/video11")
seen["wrong_reader"] = wrong_reader()
try:
    CameraSink("/dev/video20").open(Size(WIDTH, HEIGHT), 15, chart)
except SinkError as error:
    seen["real_device"] = str(error)
try:
    open_source("camera:77")
except SourceError as error:
    seen["no_device"] = str(error)
with open("/out/seen.json", "w") as file:
    json.dump(seen, file)
'''


pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "runs"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("guest")
    out = run_in_guest(SCRIPT, folder, "seen.json", 540, "vivid=1")
    found: dict[str, Any] = json.loads((out / "seen.json").read_text())
    return found


@pytest.mark.parametrize("device", ["plain", "exclusive"])
@pytest.mark.parametrize("reader", ["ffmpeg", "opencv"])
def test_readers_get_the_right_size_and_colours_within_three_levels(
    seen: dict[str, Any], device: str, reader: str
) -> None:
    assert seen[device]["ready"]["event"] == "ready", seen[device]["ready"]
    assert seen[device]["format"] == "640x360 YU12"
    assert 0 <= seen[device][reader] <= 3


def test_the_process_ends_cleanly_and_the_device_can_be_used_again(seen: dict[str, Any]) -> None:
    for device in ("plain", "exclusive"):
        assert seen[device]["code"] == 0
        rows = {row["id"]: row for row in seen[device]["stopped"]["sinks"]}
        assert rows["null"]["state"] == "LIVE"
        assert rows[seen[device]["ready"]["sinks"][0]["id"]]["frames"] > 10
    assert 0 <= seen["again"] <= 3


def test_a_size_that_a_reader_holds_is_refused_not_garbled(seen: dict[str, Any]) -> None:
    answer = seen["wrong_reader"]
    assert "wanted 640x360 YU12" in answer or "/dev/video10" in answer


def test_a_real_camera_is_read_but_never_written_to(seen: dict[str, Any]) -> None:
    camera = seen["camera"]
    assert camera["seqs"] == [0, 1, 2, 3]
    width, height = (int(side) for side in camera["size"].split("x"))
    assert camera["shapes"] == [[height, width, 3]] * 4
    assert camera["detail"] > 10
    assert 0 <= camera["age_ms"] < 2000
    assert "real camera" in seen["real_device"]
    assert seen["auto"] == camera["title"]
    assert "/dev/video20" in seen["no_device"]
