"""Pictures that move in known ways, and what is measured of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from brushcast.frame import Pixels
from brushcast.picture_figures import PSNR_MOST_DB, PictureFigures, measure

WIDTH, HEIGHT = 512, 288


def board(seed: int = 3) -> Pixels:
    """Soft blobs, larger than the picture: something to follow everywhere."""
    noise = np.random.default_rng(seed).uniform(0, 255, (60, 100, 3)).astype(np.float32)
    grown = cv2.resize(noise, (1000, 600), interpolation=cv2.INTER_CUBIC)
    return np.clip(grown, 0, 255).astype(np.uint8)


def window(picture: Pixels, x: int, y: int) -> Pixels:
    return np.ascontiguousarray(picture[y : y + HEIGHT, x : x + WIDTH])


def panned(*steps: int) -> PictureFigures:
    """Three pictures of the board, `steps` pixels further each."""
    x, pictures = 100, []
    for step in (0, *steps):
        x += step
        pictures.append(window(board(), x, 100))
    return measure(*pictures)


def test_what_stands_still_is_the_same() -> None:
    figures = panned(0, 0)
    assert figures.ssim == pytest.approx(1, abs=1e-3)
    assert figures.psnr_db == PSNR_MOST_DB
    assert figures.motion_px < 0.05
    assert figures.smoothness > 0.95
    assert figures.warp_error < 0.002


def test_a_pan_is_motion_and_no_inconsistency() -> None:
    figures = panned(6, 6)
    assert figures.motion_px == pytest.approx(6, rel=0.1)
    assert figures.ssim < 0.85
    assert figures.compensated_ssim > 0.97
    assert figures.compensated_psnr_db > figures.psnr_db + 8
    assert figures.smoothness > 0.9


def test_a_jerk_is_not_smooth() -> None:
    assert panned(6, -6).smoothness < 0.3 < 0.9 < panned(6, 6).smoothness


def test_flicker_is_inconsistent_whatever_moves() -> None:
    picture, other = window(board(), 100, 100), window(board(4), 100, 100)
    half = (picture // 2 + other // 2).astype(np.uint8)
    figures = measure(picture, picture, half)
    assert figures.compensated_ssim < 0.9
    assert figures.warp_error > 0.02


def test_blur_is_less_sharp() -> None:
    picture = window(board(), 100, 100)
    soft = cv2.GaussianBlur(picture, (0, 0), 4).astype(np.uint8)
    sharp = measure(picture, picture, picture).sharpness
    assert measure(soft, soft, soft).sharpness < 0.5 * sharp


def test_ssim_is_that_of_its_authors() -> None:
    """Two even greys: only the light differs; equation 6 of Wang et al. 2004 by hand."""
    a, b = (np.full((HEIGHT, WIDTH, 3), grey, np.uint8) for grey in (100, 120))
    c1 = (0.01 * 255) ** 2
    wanted = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    figures = measure(a, a, b)
    assert figures.ssim == pytest.approx(wanted, abs=1e-3)
    assert figures.psnr_db == pytest.approx(10 * np.log10(255**2 / 20**2), abs=1e-3)


@pytest.mark.parametrize("size", [(64, 64), (1920, 1080), (288, 512)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    picture = cv2.resize(board(), size).astype(np.uint8)
    assert measure(picture, picture, picture).ssim == pytest.approx(1, abs=1e-3)
