"""Landmarks: a painting that swims over the face is found, and so is a hole."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.quality.landmarks import Landmarks, Wander, corners, faint, follow
from brushcast_worker.quality.warp import grey

PICTURES = 7


def scene(speed_px: int = 2, wobble_px: int = 0) -> Tensor:
    """Patches that are pushed sideways; every second picture sits lower."""
    coarse = torch.rand(1, 3, 16, 30, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    whole = F.interpolate(coarse, scale_factor=10)
    views = []
    for n in range(PICTURES):
        top, left = 10 - wobble_px * (n % 2), speed_px * n
        views.append(whole[..., top : top + 128, left : left + 192])
    return torch.cat(views)


def wander(source: Tensor, output: Tensor) -> Wander:
    return Landmarks(source).wander(output)


def test_the_same_motion_in_other_colours_wanders_nowhere() -> None:
    found = wander(scene(), -0.6 * scene())
    assert found.points > 30
    assert found.p95_px < 0.2
    assert found.lost < 0.1


def test_paint_that_swims_is_found() -> None:
    found = wander(scene(), scene(wobble_px=3))
    assert 2.5 < found.p95_px < 3.5


def test_paint_that_stays_behind_is_found() -> None:
    found = wander(scene(), scene(speed_px=0))
    assert found.lost > 0.5 or found.p95_px > 3


def test_landmarks_that_are_painted_over_are_lost() -> None:
    painted = scene()
    painted[3:] = 0
    assert wander(scene(), painted).lost > 0.4


def test_a_picture_without_corners_has_no_answer() -> None:
    found = wander(torch.zeros(7, 3, 64, 64), torch.zeros(7, 3, 64, 64))
    assert found.points == 0
    assert math.isnan(found.p95_px)
    assert math.isnan(faint(*[torch.zeros(1, 3, 64, 64)] * 3))


def test_holes_are_counted() -> None:
    source = scene()[:1]
    assert faint(source, source, source) == 0
    assert faint(source, 0.6 * source, source) == 0
    assert faint(source, 0.2 * source, source) == 1
    half = source.clone()
    half[..., 96:] = 0
    assert 0.2 < faint(source, half, source) < 0.8


def test_points_are_followed() -> None:
    pictures = grey(scene(speed_px=2))
    start = corners(pictures[0])
    tracks, alive = follow(pictures, start)
    moved = (tracks[-1] - tracks[0])[alive]
    assert abs(moved[:, 0] + 2 * (PICTURES - 1)).mean() < 0.2
    assert abs(moved[:, 1]).mean() < 0.2
