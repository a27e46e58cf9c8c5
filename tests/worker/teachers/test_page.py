"""The page stays where it is and repeats with the model's grid; every look has a teacher."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.models.text import STYLES
from brushcast_worker.teachers import PAGED, TEACHERS, page, paint
from brushcast_worker.teachers.page import PANE, PERIOD, Page, blocks, line_every, stripe


def test_there_is_a_teacher_for_every_look_that_can_be_asked_for() -> None:
    assert tuple(TEACHERS) == STYLES
    assert len(STYLES) >= 13, "twelve looks and none"


@pytest.mark.parametrize("style", sorted(PAGED))
def test_it_repeats_with_the_tokens(style: str) -> None:
    plain = paint(torch.full((1, 3, 4 * PANE, 4 * PANE), 0.45), style)
    y = page(plain, style)[..., PANE : 3 * PANE, PANE : 3 * PANE]
    torch.testing.assert_close(y[..., :PANE, :PANE], y[..., PANE:, PANE:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("wave", ["dots", "up", "down", "laid"])
def test_waves_repeat_with_the_latents(wave: str) -> None:
    x = getattr(Page.of(torch.zeros(1, 3, 32, 40)), wave)
    assert -1 <= float(x.min()) < -0.6
    assert 0.6 < float(x.max()) <= 1
    torch.testing.assert_close(x[PERIOD:], x[:-PERIOD])


def test_a_stripe_is_as_wide_as_it_is_told() -> None:
    up = Page.of(torch.zeros(1, 3, 64, 64)).up
    thin, wide = (stripe(up, torch.tensor(a)).mean() for a in (0.1, 0.3))
    assert 0.02 < thin < wide < 0.5
    assert stripe(up, torch.tensor(0.0)).max() == 0


def test_lines_have_their_distance() -> None:
    x = line_every(PANE, torch.arange(4 * PANE) + 0.5, 2.0)
    assert (x > 0.5).sum() == 8
    assert float(x.max()) == 1


def test_blocks_are_means() -> None:
    x = torch.arange(36.0).view(1, 1, 6, 6)
    y = blocks(x, 4)
    assert y.shape == x.shape
    assert y[0, 0, :4, :4].unique().tolist() == [float(x[0, 0, :4, :4].mean())]
    assert y[0, 0, 4:, 4:].unique().tolist() == [float(x[0, 0, 4:, 4:].mean())]
