"""Looks that are made of something."""

from __future__ import annotations

import pytest
import torch

from tests.worker.teachers.conftest import check_look, finished, room


@pytest.mark.parametrize("style", ["neon", "papercut", "stained-glass", "clay"])
def test_it_is_a_picture(style: str) -> None:
    check_look(style)


def test_neon_is_a_night_with_lights() -> None:
    y = finished(room(), "neon")
    assert y.mean() < 0.45
    assert y.amax(1).max() > 2 * y.amax(1).median()


def test_glass_has_lead() -> None:
    x = torch.full((1, 3, 96, 128), 0.2)
    x[..., 64:] = 0.9
    y = finished(x, "stained-glass").amax(1)
    assert y[..., 20:76, 58:70].amin(-1).max() < 0.25, "all along the edge"


def test_clay_is_lit_from_top_left() -> None:
    x = torch.full((1, 3, 96, 96), 0.35)
    x[..., 32:64, 32:64] = 0.75
    y = finished(x, "clay").mean(1)[0]
    assert y[26:38, 40:56].amax() > y[58:70, 40:56].amax()
    assert y[40:56, 26:38].amax() > y[40:56, 58:70].amax()
