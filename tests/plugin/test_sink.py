"""Sinks: what they promise, and what is told when they cannot work. A real camera: tests/system."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brushcast import sink as sink_module
from brushcast.clip import Clip
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.sink import (
    CameraSink,
    FileSink,
    NullSink,
    SinkSpec,
    free_path,
    make_sink,
    parse_sink,
)
from brushcast.v4l2 import CAPTURE, OUTPUT, Device, PixelFormat

SIZE = Size(64, 48)
LOOPBACK = Device("/dev/video10", "v4l2 loopback", "Brushcast", CAPTURE | OUTPUT)


def picture(value: int = 100) -> Pixels:
    return np.full((SIZE.height, SIZE.width, 3), value, np.uint8)


class FakeCamera:
    """pyvirtualcam, as far as it is used."""

    class PixelFormat:
        I420 = "I420"
        RGB = "RGB"

    def __init__(self) -> None:
        self.sent: list[Pixels] = []
        self.closed = 0
        self.device = ""
        self.refuse: dict[str, str] = {}

    def Camera(self, width: int, height: int, fps: float, **options: Any) -> "FakeCamera":
        device = options["device"]
        if device in self.refuse:
            raise RuntimeError(self.refuse[device])
        self.device = device or "OBS Virtual Camera"
        return self

    def send(self, pixels: Pixels) -> None:
        self.sent.append(pixels)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> FakeCamera:
    """A Linux machine with one v4l2loopback device that behaves."""
    fake = FakeCamera()
    monkeypatch.setattr(sink_module.importlib, "import_module", lambda name: fake)
    monkeypatch.setattr(sink_module.sys, "platform", "linux")
    monkeypatch.setattr(sink_module, "devices", lambda: [LOOPBACK])
    monkeypatch.setattr(sink_module, "query", lambda path: LOOPBACK)
    form = PixelFormat(SIZE.width, SIZE.height, "YU12")
    monkeypatch.setattr(sink_module, "read_format", lambda path, output: form)
    return fake


@pytest.mark.parametrize(
    ("text", "spec", "name"),
    [
        ("auto", SinkSpec("auto"), "auto"),
        ("null", SinkSpec("null"), "null"),
        ("obs", SinkSpec("obs"), "obs"),
        ("preview", SinkSpec("preview"), "preview"),
        ("camera", SinkSpec("camera"), "camera"),
    ],
)
def test_sinks_are_parsed(text: str, spec: SinkSpec, name: str) -> None:
    assert parse_sink(text) == spec
    assert spec.id == name
    assert str(spec) == text


def test_a_file_keeps_its_path_and_gets_a_plain_name(tmp_path: Path) -> None:
    spec = parse_sink(f"file:{tmp_path}/My Talk (1).mp4")
    assert spec.target == f"{tmp_path}/My Talk (1).mp4"
    assert spec.id == "file-my-talk-1-mp4"
    assert len(SinkSpec("file", "x" * 300 + ".mp4").id) <= 64


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="device numbers are Linux's")
def test_a_camera_by_number_is_its_device() -> None:
    assert parse_sink("camera:10") == parse_sink("camera:/dev/video10")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("nonsense", "wanted auto, camera"),
        ("file", "wanted auto, camera"),
        ("file:", "wanted auto, camera"),
        ("obs:1", "wanted auto, camera"),
        ("file:/no/such/folder/out.mp4", "there is no folder"),
        ("file:out.avi", "wanted one of .mp4"),
        ("file:/tmp", "ending"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_opened(text: str, seen: str) -> None:
    with pytest.raises(SinkError, match=seen) as caught:
        parse_sink(text)
    assert "\n" not in str(caught.value)


def test_null_counts_what_it_gets() -> None:
    sink = NullSink()
    sink.open(SIZE, 30, picture())
    for tick in range(1, 5):
        sink.write(picture(), tick)
    assert sink.pictures == 5
    sink.close()


@pytest.mark.parametrize("spec", ["null", "preview", "camera", "file:{}/a.mp4"])
def test_closing_needs_no_opening_and_can_be_repeated(spec: str, tmp_path: Path) -> None:
    sink = make_sink(parse_sink(spec.format(tmp_path)))
    sink.close()
    sink.close()


def test_a_file_has_its_first_picture_when_open_returns(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    sink = FileSink(path)
    sink.open(SIZE, 30, picture())
    assert path.stat().st_size > 0
    for tick in (1, 2, 3, 10, 11):  # six were dropped: the file keeps time
        sink.write(picture(), tick)
    sink.close()
    with Clip(path) as clip:
        times_s = [float(p.time_s) for p in clip.pictures()]
    assert times_s == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30, 10 / 30, 11 / 30], abs=2e-3)


def test_a_run_replaces_the_file_that_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"of yesterday")
    sink = FileSink(path)
    sink.open(SIZE, 30, picture())
    sink.close()
    assert b"of yesterday" not in path.read_bytes()


def test_within_a_run_no_recording_is_ever_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    sink = FileSink(path)
    names = []
    for _ in range(3):  # switched off and on again
        sink.open(SIZE, 30, picture())
        names.append(sink.title)
        sink.close()
    again = FileSink(path, keep_existing=True)  # the process died and was started again
    again.open(SIZE, 30, picture())
    names.append(again.title)
    again.close()
    assert names == ["out.mp4", "out-2.mp4", "out-3.mp4", "out-4.mp4"]
    assert all((tmp_path / name).stat().st_size for name in names)


def test_a_free_path_is_the_asked_one(tmp_path: Path) -> None:
    assert free_path(tmp_path / "a.b.mp4") == tmp_path / "a.b.mp4"
    (tmp_path / "a.b.mp4").touch()
    assert free_path(tmp_path / "a.b.mp4") == tmp_path / "a.b-2.mp4"


def test_a_camera_has_its_first_picture_when_open_returns(camera: FakeCamera) -> None:
    sink = CameraSink()
    sink.open(SIZE, 30, picture(255))
    assert len(camera.sent) == 1
    assert sink.title == "/dev/video10"
    luma = camera.sent[0][: SIZE.area_px]
    assert set(np.unique(luma)) == {235}  # limited range, as readers of V4L2 assume
    sink.write(picture(0), 1)
    assert set(np.unique(camera.sent[1][: SIZE.area_px])) == {16}
    sink.close()
    sink.close()
    assert camera.closed == 1


@pytest.mark.parametrize(
    "found", [None, PixelFormat(1280, 720, "YU12"), PixelFormat(64, 48, "YUYV")]
)
def test_a_camera_that_took_another_format_is_refused(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch, found: PixelFormat | None
) -> None:
    monkeypatch.setattr(sink_module, "read_format", lambda path, output: found)
    sink = CameraSink("/dev/video10")
    with pytest.raises(SinkError, match=r"/dev/video10: .*wanted 64x48 YU12"):
        sink.open(SIZE, 30, picture())
    assert camera.closed == 1


def test_a_camera_that_goes_away_is_noticed(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = CameraSink()
    sink.open(SIZE, 30, picture())
    monkeypatch.setattr(sink_module, "read_format", lambda path, output: None)
    with pytest.raises(SinkError, match="is gone"):  # noqa: PT012
        for tick in range(1, 40):
            sink.write(picture(), tick)


def test_the_second_device_is_tried_when_the_first_is_refused(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Device("/dev/video11", "v4l2 loopback", "B", CAPTURE | OUTPUT)
    monkeypatch.setattr(sink_module, "devices", lambda: [LOOPBACK, other])
    camera.refuse["/dev/video10"] = "Device or resource busy"
    sink = CameraSink()
    sink.open(SIZE, 30, picture())
    assert sink.title == "/dev/video11"


def test_the_error_lists_all_that_was_tried_and_how_to_get_one(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Device("/dev/video11", "v4l2 loopback", "B", CAPTURE)
    monkeypatch.setattr(sink_module, "devices", lambda: [LOOPBACK, taken])
    camera.refuse["/dev/video10"] = "Device or resource busy"
    with pytest.raises(SinkError) as caught:
        CameraSink().open(SIZE, 30, picture())
    for part in ("/dev/video10 (Device or resource busy)", "/dev/video11 (in use)", "modprobe"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (None, "no such video device"),
        (Device("/dev/video10", "uvcvideo", "HD Webcam", CAPTURE), "HD Webcam: a real camera"),
    ],
)
def test_only_a_virtual_camera_is_written_to(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch, found: Device | None, seen: str
) -> None:
    monkeypatch.setattr(sink_module, "query", lambda path: found)
    with pytest.raises(SinkError, match=seen):
        CameraSink("/dev/video10").open(SIZE, 30, picture())
    assert not camera.sent


def test_without_pyvirtualcam_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(sink_module.importlib, "import_module", missing)
    with pytest.raises(SinkError, match="pip install pyvirtualcam"):
        CameraSink().open(SIZE, 30, picture())


@pytest.mark.parametrize(("platform", "part"), [("win32", "Unity Capture"), ("darwin", "OBS 30")])
def test_elsewhere_obs_is_the_camera(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch, platform: str, part: str
) -> None:
    monkeypatch.setattr(sink_module.sys, "platform", platform)
    sink = CameraSink()
    sink.open(SIZE, 30, picture(7))
    assert np.array_equal(camera.sent[0], picture(7))  # pyvirtualcam converts
    small = np.empty((SIZE.height // 2, SIZE.width // 2, 3), np.uint8)
    small[:] = (200, 90, 40)
    sink.write(small, 1)
    sink.write(small, 2)
    assert camera.sent[1].shape == picture().shape
    assert np.abs(camera.sent[1].astype(int) - (200, 90, 40)).max() <= 2
    assert camera.sent[2] is camera.sent[1]  # scaled once
    assert part in sink_module._advice(platform)
