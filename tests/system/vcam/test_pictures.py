"""What other programs read from a real v4l2loopback, and what is told of a real camera: sizes,
layouts, colours.

The promise: whoever reads gets the size and the colours that were sent, within three levels, or a
clear refusal; never a garbled picture.
"""

import pytest

from tests.system.vcam.conftest import Scenes

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

DEVICES = ("open", "exclusive")
SIZES = ("640x480", "1280x720")
FOURCC = {"I420": "YU12", "NV12": "NV12", "YUYV": "YUYV", "UYVY": "UYVY"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_readers_get_the_right_size_and_colours_within_three_levels(
    scenes: Scenes, device: str, size: str
) -> None:
    seen = scenes["pictures"][f"{device} {size}"]
    assert seen["format"] == f"{size} YU12"
    for program in ("ffmpeg", "opencv"):
        assert 0 <= seen[program] <= 3, program  # a mirrored chart would be far off


@pytest.mark.parametrize("size", SIZES)
def test_the_device_announces_the_matrix_that_is_sent(scenes: Scenes, size: str) -> None:
    """BT.601 whatever the size: why, is in camera_sink."""
    told = scenes["pictures"][f"exclusive {size}"]["colours"]
    assert "maps to ITU-R 601" in told
    assert "maps to Limited Range" in told


@pytest.mark.parametrize("layout", FOURCC)
@pytest.mark.parametrize("size", SIZES)
def test_the_layout_that_a_reader_holds_is_taken_over(
    scenes: Scenes, layout: str, size: str
) -> None:
    seen = scenes["layouts"][f"{layout} {size}"]
    assert seen.pop("format") == f"{size} {FOURCC[layout]}"
    assert seen
    for program, levels in seen.items():
        assert 0 <= levels <= 3, program


def test_a_layout_that_cannot_be_sent_is_refused_with_who_holds_it(scenes: Scenes) -> None:
    seen = scenes["layouts"]["RGB3"]
    assert "is set to 640x480 RGB3, wanted 640x480 YU12" in seen["refusal"]
    assert f"close ffmpeg (process {seen['pid']})" in seen["refusal"]


@pytest.mark.parametrize("wish", ["yuyv422", "nv12", "rgb24", "800x600"])
def test_a_reader_that_wishes_for_another_format_gets_the_right_picture(
    scenes: Scenes, wish: str
) -> None:
    assert 0 <= scenes["pictures"]["wishes"][wish] <= 3


def test_apps_see_a_camera_that_only_captures_while_it_is_on(scenes: Scenes) -> None:
    """Chromium lists no device that takes pictures, too."""
    seen = scenes["pictures"]
    assert seen["idle"] == {"open": "captureoutput", "exclusive": "output"}
    assert seen["exclusive 1280x720"]["capabilities"] == "capture"
    assert seen["left"] == seen["idle"]  # 0.12 alone would leave the second with none


def test_a_real_camera_is_read_but_never_written_to(scenes: Scenes) -> None:
    camera = scenes["real_camera"]
    assert camera["seqs"] == [0, 1, 2, 3]
    width, height = (int(side) for side in camera["size"].split("x"))
    assert camera["shapes"] == [[height, width, 3]] * 4
    assert camera["detail"] > 10
    assert 0 <= camera["age_ms"] < 2000
    assert "real camera" in camera["as sink"]
    assert camera["auto"] == camera["title"]
    assert "/dev/video20" in camera["no device"]
