"""The hand follows the noise: the same, the same strokes; other noise, others."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.models.text import STYLES
from brushcast_worker.stages.noise import open_noise
from brushcast_worker.teachers import painted
from brushcast_worker.teachers.hand import LATENT, heavier, strokes
from tests.worker.teachers.conftest import finished, room


def noise(seed: int) -> torch.Tensor:
    shape = (16, 24, 32)
    return open_noise(shape, seed, "cpu", torch.float32, strokes=True).noise_CHW[None]


def test_strokes_cover_about_half_of_the_picture() -> None:
    pressed = strokes(noise(0))
    assert pressed.shape == (1, 1, 24 * LATENT, 32 * LATENT)
    assert bool(((pressed >= 0) & (pressed <= 1)).all())
    assert 0.35 < float(pressed.mean()) < 0.65
    assert float(pressed.std()) > 0.25, "there are strokes, not a grey"


def test_a_seed_is_its_strokes() -> None:
    assert torch.equal(strokes(noise(1)), strokes(noise(1)))
    assert float((strokes(noise(1)) - strokes(noise(2))).abs().mean()) > 0.25


def test_strokes_rise_to_the_right() -> None:
    x = strokes(noise(3)) - 0.5
    step = 2 * LATENT
    rising = (x[..., step:, :-step] * x[..., :-step, step:]).mean()
    falling = (x[..., step:, step:] * x[..., :-step, :-step]).mean()
    assert rising > 2 * falling


def test_a_heavier_hand_is_darker_and_more_colourful() -> None:
    torch.manual_seed(0)
    x = 0.4 + 0.3 * torch.rand(1, 3, 1, 1).expand(1, 3, 32, 32)
    y = heavier(x)
    assert y.mean() < x.mean()
    assert y.std(1).mean() > x.std(1).mean()


@pytest.mark.parametrize("style", STYLES[1:])
def test_a_heavier_hand_shows_in_every_look(style: str) -> None:
    x = room()
    assert float((finished(x, style) - finished(heavier(x), style)).abs().mean()) > 0.01


def test_the_painting_of_a_stream_lies_between_the_hands() -> None:
    x = room()
    n = noise(1)[0, :, :12, :16]
    light, bold = painted(x, "oil"), painted(x, "oil", n, 1.0)
    assert torch.equal(painted(x, "oil", n, 0.0), light)
    heavy = finished(heavier(x), "oil")
    share = strokes(n[None])
    torch.testing.assert_close(bold, light + share * (heavy - light))
    torch.testing.assert_close(painted(x, "oil", n, 0.5), (light + bold) / 2)
