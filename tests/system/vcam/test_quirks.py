"""The quirks of v4l2loopback, each with the promise that holds in spite of it. The guest has
0.12.7, the most quirky of those in use.
"""

import pytest

from tests.system.vcam.conftest import Scenes

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

DEVICES = pytest.mark.parametrize("device", ["open", "exclusive"])
WRONG = "max_width=640 max_height=480"
RIGHT = "exclusive_caps=1 card_label=Brushcast"


@DEVICES
def test_a_reader_before_the_first_picture_is_sent_away_and_may_come_again(
    scenes: Scenes, device: str
) -> None:
    seen = scenes["reader_first"][device]
    assert seen["early"]["code"] not in (0, None)  # at once, it does not hang
    assert seen["then"] == {"levels": seen["then"]["levels"], "code": 0, "words": ""}
    assert 0 <= seen["then"]["levels"] <= 3


@DEVICES
def test_a_killed_writer_comes_back_under_a_program_that_reads_on(
    scenes: Scenes, device: str
) -> None:
    seen = scenes["writer_killed"][device]
    assert seen["ready"]["event"] == "ready", seen["ready"]
    assert seen["before"]
    assert seen["again"]["event"] == "ready", seen["again"]
    assert seen["after"]
    assert seen["runs"]
    assert 0 <= seen["levels"] <= 3
    assert seen["stopped"]["code"] == 0
    rows = {row["kind"]: row for row in seen["stopped"]["event"]["sinks"]}
    assert rows["null"]["state"] == rows["camera"]["state"] == "LIVE"


@DEVICES
def test_the_second_writer_is_told_who_the_first_is_and_gets_in_when_that_dies(
    scenes: Scenes, device: str
) -> None:
    seen = scenes["two_writers"][device]
    assert "in use, another program writes to it" in seen["refusal"]
    assert f"ffmpeg (process {seen['pid']})" in seen["refusal"]
    assert 0 <= seen["then"] <= 3


def test_when_one_device_is_taken_another_is_found(scenes: Scenes) -> None:
    assert scenes["two_writers"]["any"] == "/dev/video11"


@DEVICES
def test_a_size_that_a_reader_holds_is_refused_before_anything_is_garbled(
    scenes: Scenes, device: str
) -> None:
    seen = scenes["size_mismatch"][device]
    assert "is set to 320x240 YU12, wanted 640x480 YU12" in seen["refusal"]
    assert f"close ffmpeg (process {seen['pid']})" in seen["refusal"]
    assert seen["goes on"]
    assert seen["count"] >= 4
    assert seen["worst"] <= 3  # of all pictures that it got, before and after the refusal


def test_a_device_that_is_open_as_often_as_it_may_be_is_told(scenes: Scenes) -> None:
    seen = scenes["too_many"]
    assert "as many programs have it open as may" in seen["other"]
    assert seen["alone"] == "/dev/video10"  # it cannot be asked for its format, and still works
    assert "/dev/video77 (there is no such device)" in seen["no device"]


def test_without_exclusive_caps_it_works_and_says_that_browsers_do_not_list_it(
    scenes: Scenes,
) -> None:
    seen = scenes["module_options"][""]
    assert not seen["refusal"]
    assert any("without exclusive_caps=1" in line for line in seen["warnings"])
    assert seen["doctor"]["state"] == "warn"
    assert "modprobe v4l2loopback exclusive_caps=1" in seen["doctor"]["advice"]


def test_a_module_that_allows_smaller_pictures_only_is_told(scenes: Scenes) -> None:
    seen = scenes["module_options"][WRONG]
    assert "is set to 640x480 YU12, wanted 1280x720 YU12" in seen["refusal"]
    assert "max_width or max_height may be less" in seen["refusal"]


def test_the_right_options_leave_nothing_to_say(scenes: Scenes) -> None:
    seen = scenes["module_options"][RIGHT]
    assert (seen["refusal"], seen["warnings"]) == ("", [])
    assert seen["doctor"]["state"] == "ok"
    assert "/dev/video10 (Brushcast)" in seen["doctor"]["message"]


def test_without_the_module_it_says_how_to_load_it(scenes: Scenes) -> None:
    seen = scenes["module_options"]["absent"]
    assert "apt install v4l2loopback-dkms" in seen["refusal"]
    assert "v4l2loopback-dkms" in seen["doctor"]["advice"]
    for said in (seen["refusal"], seen["doctor"]["advice"]):
        assert "modprobe v4l2loopback exclusive_caps=1 card_label=Brushcast" in said
