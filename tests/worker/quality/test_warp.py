"""Warp error: motion of the source is no fault, everything else is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.quality.metrics import flicker
from brushcast_worker.quality.warp import Motion, grey, pixels

PICTURES = 5


def pushed(speed_px: int) -> Tensor:
    """A textured scene, pushed sideways."""
    coarse = torch.rand(1, 3, 14, 40, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    scene = F.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(-1, 1)
    views = [scene[..., speed_px * n : speed_px * n + 160] for n in range(PICTURES)]
    return torch.cat(views)


def test_what_moves_with_the_source_is_no_error() -> None:
    source = pushed(4)
    motion = Motion(source)
    assert flicker(source) > 10
    assert motion.own() < 1
    assert motion.error(-source) < 1  # another look that moves alike


def test_what_does_not_move_with_the_source_is() -> None:
    motion = Motion(pushed(4))
    assert motion.error(pushed(0)) > 10


@pytest.mark.parametrize("speed_px", [0, 4])
def test_flicker_is_found_in_levels(speed_px: int) -> None:
    source = 0.5 * pushed(speed_px)
    shaking = source + torch.tensor([0.0, 6, 0, 6, 0]).view(-1, 1, 1, 1) / 127.5
    found = Motion(source).error(shaking)
    assert found == pytest.approx(6, abs=0.6)


def test_what_was_hidden_does_not_count() -> None:
    """A board that is pushed over a scene uncovers what nobody could know."""
    back, board = pushed(0), pushed(4)[:, :, 30:80]
    source = back.clone()
    for n in range(PICTURES):
        at = 20 + 6 * n
        source[n, :, 30:80, at : at + 40] = board[0, :, :, :40]
    assert Motion(source).own() < 0.5 * flicker(source)


def test_a_part_is_measured_by_its_own_motion() -> None:
    source = torch.cat([pushed(0)[:3], pushed(6)[1:]])
    motion = Motion(source)
    assert motion.own(0, 3) < 0.1
    assert motion.error(source[2:], start=2) < 1
    assert motion.error(source[2:]) > 5  # by another stretch's


def test_where_nothing_can_be_seen_there_is_no_figure() -> None:
    scenes = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    motion = Motion(scenes)
    motion._seen_THW.zero_()
    assert math.isnan(motion.error(scenes))


def test_pictures_for_the_trackers() -> None:
    x = torch.tensor([-2.0, -1, 0, 1, 2]).expand(1, 3, 1, 5)
    (picture,) = pixels(x)
    assert picture[0, :, 0].tolist() == [0, 0, 127.5, 255, 255]
    (flat,) = grey(x)
    assert flat[0].tolist() == [0, 0, 128, 255, 255]
