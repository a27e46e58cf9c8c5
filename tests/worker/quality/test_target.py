"""Target: what a stream ought to paint depends on its seed as far as its strength says."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.quality.metrics import difference
from brushcast_worker.quality.play import Play
from brushcast_worker.quality.target import target
from brushcast_worker.teachers import page, paint

VIDEO = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_light_hand_is_the_teachers_own() -> None:
    plain = page(paint((VIDEO + 1) / 2, "ink"), "ink") * 2 - 1
    torch.testing.assert_close(target(VIDEO, "ink", Play(strength=0)), plain)


def test_a_seed_means_strokes_the_same_in_every_picture() -> None:
    first, again, other = (target(VIDEO, "oil", Play(strength=1, seed=s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert difference(first, other) > 0.5
    alone = target(VIDEO[1:], "oil", Play(strength=1, seed=1))
    torch.testing.assert_close(alone, first[1:], atol=1e-3, rtol=0)


@pytest.mark.parametrize("style", ["none", "neon"])
def test_it_is_a_picture(style: str) -> None:
    found = target(VIDEO, style, Play())
    assert found.shape == VIDEO.shape
    assert -1 <= float(found.min()) <= float(found.max()) <= 1
