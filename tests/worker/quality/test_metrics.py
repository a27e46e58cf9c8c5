"""Figures whose answer is known beforehand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.quality.metrics import (
    difference,
    edge_ssim,
    flicker,
    gradient_energy,
    gradient_size,
    luminance,
    psnr,
    sharpness,
)


def picture(count: int = 1, seed: int = 0) -> Tensor:
    """Patches with clear edges."""
    coarse = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, scale_factor=8)


def blurred(x: Tensor, window: int = 5) -> Tensor:
    return F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)


def test_a_tenth_of_the_range_is_20_db() -> None:
    x = torch.zeros(1, 3, 8, 8)
    assert psnr(x, x + 0.2) == pytest.approx(20, abs=1e-4)


def test_differences_are_in_levels() -> None:
    x = torch.zeros(2, 3, 8, 8)
    assert difference(x, x + 2 / 127.5) == pytest.approx(2, abs=1e-4)


def test_flicker_is_what_changes_from_picture_to_picture() -> None:
    still = picture().expand(6, -1, -1, -1)
    assert flicker(still) == 0
    shaking = still + torch.tensor([0.0, 3.0] * 3).view(6, 1, 1, 1) / 127.5
    assert flicker(shaking) == pytest.approx(3, abs=1e-3)


def test_blur_is_found_and_cannot_pass_for_sharp() -> None:
    x = picture()
    assert sharpness(x, x) == pytest.approx(1)
    assert sharpness(blurred(x, 3), x) < 0.8
    assert gradient_energy(blurred(x)) < 0.8 * gradient_energy(x)
    assert sharpness(x + 0.3 * torch.randn(x.shape), x) > 1.2


def test_the_mean_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = torch.linspace(-1, 1, 21).expand(1, 3, 5, 21)
    assert gradient_size(ramp) == pytest.approx(0.1, abs=1e-5)


def test_green_is_the_brightest() -> None:
    red, green, blue = (luminance(torch.eye(3)[n].view(1, 3, 1, 1)).item() for n in range(3))
    assert green > red > blue
    assert red + green + blue == pytest.approx(1)


def test_structure_is_edges_and_not_colours() -> None:
    x = picture()
    assert edge_ssim(x, x) == pytest.approx(1, abs=1e-4)
    assert edge_ssim(-x, x) > 0.99
    assert edge_ssim(0.4 * x, x) > 0.95
    assert edge_ssim(x.roll((4, 4), (2, 3)), x) < 0.3
    assert edge_ssim(blurred(x), x) < 0.8
    assert edge_ssim(torch.zeros_like(x), x) < 0.8
