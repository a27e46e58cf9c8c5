"""The clips that quality is measured on: the bundled one, or files of the user's.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from brushcast.errors import SourceError
from brushcast.frame import Pixels, Size, fit
from brushcast_worker.quality.play import CHUNK

GRAIN = 2 * CHUNK  # every second picture makes whole chunks, too
BEGIN = 8  # pictures that are passed over: cameras open dark
BUNDLED_BEGIN = 100  # the portrait moves and smiles there
MOST = 20_000  # pictures of a file that are looked at
# What training never sees: whole clips, and the last pictures of others (the weights' README).
HELD_OUT = ("webcam-again", "webcam-sister", "webcam-thanks")
HELD_OUT_END = {"animation": 110, "street": 60}


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures of one clip ``[T 3 H W]`` in [-1, 1]. ``trained_on``: yes, no or unknown."""

    name: str
    video_TCHW: Tensor
    trained_on: str

    @property
    def first_HWC(self) -> Pixels:
        """The first picture, for people and for OpenCV."""
        scaled = (self.video_TCHW[0] + 1) * 127.5
        return np.ascontiguousarray(scaled.round().byte().permute(1, 2, 0).cpu().numpy())


def samples(paths: Sequence[Path], size: Size, pictures: int) -> list[Sample]:
    """So many pictures (a multiple of 8) of each file; a folder stands for its files, none for the
    bundled clip. Of a held-out end its first pictures. Raises SourceError.
    """
    if not paths:
        bundled = Path(str(resources.files("brushcast").joinpath("assets", "clip.mp4")))
        return [_sample(bundled, "bundled clip", size, pictures, BUNDLED_BEGIN, "yes")]
    files: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        if not inside:
            raise SourceError(f"{path}: the folder is empty; wanted video files")
        files += inside
    return [
        _sample(
            path, path.stem, size, pictures,
            -HELD_OUT_END[path.stem] if path.stem in HELD_OUT_END else BEGIN,
            "no" if path.stem in (*HELD_OUT, *HELD_OUT_END) else "unknown",
        )
        for path in files
    ]  # fmt: skip


def _pictures(path: Path) -> Iterator[Pixels]:
    """Every picture of a file. A bare GPU machine that only judges weights may lack PyAV: there
    OpenCV reads, with its own idea of a file's colours.
    """
    try:
        from brushcast.clip import Clip
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        yield from _pictures_by_opencv(path)
        return
    with Clip(path) as clip:
        yield from (picture.pixels_HWC for picture in clip.pictures())


def _pictures_by_opencv(path: Path) -> Iterator[Pixels]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceError(f"{path}: no such file, or not a video file")
        while (read := capture.read())[0]:
            yield np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


def _sample(
    path: Path, name: str, size: Size, pictures: int, begin: int, trained_on: str
) -> Sample:
    """``begin``: from the file's end if negative."""
    fitted = (fit(picture, size) for picture in _pictures(path))
    if begin < 0:
        taken = list(islice(fitted, MOST))[begin:][:pictures]
    else:
        taken = list(islice(fitted, begin, begin + pictures))
    usable = len(taken) // GRAIN * GRAIN
    if usable < 2 * GRAIN:
        raise SourceError(
            f"{path}: {len(taken)} pictures to measure; wanted at least {2 * GRAIN} after the "
            f"first {max(0, begin)}"
        )
    taken = taken[:usable]
    video = torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Sample(name, video, trained_on)
