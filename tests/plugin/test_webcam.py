"""Webcams: how one is addressed on each system, and what is asked of it."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import pytest

from brushcast import webcam
from brushcast.errors import SourceError
from brushcast.frame import Size
from brushcast.v4l2 import CAPTURE, OUTPUT, Device
from brushcast.webcam import camera_address, camera_candidates

HD = Size(1280, 720)


@dataclass
class FakeContainer:
    """What FFmpeg would have opened."""

    width: int
    height: int
    rate: int
    closed: bool = False
    streams: Any = field(init=False)

    def __post_init__(self) -> None:
        context = type("Context", (), {"width": self.width, "height": self.height})
        stream = type("Stream", (), {})()
        stream.codec_context, stream.average_rate = context, Fraction(self.rate)
        stream.guessed_rate = None
        self.streams = type("Streams", (), {"video": [stream]})

    def close(self) -> None:
        self.closed = True


def test_linux_opens_the_device_and_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Device("/dev/video3", "uvcvideo", "HD Webcam", CAPTURE)
    monkeypatch.setattr(webcam, "query", lambda path: camera if path == camera.path else None)
    monkeypatch.setattr(webcam, "devices", lambda: [camera])
    assert camera_address("3", "linux") == ("/dev/video3", "v4l2", "HD Webcam")
    assert camera_address("/dev/video3", "linux")[0] == "/dev/video3"
    with pytest.raises(SourceError, match=r"camera 0: /dev/video0 .*found: /dev/video3"):
        camera_address("0", "linux")


def test_windows_cameras_go_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        type("Device", (), {"description": name, "media_types": [kind]})
        for name, kind in (("Microphone", "audio"), ("HD Webcam", "video"))
    ]
    monkeypatch.setattr(av, "enumerate_input_devices", lambda name: found)
    assert camera_address("0", "win32") == ("video=HD Webcam", "dshow", "HD Webcam")
    assert camera_address("My Camera", "win32")[0] == "video=My Camera"
    with pytest.raises(SourceError, match="camera 1: there is no such camera; found: HD Webcam"):
        camera_address("1", "win32")


def test_macos_cameras_go_by_number() -> None:
    assert camera_address("0", "darwin")[:2] == ("0:none", "avfoundation")


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(SourceError, match="Linux, Windows and macOS"):
        camera_address("0", "plan9")


def test_our_own_virtual_camera_is_never_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        webcam,
        "devices",
        lambda: [
            Device("/dev/video0", "uvcvideo", "metadata", 0),
            Device("/dev/video1", "uvcvideo", "HD Webcam", CAPTURE),
            Device("/dev/video10", "v4l2 loopback", "Brushcast", CAPTURE | OUTPUT),
        ],
    )
    assert camera_candidates("linux") == ["/dev/video1"]
    assert camera_candidates("win32") == ["0", "1"]


def negotiate(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, FakeContainer | Exception]
) -> tuple[Any, list[dict[str, str]]]:
    """Negotiate with a camera that answers by "size/format" ("" is the default format)."""
    asked: list[dict[str, str]] = []

    def open_camera(file: str, format_name: str, options: dict[str, str]) -> FakeContainer:
        asked.append(options)
        key = f"{options.get('video_size', '')}/{options.get('input_format', '')}"
        answer = answers.get(key, OSError(22, "Invalid argument"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(webcam, "_open_camera", open_camera)
    return webcam._negotiate("/dev/video0", "v4l2", HD, 30, "camera 0"), asked


def test_the_first_wish_that_is_granted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = FakeContainer(1280, 720, 30)
    got, asked = negotiate(monkeypatch, {"1280x720/mjpeg": exact})
    assert got is exact
    assert asked == [{"video_size": "1280x720", "framerate": "30", "input_format": "mjpeg"}]


def test_a_full_rate_counts_more_than_a_large_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, small = FakeContainer(1280, 720, 10), FakeContainer(640, 480, 30)
    got, _ = negotiate(monkeypatch, {"1280x720/": slow, "640x480/": small})
    assert got is small
    assert slow.closed


def test_what_the_camera_insists_on_is_taken_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    only = FakeContainer(352, 288, 15)
    got, _ = negotiate(monkeypatch, {"/": only})
    assert got is only


def test_a_camera_in_use_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = OSError(16, "Device or resource busy")
    answers: dict[str, FakeContainer | Exception] = {
        f"{size}/{form}": busy for size in ("1280x720", "640x480", "") for form in ("mjpeg", "")
    }
    with pytest.raises(SourceError, match=r"camera 0: .*busy.*another program"):
        negotiate(monkeypatch, answers)
