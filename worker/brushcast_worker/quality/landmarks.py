"""Landmarks: whether a face's corners stay where the face has them, and stay drawn.

Corners of the source are followed by optical flow (Lucas and Kanade, pyramids) in the source and,
from the same places, in the output. Where the two part, the painting swims over the face.

Letters: T pictures, N points, C channels, H W size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brushcast_worker.quality.warp import grey

MOST = 200  # corners
APART_PX = 8
STRIDE = 3  # every third picture is looked at
LEAST_QUALITY = 0.02  # of the strongest corner (Shi and Tomasi)
WINDOW_PX = 21  # an eye; of 15, 21 and 31 the one that loses least
LEVELS = 2  # of the pyramid above the picture
BACK_PX = 1.0  # followed there and back a point must come back this near, or it is lost
FAINT = 0.5  # of the teacher's local contrast: less is a hole
LEAST_CONTRAST = 4.0  # levels: where the teacher draws nothing, nothing can be missing

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wander:
    """How far the output's landmarks go from the source's, px. ``lost``: share of those found again
    in the source that are not in the output. NaN where there is none.
    """

    median_px: float
    p95_px: float
    lost: float
    points: int


class Landmarks:
    """The corners of a source, found once, for any number of outputs to be held against."""

    def __init__(self, source_TCHW: Tensor) -> None:
        pictures = grey(source_TCHW)
        start = corners(pictures[0])
        tracks, alive = follow(pictures, start)
        self._start, tracks = start[alive], tracks[:, alive]
        self._at = list(range(STRIDE, len(pictures), STRIDE))
        self._near = [tracks[n] for n in self._at]
        self._there = [
            found_again(pictures[0], pictures[n], self._start, near)
            for n, near in zip(self._at, self._near, strict=True)
        ]

    def wander(self, output_TCHW: Tensor) -> Wander:
        """Finds the corners of the first picture again in later ones, in source and output, looking
        where the source's corner has gone. Each picture is held against the first, so errors do
        not add up.
        """
        first, *later = grey(output_TCHW[[0, *self._at]])
        apart, lost = [], []
        for drawn, near, (there, is_there) in zip(later, self._near, self._there, strict=True):
            painted, is_painted = found_again(first, drawn, self._start, near)
            apart.append(np.linalg.norm(painted - there, axis=1)[is_there & is_painted])
            lost.append(~is_painted[is_there])
        all_apart, all_lost = np.concatenate(apart), np.concatenate(lost)
        share = float(all_lost.mean()) if all_lost.size else float("nan")
        if not all_apart.size:
            return Wander(float("nan"), float("nan"), share, len(self._start))
        p50, p95 = np.percentile(all_apart, (50, 95))
        return Wander(float(p50), float(p95), share, len(self._start))


def faint(source_TCHW: Tensor, output_TCHW: Tensor, teacher_TCHW: Tensor) -> float:
    """Share of the source's corners (eyes, mouths, letters) around which the output has less than
    half the teacher's contrast: holes.
    """
    found = []
    pictures = zip(grey(source_TCHW), grey(output_TCHW), grey(teacher_TCHW), strict=True)
    for source, output, teacher in pictures:
        points = np.rint(corners(source)).astype(int)
        wanted, drawn = (_contrast(p)[points[:, 1], points[:, 0]] for p in (teacher, output))
        counts = wanted >= LEAST_CONTRAST
        found.append(drawn[counts] < FAINT * wanted[counts])
    all_found = np.concatenate(found)
    return float(all_found.mean()) if all_found.size else float("nan")


def corners(picture: NDArray[np.uint8]) -> Points:
    """``[N 2]`` x and y of the strongest corners of a grey picture; there may be none."""
    found = cv2.goodFeaturesToTrack(picture, MOST, LEAST_QUALITY, APART_PX)
    found = np.zeros((0, 2)) if found is None else found
    return np.asarray(found, np.float32).reshape(-1, 2)


def follow(pictures: list[NDArray[np.uint8]], start: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Tracks ``[T N 2]`` of the points from picture to picture, and which were never lost."""
    tracks, alive = [start], np.ones(len(start), bool)
    for a, b in zip(pictures, pictures[1:], strict=False):
        there, found = found_again(a, b, tracks[-1], tracks[-1])
        alive = alive & found
        tracks.append(there)
    return np.stack(tracks), alive


def found_again(
    a: NDArray[np.uint8], b: NDArray[np.uint8], points: Points, near: Points
) -> tuple[Points, NDArray[np.bool_]]:
    """Where the points of ``a`` are in ``b``, sought from ``near`` on; and for which the way back
    leads to where they were.
    """
    if not len(points):
        return points, np.zeros(0, bool)
    there, found = _seek(a, b, points, near)
    back, found_back = _seek(b, a, there, points)
    return there, found & found_back & (np.linalg.norm(back - points, axis=1) < BACK_PX)


def _seek(
    a: NDArray[np.uint8], b: NDArray[np.uint8], points: Points, near: Points
) -> tuple[Points, NDArray[np.bool_]]:
    before, guess = (np.array(p, np.float32).reshape(-1, 1, 2) for p in (points, near))
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        a, b, before, guess,
        winSize=(WINDOW_PX, WINDOW_PX), maxLevel=LEVELS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    height, width = a.shape
    there = np.asarray(there, np.float32)[:, 0]
    inside = ((there >= 0) & (there <= (width - 1, height - 1))).all(1)
    return there, np.asarray(found).astype(bool)[:, 0] & inside


def _contrast(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Deviation of the luminance around each pixel, levels."""
    x = picture.astype(np.float32)
    mean = cv2.blur(x, (WINDOW_PX, WINDOW_PX))
    square = cv2.blur(x * x, (WINDOW_PX, WINDOW_PX))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)
