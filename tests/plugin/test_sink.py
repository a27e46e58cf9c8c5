"""Sinks: what they promise, and what is told when they cannot work. Cameras: test_camera_sink."""

import sys
from pathlib import Path

import numpy as np
import pytest

from brushcast.clip import Clip
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.provenance import Origin
from brushcast.sink import (
    FileSink,
    NullSink,
    SinkSpec,
    free_path,
    make_sink,
    parse_sink,
)

SIZE = Size(64, 48)


def picture(value: int = 100) -> Pixels:
    return np.full((SIZE.height, SIZE.width, 3), value, np.uint8)


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


def test_a_file_says_ai_from_its_first_picture_on(tmp_path: Path) -> None:
    sink, painted = FileSink(tmp_path / "out.mkv"), picture(255)
    sink.open(SIZE, 30, painted, "top-left")
    for tick, badge in ((1, "top-left"), (2, None), (3, None)):
        sink.write(painted, tick, badge)  # type: ignore[arg-type]
    sink.close()
    with Clip(tmp_path / "out.mkv") as clip:
        least = [int(shown.pixels_HWC.min()) for shown in clip.pictures()]
    assert [level < 150 for level in least] == [True, True, False, False]


def test_a_file_says_what_made_it(tmp_path: Path) -> None:
    origin = Origin(engine="pocket", look="ink")
    sink = make_sink(parse_sink(f"file:{tmp_path}/out.mkv"), origin=origin)
    sink.open(SIZE, 30, picture())
    sink.close()
    assert origin.comment.encode() in (tmp_path / "out.mkv").read_bytes()
