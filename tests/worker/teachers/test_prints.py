"""Looks that are printed."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.teachers.prints import pixel_art, pixel_page
from tests.worker.teachers.conftest import check_look, finished, room


@pytest.mark.parametrize("style", ["comic", "ukiyo-e", "anime"])
def test_a_print_is_a_picture(style: str) -> None:
    check_look(style)


def test_pixel_art_is_made_of_blocks() -> None:
    y = check_look("pixel-art")
    blocks = y.unflatten(3, (-1, 4)).unflatten(2, (-1, 4))
    assert float(blocks.std((3, 5)).max()) < 1e-5


def test_pixel_art_has_a_small_palette() -> None:
    y = finished(room(), "pixel-art")
    colours = (y * 24).round().flatten(2)[0].t().unique(dim=0)
    assert len(colours) < 0.5 * (96 * 128 / 16)


def test_a_cell_of_anime_is_flat() -> None:
    x = room()
    y = finished(x, "anime")
    fine = (y - torch.nn.functional.avg_pool2d(y, 5, 1, 2)).abs().median()
    assert fine < (x - torch.nn.functional.avg_pool2d(x, 5, 1, 2)).abs().median()


def test_the_dither_stands_on_the_page() -> None:
    from brushcast_worker.teachers.page import Page

    x = pixel_art(torch.full((1, 3, 64, 64), 0.42))
    y = pixel_page(x, Page.of(x))
    torch.testing.assert_close(y[..., 8:40, 8:40], y[..., 16:48, 16:48], rtol=0, atol=1e-4)
