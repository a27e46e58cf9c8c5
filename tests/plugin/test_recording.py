"""Recordings: playable at any moment, right colours, and one sentence when it cannot work."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from brushcast.clip import Clip
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.provenance import SOURCE_TYPE_URI, Origin
from brushcast.recording import FORMATS, Recording, check_target

SIZE = Size(160, 96)
ORIGIN = Origin(engine="pocket", look="ink")

WRITER = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from brushcast.frame import Size
from brushcast.recording import Recording
recording = Recording(Path(sys.argv[1]), Size(160, 96), Fraction(30), live=True)
for index in range(100_000):
    recording.write(np.full((96, 160, 3), index % 200, np.uint8), Fraction(index, 30))
    if index == 150:
        print("five seconds", flush=True)
    if index > 150:
        time.sleep(0.01)
"""


def chart(size: Size = SIZE) -> Pixels:
    """64 colours in squares."""
    values = (0, 85, 170, 255)
    colours = np.array([(r, g, b) for r in values for g in values for b in values], np.uint8)
    squares = colours.reshape(8, 8, 3)
    rows = np.repeat(squares, size.height // 8, axis=0)
    return np.ascontiguousarray(np.repeat(rows, size.width // 8, axis=1))


def record(path: Path, count: int = 60, *, live: bool = True, size: Size = SIZE) -> None:
    with Recording(path, size, Fraction(30), live=live) as recording:
        for index in range(count):
            recording.write(chart(size), Fraction(index, 30))


def top_level_boxes(path: Path) -> list[bytes]:
    """The kinds of an MP4's outermost boxes."""
    content, at, kinds = path.read_bytes(), 0, []
    while at + 8 <= len(content):
        kinds.append(content[at + 4 : at + 8])
        length = int.from_bytes(content[at : at + 4], "big")
        at += length if length != 1 else int.from_bytes(content[at + 8 : at + 16], "big")
    return kinds


@pytest.mark.parametrize("ending", sorted(FORMATS))
@pytest.mark.parametrize("live", [True, False])
def test_a_closed_recording_is_whole_and_at_a_constant_rate(
    tmp_path: Path, ending: str, live: bool
) -> None:
    path = tmp_path / f"out{ending}"
    record(path, live=live)
    with Clip(path) as clip:
        times_s = [float(picture.time_s) for picture in clip.pictures()]
        assert clip.info.rate == 30
    assert times_s == pytest.approx([index / 30 for index in range(60)], abs=2e-3)


def test_it_is_tagged_as_bt709_and_every_reader_sees_the_colours(tmp_path: Path) -> None:
    path, size = tmp_path / "out.mp4", Size(640, 384)
    record(path, 5, live=False, size=size)
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries"]
        + ["stream=pix_fmt,color_range,color_space,color_transfer,color_primaries", path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for tag in ("pix_fmt=yuv420p", "color_range=tv", "color_space=bt709", "color_primaries=bt709"):
        assert tag in told
    shown = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-pix_fmt", "rgb24"]
        + ["-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
    ).stdout
    pixels = np.frombuffer(shown, np.uint8).reshape(size.height, size.width, 3)
    middles = np.s_[24::48, 40::80]
    assert np.abs(pixels[middles].astype(int) - chart(size)[middles]).max() <= 4


def test_a_picture_of_another_size_is_brought_to_the_recordings(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recording(path, SIZE, Fraction(30), live=True) as recording:
        for index, size in enumerate((Size(64, 64), SIZE, Size(640, 360))):
            recording.write(
                np.full((size.height, size.width, 3), 60, np.uint8), Fraction(index, 30)
            )
    with Clip(path) as clip:
        seen = [picture.pixels_HWC for picture in clip.pictures()]
    assert [pixels.shape for pixels in seen] == [(96, 160, 3)] * 3
    assert all(np.abs(pixels.astype(int) - 60).max() <= 3 for pixels in seen)


def test_a_picture_that_stands_still_hardly_takes_room(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    sizes = {}
    for count in (1, 25):  # within one key frame's second
        path = tmp_path / f"{count}.mkv"
        with Recording(path, SIZE, Fraction(30), live=True) as recording:
            for index in range(count):
                recording.write(noise, Fraction(index, 30))
        sizes[count] = path.stat().st_size
        with Clip(path) as clip:
            assert len(list(clip.pictures())) == count
    assert sizes[25] < 1.2 * sizes[1]


@pytest.mark.skipif(os.name != "posix", reason="kills a process with a signal")
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_killed_at_any_moment_it_is_playable_up_to_the_last_second(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"out{ending}"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline().strip() == b"five seconds"
    time.sleep(0.1)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with Clip(path) as clip:
        count = len(list(clip.pictures()))
    assert count >= 150 - 31
    checked = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-f", "null", "-"], capture_output=True, text=True
    )
    assert checked.returncode == 0


def test_a_closed_mp4_is_an_ordinary_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    record(path, 90)
    kinds = top_level_boxes(path)
    assert kinds.count(b"moov") == 1
    assert b"moof" not in kinds  # its fragments became one table


def test_times_that_do_not_rise_are_moved_on(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recording(path, SIZE, Fraction(30)) as recording:
        for time_s in (Fraction(0), Fraction(0), Fraction(1, 30), Fraction(1, 60)):
            recording.write(chart(), time_s)
    with Clip(path) as clip:
        assert len(list(clip.pictures())) == 4


def test_closing_twice_or_without_a_picture_is_fine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording(tmp_path / "out.mp4", SIZE, Fraction(30), origin=ORIGIN)
    recording.write(chart(), Fraction(0))
    recording.close()
    content = (tmp_path / "out.mp4").read_bytes()
    recording.close()
    assert (tmp_path / "out.mp4").read_bytes() == content
    assert caplog.text == ""
    Recording(tmp_path / "empty.mp4", SIZE, Fraction(30)).close()


def test_a_target_that_cannot_work_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for path, seen in (
        (tmp_path / "out.avi", "ending '.avi'; wanted one of .mp4"),
        (tmp_path / "out", "ending 'missing'"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / "none" / "out.mp4", "there is no folder"),
    ):
        with pytest.raises(SinkError, match=seen):
            check_target(path)
        with pytest.raises(SinkError, match=seen):
            Recording(path, SIZE, Fraction(30))


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="a folder that even root cannot write")
def test_a_folder_that_only_looks_writable_is_refused() -> None:
    with pytest.raises(SinkError, match=r"cannot be written|not writable"):
        Recording(Path("/proc/out.mp4"), SIZE, Fraction(30))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match="cannot be written"):  # noqa: PT012
        with Recording(path, SIZE, Fraction(30), live=True) as recording:
            for index in range(90):
                recording.write(chart(), Fraction(index, 30))


def test_sound_that_the_format_cannot_hold_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "sound.mkv"
    with av.open(source, "w") as container:
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        for index in range(20):
            frame.pts = 4800 * index
            container.mux(sound.encode(frame))
    for ending, kept in ((".mkv", True), (".m4v", None)):
        path = tmp_path / f"out{ending}"
        with Recording(path, SIZE, Fraction(30), sound_of=source) as recording:
            for index in range(30):
                recording.write(chart(), Fraction(index, 30))
        with Clip(path) as clip:
            assert len(list(clip.pictures())) == 30
            assert kept is None or (clip.info.audio is not None) == kept


def tags(path: Path) -> dict[str, str]:
    """What FFmpeg finds in a file, XMP included; in a transport stream its programme's name."""
    with av.open(path, options={"export_xmp": "1"}) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    return found


@pytest.mark.parametrize("ending", [".mp4", ".m4v", ".mov", ".mkv"])
@pytest.mark.parametrize("live", [True, False])
def test_a_file_says_what_made_its_pictures(tmp_path: Path, ending: str, live: bool) -> None:
    path = tmp_path / f"out{ending}"
    with Recording(path, SIZE, Fraction(30), live=live, origin=ORIGIN) as recording:
        for index in range(40):
            recording.write(chart(), Fraction(index, 30))
    recording.close()
    found = tags(path)
    assert found["comment"] == ORIGIN.comment
    assert "AI" in found["title"]
    if ending == ".mkv":
        assert found["digital_source_type"] == SOURCE_TYPE_URI
    else:
        assert SOURCE_TYPE_URI in found["xmp"]
    if ending in (".mp4", ".m4v"):
        assert path.read_bytes().count(b"<x:xmpmeta") == 1, "closed twice, said once"
    with Clip(path) as clip:
        assert len(list(clip.pictures())) == 40


def test_a_transport_stream_names_it_as_its_service(tmp_path: Path) -> None:
    path = tmp_path / "out.ts"
    with Recording(path, SIZE, Fraction(30), origin=ORIGIN) as recording:
        recording.write(chart(), Fraction(0))
    assert b"AI-restyled (ink)" in path.read_bytes()


def test_an_mp4_ends_with_its_xmp_as_a_box_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recording(path, SIZE, Fraction(30), origin=ORIGIN) as recording:
        recording.write(chart(), Fraction(0))
    kinds = top_level_boxes(path)
    assert (kinds[-1], kinds.count(b"uuid"), kinds.count(b"moov")) == (b"uuid", 1, 1)
    assert path.read_bytes().endswith(ORIGIN.closing_box("mp4"))


def test_a_recording_that_was_never_closed_says_it_too(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recording = Recording(path, SIZE, Fraction(30), live=True, origin=ORIGIN)
    for index in range(90):
        recording.write(chart(), Fraction(index, 30))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())  # as a kill would leave it
    recording.close()
    assert tags(copy)["comment"] == ORIGIN.comment
    with Clip(copy) as clip:
        assert len(list(clip.pictures())) >= 60


def test_a_box_that_does_not_fit_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full by then: the file stays whole."""
    path = tmp_path / "out.mp4"
    recording = Recording(path, SIZE, Fraction(30), origin=ORIGIN)
    recording.write(chart(), Fraction(0))
    real_open = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, box: bytes) -> int:
            return int(self.file.write(box[:100]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    monkeypatch.setattr(Path, "open", lambda *given, **options: Full(real_open(*given, **options)))
    recording.close()
    monkeypatch.undo()
    assert b"uuid" not in top_level_boxes(path)
    with Clip(path) as clip:
        assert len(list(clip.pictures())) == 1
