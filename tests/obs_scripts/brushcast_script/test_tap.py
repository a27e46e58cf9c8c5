"""The capture: one source, kept up whatever happens to it, and nothing left behind."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from brushcast_script import libobs
from brushcast_script.tap import Tap, tap_size
from tests.obs_scripts.conftest import FakeObs, until


@pytest.fixture
def tap(fake: FakeObs, tmp_path: Path) -> Iterator[Tap]:
    made = Tap(fake, lambda: tmp_path / "obs-in")  # type: ignore[arg-type]  # acts like it
    yield made
    made.close()
    assert not fake.views
    assert not (tmp_path / "obs-in").exists()
    assert all(source.references == source.active == 0 for source in fake.sources.values())


def written(path: Path) -> int:
    return int(struct.unpack_from("<Q", path.read_bytes(), 64)[0])


@pytest.mark.parametrize(
    ("native", "wanted"),
    [((640, 480), (640, 480)), ((1920, 1080), (1280, 720)), ((641, 359), (640, 360)),
     ((1080, 1920), (720, 1280)), ((2, 2), (16, 16))],
)  # fmt: skip
def test_sizes(native: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert tap_size(*native) == wanted


def test_a_source_is_captured_in_its_own_shape(
    fake: FakeObs, tap: Tap, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "brushcast_script")
    fake.add_source("Webcam", width=64, height=48)
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")
    assert fake.tapped is not None
    assert (fake.tapped.base_width, fake.tapped.output_height) == (64, 48)
    assert fake.tapped.output_format == libobs.BGRA
    fake.show_picture(b"\7" * 64 * 48 * 4, 256)
    assert written(tmp_path / "obs-in") == 1
    assert (tmp_path / "obs-in").read_bytes()[8192 : 8192 + 8] == b"\7" * 8
    assert [source.active for source in fake.sources.values() if source.name == "Webcam"] == [1]
    tap.follow("")
    until(lambda: tap.state.phase == "off")
    assert not fake.data_capture
    assert "captured at 64x48: 0." in caplog.text


def test_obs_28_draws_in_its_canvas_and_converts(fake: FakeObs, tap: Tap) -> None:
    fake.views_have_sizes = False
    fake.add_source("Webcam", width=64, height=48)
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")
    assert fake.tapped is None
    assert fake.converted[:3] == (libobs.BGRA, 64, 48)
    (item,) = fake.items.values()
    assert item.values["bounds"] == (640, 360), "stretched over the canvas, and back"


def test_what_is_not_there_yet_is_waited_for(fake: FakeObs, tap: Tap) -> None:
    tap.follow("Webcam")
    until(lambda: "there is no source 'Webcam'" in tap.state.message)
    number = fake.add_source("Webcam", width=0, height=0)
    until(lambda: "no picture yet" in tap.state.message)
    fake.sources[number].width, fake.sources[number].height = 64, 48
    until(lambda: tap.state.phase == "live")


def test_another_size_another_canvas_a_stopped_output(fake: FakeObs, tap: Tap) -> None:
    number = fake.add_source("Webcam", width=64, height=48)
    tap.follow("Webcam")
    until(lambda: tap.state.width == 64)
    fake.sources[number].width = 128
    until(lambda: tap.state.width == 128)
    before = fake.views[:]
    fake.info.base_width = 1920
    until(lambda: fake.views and fake.views != before)
    until(lambda: tap.state.phase == "live")
    fake.output_active = False
    until(lambda: fake.output_active)


def test_renamed_it_is_followed_and_deleted_it_is_let_go(fake: FakeObs, tap: Tap) -> None:
    number = fake.add_source("Webcam", width=64, height=48)
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")
    fake.sources[number].name = "Camera"
    until(lambda: tap.state.source == "Camera" and tap.state.phase == "live")
    fake.sources[number].removed = True
    until(lambda: tap.state.phase == "waiting")
    until(lambda: fake.sources[number].references == 0)
    assert not fake.data_capture


def test_our_own_picture_is_no_source(fake: FakeObs, tap: Tap) -> None:
    fake.add_source("Brushcast", kind=b"brushcast_picture")
    tap.follow("Brushcast")
    until(lambda: "own picture" in tap.state.message)


def test_what_obs_refuses_is_said(fake: FakeObs, tap: Tap) -> None:
    fake.refuses_output = True
    fake.add_source("Webcam")
    tap.follow("Webcam")
    until(lambda: "OBS does not start the capture" in tap.state.message)
    fake.refuses_output = False
    until(lambda: tap.state.phase == "live")


def test_a_ring_that_was_taken_away_is_made_anew(fake: FakeObs, tap: Tap, tmp_path: Path) -> None:
    fake.add_source("Webcam", width=16, height=16)
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")
    views = fake.views[:]
    (tmp_path / "obs-in").unlink()
    until((tmp_path / "obs-in").exists)
    fake.show_picture(b"\1" * 1024, 64)
    assert written(tmp_path / "obs-in") == 1
    assert fake.views == views, "the capture itself went on"


def test_let_go_is_at_once_and_for_good(fake: FakeObs, tap: Tap) -> None:
    number = fake.add_source("Webcam")
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")
    tap.let_go()
    assert not fake.data_capture
    assert fake.sources[number].references == 0
    fake.show_picture(b"\1" * 640 * 480 * 4, 2560)  # the last one, too late
    assert tap.state.phase == "off"
    tap.follow("Webcam")
    until(lambda: tap.state.phase == "live")


def test_a_reload_registers_nothing_anew(fake: FakeObs, tmp_path: Path) -> None:
    for _ in range(2):
        tap = Tap(fake, lambda: tmp_path / "obs-in")  # type: ignore[arg-type]
        tap.close()
