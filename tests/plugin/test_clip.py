"""Clips: every picture in order, upright, with its time and its colours; or one sentence."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from brushcast.clip import Clip
from brushcast.errors import SourceError
from brushcast.frame import Pixels, Size
from brushcast.recording import Recording

SIZE = Size(96, 64)


def quarters(size: Size = SIZE) -> Pixels:
    """Red, green, blue and grey quarters: upper left, upper right, lower left, lower right."""
    pixels = np.full((size.height, size.width, 3), 128, np.uint8)
    down, right = size.height // 2, size.width // 2
    pixels[:down, :right] = (200, 30, 30)
    pixels[:down, right:] = (30, 200, 30)
    pixels[down:, :right] = (30, 30, 200)
    return pixels


def make_clip(path: Path, times_s: list[Fraction] | None = None, size: Size = SIZE) -> Path:
    times_s = times_s or [Fraction(index, 30) for index in range(30)]
    with Recording(path, size, Fraction(30)) as recording:
        for index, time_s in enumerate(times_s):
            pixels = quarters(size)
            pixels[:32, :32] = 40 + 6 * (index % 30)
            recording.write(pixels, time_s)
    return path


def with_sound(path: Path) -> Path:
    with av.open(path, "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        for index in range(40):
            frame.pts = 1024 * index
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_every_picture_comes_in_order_with_its_time(tmp_path: Path) -> None:
    with Clip(make_clip(tmp_path / "a.mp4")) as clip:
        pictures = list(clip.pictures())
    assert [picture.index for picture in pictures] == list(range(30))
    assert [float(picture.time_s) for picture in pictures] == pytest.approx(
        [index / 30 for index in range(30)], abs=1e-3
    )
    corners = [float(picture.pixels_HWC[8:24, 8:24].mean()) for picture in pictures]
    assert corners == pytest.approx([40 + 6 * index for index in range(30)], abs=3)
    assert clip.damaged == 0


def test_the_information_is_that_of_the_file(tmp_path: Path) -> None:
    with Clip(make_clip(tmp_path / "a.mkv")) as clip:
        assert clip.info.size == SIZE
        assert clip.info.rate == 30
        assert clip.info.seconds == pytest.approx(1, abs=0.05)
        assert clip.info.pictures == 30
        assert clip.info.codec == "h264"
        assert clip.info.audio is None


def test_it_can_be_read_again_from_the_start(tmp_path: Path) -> None:
    with Clip(make_clip(tmp_path / "a.mp4")) as clip:
        once = [picture.pixels_HWC for picture in clip.pictures()]
        again = [picture.pixels_HWC for picture in clip.pictures()]
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_colours_are_within_three_levels(tmp_path: Path) -> None:
    with Clip(make_clip(tmp_path / "a.mp4")) as clip:
        pixels = next(clip.pictures()).pixels_HWC
    for row, column in ((16, 40), (16, 72), (48, 24), (48, 72)):
        wanted = quarters()[row, column].astype(int)
        assert np.abs(pixels[row, column] - wanted).max() <= 3


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times_s = [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(11, 20), Fraction(1)]
    with Clip(make_clip(tmp_path / "a.mp4", times_s)) as clip:
        found = [float(picture.time_s) for picture in clip.pictures()]
    assert found == pytest.approx([float(time_s) for time_s in times_s], abs=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_picture_filmed_sideways_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    upright, turned = make_clip(tmp_path / "a.mp4"), tmp_path / "turned.mp4"
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("the ffmpeg command is not installed")
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", str(upright), "-c", "copy"]
        + ["-metadata:s:v", f"rotate={degrees}", str(turned)],
        check=True,
    )
    wanted = subprocess.run(  # what ffmpeg itself shows
        [ffmpeg, "-v", "error", "-i", str(turned), "-frames:v", "1", "-pix_fmt", "rgb24"]
        + ["-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
    ).stdout
    with Clip(turned) as clip:
        pixels = next(clip.pictures()).pixels_HWC
        size = clip.info.size
    assert size == (SIZE if degrees == 180 else Size(SIZE.height, SIZE.width))
    reference = np.frombuffer(wanted, np.uint8).reshape(pixels.shape).astype(int)
    assert np.abs(pixels - reference).mean() < 4


def test_odd_sides_are_made_even(tmp_path: Path) -> None:
    path = tmp_path / "odd.avi"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 97, 55, "bgr0"
        frame = av.VideoFrame.from_ndarray(np.full((55, 97, 3), 90, np.uint8), "rgb24")
        container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))
    with Clip(path) as clip:
        assert clip.info.size == Size(96, 54)
        assert next(clip.pictures()).pixels_HWC.shape == (54, 96, 3)


def test_the_sound_is_described(tmp_path: Path) -> None:
    silent, sound = make_clip(tmp_path / "a.mp4"), with_sound(tmp_path / "s.mp4")
    both = tmp_path / "both.mp4"
    with Clip(silent) as clip, Recording(both, SIZE, Fraction(30), sound_of=sound) as recording:
        for picture in clip.pictures():
            recording.write(picture.pixels_HWC, picture.time_s)
    with Clip(both) as clip:
        assert clip.info.audio is not None
        assert (clip.info.audio.codec, clip.info.audio.rate_hz) == ("aac", 48000)
        assert len(list(clip.pictures())) == 30


def test_a_file_that_ends_in_the_middle_gives_what_is_there(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", [Fraction(index, 30) for index in range(120)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with Clip(path) as clip:
        count = len(list(clip.pictures()))
    assert 5 < count < 120


def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("this is no video, whatever its name says\n" * 50)
    empty.touch()
    whole = make_clip(tmp_path / "whole.mp4").read_bytes()
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(whole[: len(whole) // 2])  # its tables are at the end
    for path, seen in (
        (tmp_path / "missing.mp4", "no such file"),
        (tmp_path, "is a folder"),
        (empty, "zero bytes"),
        (text, "not a video file"),
        (headless, "not a video file|no picture could be decoded"),
        (with_sound(tmp_path / "sound.mp4"), "no video stream, only audio"),
    ):
        with pytest.raises(SourceError, match=seen) as caught:
            Clip(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_like_an_address_is_a_file_name(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv").rename(tmp_path / "concat:x|y.mkv")
    with Clip(path) as clip:
        assert clip.info.size == SIZE
