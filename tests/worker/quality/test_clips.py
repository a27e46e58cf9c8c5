"""Clips: which pictures are taken, and what is said of files that do not do."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from brushcast.errors import SourceError
from brushcast.frame import Size
from brushcast_worker.quality.clips import BEGIN, HELD_OUT_END, samples

SIZE = Size(64, 48)


def film(path: Path, pictures: int) -> Path:
    """Each picture is a little lighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (96, 64))
    for n in range(pictures):
        writer.write(np.full((64, 96, 3), n, np.uint8))
    writer.release()
    return path


def lightness(path: Path, pictures: int = 16) -> list[int]:
    (sample,) = samples([path], SIZE, pictures)
    assert sample.video_TCHW.shape[1:] == (3, 48, 64)
    return [round((float(x.mean()) + 1) * 127.5) for x in sample.video_TCHW]


def test_the_bundled_clip_is_there_and_says_that_it_was_trained_on() -> None:
    (sample,) = samples([], SIZE, 16)
    assert sample.video_TCHW.shape == (16, 3, 48, 64)
    assert sample.trained_on == "yes"
    assert sample.first_HWC.shape == (48, 64, 3)
    assert -1 <= float(sample.video_TCHW.min()) < float(sample.video_TCHW.max()) <= 1


def test_the_first_pictures_are_passed_over(tmp_path: Path) -> None:
    seen = lightness(film(tmp_path / "mine.avi", 60))
    assert np.allclose(seen, np.arange(BEGIN, BEGIN + 16), atol=2)


def test_of_a_held_out_end_the_end_is_taken(tmp_path: Path) -> None:
    path = film(tmp_path / "street.avi", 100)
    seen = lightness(path)
    begin = 100 - HELD_OUT_END["street"]
    assert np.allclose(seen, np.arange(begin, begin + 16), atol=2)
    (sample,) = samples([path], SIZE, 16)
    assert sample.trained_on == "no"


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("b.avi", "a.avi", "webcam-sister.avi"):
        film(tmp_path / name, 40)
    found = samples([tmp_path], SIZE, 16)
    assert [s.name for s in found] == ["a", "b", "webcam-sister"]
    assert [s.trained_on for s in found] == ["unknown", "unknown", "no"]


def test_a_short_clip_gives_what_it_has(tmp_path: Path) -> None:
    assert len(lightness(film(tmp_path / "a.avi", BEGIN + 27), 48)) == 24


def test_a_machine_without_pyav_reads_with_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "mine.avi", 60)
    with_av = lightness(path)
    monkeypatch.delitem(sys.modules, "brushcast.clip", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    assert lightness(path) == pytest.approx(with_av, abs=2)
    with pytest.raises(SourceError, match="absent.mp4"):
        samples([tmp_path / "absent.mp4"], SIZE, 16)


def test_what_does_not_do_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="empty"):
        samples([tmp_path], SIZE, 16)
    with pytest.raises(SourceError, match="absent.mp4"):
        samples([tmp_path / "absent.mp4"], SIZE, 16)
    with pytest.raises(SourceError, match="wanted at least 16"):
        samples([film(tmp_path / "short.avi", 12)], SIZE, 16)
