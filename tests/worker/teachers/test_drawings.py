"""Looks that are drawn."""

from __future__ import annotations

import pytest
import torch

from tests.worker.teachers.conftest import check_look, finished


@pytest.mark.parametrize("style", ["ink", "charcoal", "pencil", "blueprint"])
def test_a_drawing_has_few_hues(style: str) -> None:
    """The paper's and the pen's, whatever colours the room has."""
    y = check_look(style)
    colours = y.permute(1, 0, 2, 3).flatten(1)
    spread = torch.linalg.svdvals(colours - colours.mean(1, keepdim=True))
    assert spread[1] < 0.3 * spread[0], "one line from pen to paper"


def test_a_blueprint_is_blue_and_has_its_grid() -> None:
    y = finished(torch.full((1, 3, 96, 96), 0.5), "blueprint")
    red, _, blue = y.mean((0, 2, 3))
    assert blue > red + 0.2
    rows = y[0, 2].mean(1)
    assert (rows > rows.median() + 0.02).nonzero().flatten().diff().max() >= 28


def test_charcoal_is_dark_where_the_room_is() -> None:
    x = torch.full((1, 3, 64, 128), 0.9)
    x[..., :64] = 0.05
    y = finished(x, "charcoal")
    assert y[..., 80:].mean() - y[..., :48].mean() > 0.3
