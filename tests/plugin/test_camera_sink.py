"""Virtual cameras: which is chosen on each system, what is sent, and what is told when none works.

pyvirtualcam is a stand-in that refuses and accepts what the real one documents. The real one before
a real v4l2loopback: tests/system/vcam.
"""

import logging
import os
import sys

import cv2
import numpy as np
import pytest

from brushcast import camera_sink as module
from brushcast.camera_sink import BACKENDS, CameraSink, backends_of
from brushcast.errors import SinkError
from brushcast.frame import Pixels
from brushcast.v4l2 import CAPTURE, OUTPUT, Holder, PixelFormat
from brushcast.yuv import BT601, BT709, Matrix
from tests.plugin.fake_cameras import SIZE, FakeLinux, FakePyvirtualcam

OBS_ABSENT = "OBS Virtual Camera device not found! Did you install OBS?"
UNITY_ABSENT = "No camera registered. Did you install any camera?"
BUSY = "Virtual camera device /dev/video10 could not be configured: Device or resource busy"


def picture(value: int = 100) -> Pixels:
    return np.full((SIZE.height, SIZE.width, 3), value, np.uint8)


def installed(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> FakePyvirtualcam:
    fake = FakePyvirtualcam(**kinds)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", fake)
    return fake


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> FakeLinux:
    fake = FakeLinux()
    monkeypatch.setattr(module, "v4l2", fake)
    return fake


@pytest.fixture
def pyvirtualcam(monkeypatch: pytest.MonkeyPatch) -> FakePyvirtualcam:
    return installed(monkeypatch, v4l2loopback="")


def opened(device: str | None = None, platform: str = "linux") -> CameraSink:
    sink = CameraSink(device, platform=platform)
    sink.open(SIZE, 30, picture())
    return sink


def refusal(device: str | None = None, platform: str = "linux") -> str:
    with pytest.raises(SinkError) as caught:
        CameraSink(device, platform=platform).open(SIZE, 30, picture())
    message = str(caught.value)
    assert "\n" not in message
    return message


def decoded(planes: Pixels, matrix: Matrix) -> Pixels:
    """I420 of one matrix, back to RGB by its inverse."""
    area, width = SIZE.area_px, SIZE.width
    halves = planes[area:].reshape(2, -1, width // 2)
    full = [np.kron(half, np.ones((2, 2), np.uint8)) for half in halves]
    yuv_HWC = np.dstack([planes[:area].reshape(-1, width), *full]).astype(float)
    rgb_HWC = (yuv_HWC - matrix[:, 3]) @ np.linalg.inv(matrix[:, :3].astype(float)).T
    return np.asarray(np.clip(np.rint(rgb_HWC), 0, 255), np.uint8)


def chart() -> Pixels:
    values = (0, 85, 170, 255)
    colours = np.array([(r, g, b) for r in values for g in values for b in values], np.uint8)
    return np.kron(colours.reshape(8, 8, 3), np.ones((6, 8, 1), np.uint8))


@pytest.mark.usefixtures("linux")
def test_a_camera_has_its_first_picture_when_open_returns(pyvirtualcam: FakePyvirtualcam) -> None:
    sink = CameraSink(platform="linux")
    sink.open(SIZE, 30, picture(255))
    assert sink.title == "/dev/video10"
    assert set(np.unique(pyvirtualcam.sent[0][: SIZE.area_px])) == {235}  # limited range
    sink.write(picture(0), 1)
    assert set(np.unique(pyvirtualcam.sent[1][: SIZE.area_px])) == {16}
    sink.close()
    sink.close()
    assert pyvirtualcam.closed == 1


@pytest.mark.usefixtures("linux")
def test_the_same_picture_is_converted_once(pyvirtualcam: FakePyvirtualcam) -> None:
    sink, same = opened(), picture(3)
    sink.write(same, 1)
    sink.write(same, 2)
    assert pyvirtualcam.sent[2] is pyvirtualcam.sent[1]


@pytest.mark.parametrize(
    ("platform", "kind", "matrix"),
    [("linux", "v4l2loopback", BT601), ("win32", "obs", BT709), ("darwin", "obs", BT709)],
)
@pytest.mark.usefixtures("linux")
def test_the_colours_are_those_that_readers_take_for_granted(
    monkeypatch: pytest.MonkeyPatch, platform: str, kind: str, matrix: Matrix
) -> None:
    fake = installed(monkeypatch, **{kind: ""})
    sink = CameraSink(platform=platform)
    sink.open(SIZE, 30, chart())
    other = BT709 if matrix is BT601 else BT601
    errors = [np.abs(decoded(fake.sent[0], m).astype(int) - chart()).max() for m in (matrix, other)]
    assert errors[0] <= 3
    assert errors[1] > 20  # so the chart tells them apart
    mirrored = np.abs(decoded(fake.sent[0], matrix)[:, ::-1].astype(int) - chart()).max()
    assert mirrored > 100


def test_windows_takes_obs_before_unity_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = installed(monkeypatch, obs="", unitycapture="")
    assert opened(platform="win32").title == "OBS Virtual Camera"
    assert fake.opened == [("obs", "I420")]


def test_without_obs_windows_takes_unity_capture_in_rgba(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = installed(monkeypatch, obs=OBS_ABSENT, unitycapture="")
    sink = CameraSink(platform="win32")
    sink.open(SIZE, 30, chart())
    assert sink.title == "Unity Video Capture"
    assert np.array_equal(fake.sent[0][:, :, :3], chart())
    assert set(np.unique(fake.sent[0][:, :, 3])) == {255}  # opaque


def test_a_smaller_picture_is_scaled_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = installed(monkeypatch, obs=OBS_ABSENT, unitycapture="")
    sink = opened(platform="win32")
    small = np.full((SIZE.height // 2, SIZE.width // 2, 3), (200, 90, 40), np.uint8)
    sink.write(small, 1)
    assert np.abs(fake.sent[1][:, :, :3].astype(int) - (200, 90, 40)).max() <= 2


@pytest.mark.parametrize(
    ("platform", "kinds", "parts"),
    [
        (
            "win32",
            {"obs": OBS_ABSENT, "unitycapture": UNITY_ABSENT},
            [OBS_ABSENT, UNITY_ABSENT, "install OBS 26", "UnityCapture and run its Install.bat"],
        ),
        (
            "win32",
            {"obs": "virtual camera output could not be started", "unitycapture": UNITY_ABSENT},
            ["OBS Virtual Camera (virtual camera output could not be started)", "stop OBS's own"],
        ),
        ("darwin", {"obs": "[Device not found]"}, ["[Device not found]", "OBS 30 or newer"]),
        ("win32", {"obs": OBS_ABSENT}, ["Unity Video Capture (this pyvirtualcam does not know"]),
    ],
)
def test_the_error_lists_all_that_was_tried_and_how_to_install_each(
    monkeypatch: pytest.MonkeyPatch, platform: str, kinds: dict[str, str], parts: list[str]
) -> None:
    installed(monkeypatch, **kinds)
    message = refusal(platform=platform)
    for part in parts:
        assert part in message
    assert "backend:" not in message  # pyvirtualcam's words for programmers


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_without_pyvirtualcam_it_says_how_to_install_that_and_each_camera(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    message = refusal(platform=platform)
    assert "pip install pyvirtualcam" in message
    for kind in backends_of(platform):
        assert kind.install in message


def test_a_camera_by_name_is_looked_for_in_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "This backend supports only the 'OBS Virtual Camera' device."
    installed(monkeypatch, obs=other, unitycapture="No camera registered with this name.")
    message = refusal("My Camera", platform="win32")
    assert f"tried OBS Virtual Camera ({other}); Unity Video Capture (No camera" in message
    installed(monkeypatch, obs=other, unitycapture="")
    assert opened("My Camera", platform="win32").title == "My Camera"


def test_an_unknown_system_gets_a_sentence() -> None:
    assert refusal(platform="plan9") == "virtual camera: none is known for plan9"


@pytest.mark.usefixtures("pyvirtualcam")
def test_linux_lists_every_device_with_its_reason(linux: FakeLinux) -> None:
    linux.put("/dev/video11", CAPTURE)
    linux.others = [Holder(77, "obs")]
    linux.there.pop("/dev/video10")
    message = refusal()
    assert (
        "/dev/video11 (in use, another program writes to it; only one program at a time can; "
        in (message)
    )
    assert "obs (process 77)" in message
    assert "modprobe v4l2loopback exclusive_caps=1" in message


def test_a_busy_device_is_told_with_who_has_it(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam
) -> None:
    pyvirtualcam.refuse["/dev/video10"] = BUSY
    linux.others = [Holder(5, "ffmpeg"), Holder(9, "obs")]
    message = refusal("/dev/video10")
    assert "Device or resource busy" in message
    assert "ffmpeg (process 5), obs (process 9)" in message


def test_the_second_device_is_tried_when_the_first_is_refused(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam
) -> None:
    linux.put("/dev/video11", OUTPUT)
    pyvirtualcam.refuse["/dev/video10"] = BUSY
    assert opened().title == "/dev/video11"


@pytest.mark.usefixtures("linux")
def test_no_device_at_all_is_told(linux: FakeLinux, pyvirtualcam: FakePyvirtualcam) -> None:
    linux.there.clear()
    assert "v4l2loopback (there is no such device)" in refusal()
    assert "/dev/video77 (there is no such device)" in refusal("/dev/video77")
    assert not pyvirtualcam.sent


def test_a_real_camera_is_never_written_to(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam
) -> None:
    linux.put("/dev/video0", CAPTURE, driver="uvcvideo")
    assert "Camera: a real camera, driver uvcvideo" in refusal("/dev/video0")
    assert not pyvirtualcam.sent


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (None, "is gone; wanted 64x48 YU12"),
        (PixelFormat(1280, 720, "YU12"), "is set to 1280x720 YU12, wanted 64x48 YU12"),
        (PixelFormat(1280, 720, "YUYV"), "is set to 1280x720 YUYV, wanted 64x48 YU12"),
        (PixelFormat(64, 48, "MJPG"), "is set to 64x48 MJPG, wanted 64x48 YU12"),
    ],
)
def test_a_format_that_cannot_be_sent_is_refused_before_a_picture_is_garbled(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam, found: PixelFormat | None, seen: str
) -> None:
    linux.format = found
    linux.others = [Holder(12, "zoom")]
    message = refusal()
    assert seen in message
    if found is not None:
        assert "close zoom (process 12), then switch it on" in message
    assert not pyvirtualcam.sent
    assert pyvirtualcam.closed == 1


@pytest.mark.usefixtures("pyvirtualcam")
def test_a_size_beyond_the_modules_options_is_told(linux: FakeLinux) -> None:
    linux.format = PixelFormat(48, 32, "YU12")  # nobody has it open: the module made it so
    assert "max_width or max_height may be less" in refusal()


@pytest.mark.parametrize(
    ("layout", "code"),
    [
        ("NV12", cv2.COLOR_YUV2RGB_NV12),
        ("YUYV", cv2.COLOR_YUV2RGB_YUYV),
        ("UYVY", cv2.COLOR_YUV2RGB_UYVY),
    ],
)
def test_a_layout_that_a_reader_holds_is_taken_over(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam, layout: str, code: int
) -> None:
    linux.format = PixelFormat(SIZE.width, SIZE.height, layout)
    sink = CameraSink(platform="linux")
    sink.open(SIZE, 30, chart())
    assert pyvirtualcam.opened == [("v4l2loopback", "I420"), ("v4l2loopback", layout)]
    shape = (-1, SIZE.width) if layout == "NV12" else (SIZE.height, SIZE.width, 2)
    rgb_HWC = cv2.cvtColor(pyvirtualcam.sent[0].reshape(shape), code)
    middles = np.s_[3::6, 4::8]
    assert np.abs(rgb_HWC[middles].astype(int) - chart()[middles]).max() <= 3


@pytest.mark.usefixtures("pyvirtualcam")
def test_a_camera_that_goes_away_is_noticed(linux: FakeLinux) -> None:
    sink = opened()
    linux.format = None
    with pytest.raises(SinkError, match="virtual camera /dev/video10: the device is gone"):  # noqa: PT012
        for tick in range(1, 40):
            sink.write(picture(), tick)


@pytest.mark.usefixtures("pyvirtualcam")
def test_a_device_that_cannot_be_asked_for_a_moment_is_not_called_gone(
    linux: FakeLinux, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened()
    linux.format = None
    linux.there.clear()
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    for tick in range(1, 40):
        sink.write(picture(), tick)


def test_an_old_module_lets_two_writers_in_so_the_second_stays_out(
    linux: FakeLinux, pyvirtualcam: FakePyvirtualcam
) -> None:
    linux.is_old = True
    linux.put("/dev/video10", CAPTURE | OUTPUT)
    linux.written = {"/dev/video10"}
    linux.others = [Holder(8, "obs")]
    message = refusal()
    assert "another program writes to it" in message
    assert "obs (process 8)" in message
    assert not pyvirtualcam.opened
    assert not linux.revived


@pytest.mark.parametrize("left", [0, CAPTURE])  # CAPTURE: a reader still has it open
@pytest.mark.usefixtures("pyvirtualcam")
def test_an_old_module_is_made_to_take_pictures_again(linux: FakeLinux, left: int) -> None:
    linux.is_old = True
    linux.put("/dev/video10", left)
    opened()
    assert linux.revived == ["/dev/video10"]


@pytest.mark.usefixtures("pyvirtualcam")
def test_an_old_module_that_does_not_come_back_is_to_be_reloaded(linux: FakeLinux) -> None:
    linux.is_old, linux.revives = True, False
    linux.put("/dev/video10", 0)
    assert "it takes pictures no more until it is loaded anew" in refusal()


@pytest.mark.usefixtures("pyvirtualcam")
def test_what_we_leave_can_be_written_by_others(linux: FakeLinux) -> None:
    linux.is_old = True
    sink = opened()
    linux.put("/dev/video10", 0)  # as it is after the first picture and the close
    sink.close()
    assert linux.revived == ["/dev/video10"]


@pytest.mark.parametrize(("capabilities", "warned"), [(OUTPUT | CAPTURE, True), (OUTPUT, False)])
@pytest.mark.usefixtures("pyvirtualcam")
def test_a_module_without_exclusive_caps_is_warned_of(
    linux: FakeLinux, caplog: pytest.LogCaptureFixture, capabilities: int, warned: bool
) -> None:
    linux.put("/dev/video10", capabilities)
    with caplog.at_level(logging.WARNING):
        opened()
    assert ("exclusive_caps=1: browsers" in caplog.text) == warned


@pytest.mark.usefixtures("linux")
def test_it_says_ai_and_makes_a_repeated_picture_once(pyvirtualcam: FakePyvirtualcam) -> None:
    sink, painted = CameraSink(platform="linux"), picture(255)
    sink.open(SIZE, 30, painted, "top-left")
    sink.write(painted, 1, "top-left")
    sent = pyvirtualcam.sent
    assert sent[1] is sent[0], "the same picture with the same badge"
    assert len(np.unique(sent[0][: SIZE.area_px])) > 5
    sink.write(painted, 2, None)
    assert set(np.unique(sent[2][: SIZE.area_px])) == {235}
    sink.write(painted, 3, "top-left")
    assert np.array_equal(sent[3], sent[0])
    assert (painted == 255).all(), "what other sinks show, too, is left alone"


def test_in_rgba_it_says_ai_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = installed(monkeypatch, obs=OBS_ABSENT, unitycapture="")
    sink, painted = CameraSink(platform="win32"), picture(255)
    sink.open(SIZE, 30, painted, "top-left")
    changed = np.asarray((fake.sent[0].astype(int) < 250).any(2))
    assert 50 < changed.sum() < SIZE.area_px / 4
    assert changed[: SIZE.height // 2, : SIZE.width // 2].any()
    assert set(np.unique(fake.sent[0][:, :, 3])) == {255}
    sink.write(painted, 1)
    assert np.array_equal(fake.sent[1][:, :, :3], painted)


def test_every_kind_says_how_it_is_installed() -> None:
    assert {(kind.platform, kind.name) for kind in BACKENDS} == {
        ("linux", "v4l2loopback"),
        ("win32", "obs"),
        ("win32", "unitycapture"),
        ("darwin", "obs"),
    }
    assert all(kind.install for kind in BACKENDS)
