"""Motion-aware noise: the published numbers, calm on still scenes, less noise on motion, one seed
one noise.
"""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.stages.noise import NoiseConfig, noise_scale, open_noise
from brushcast_worker.stages.schedule import wan_first_timestep
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import noise_error


def fresh(seed: int = 0):  # noqa: ANN201
    return open_noise((16, 4, 4), seed, "cpu", torch.float32)


def test_agrees_with_the_published_scales(reference: Vectors) -> None:
    video, wanted = reference.noise.video_CTHW, reference.noise
    state = fresh()
    state.last_CHW, state.scale = video[:, 0], torch.tensor(0.8, dtype=torch.float64)
    got = [
        noise_scale(state, video[:, i : i + 4].transpose(0, 1), 0.8, NoiseConfig())
        for i in range(1, 65, 4)
    ]
    assert [float(s) for s in got] == pytest.approx(wanted.scales, abs=1e-5)
    assert [wan_first_timestep(float(s) + 1e-9) for s in got] == pytest.approx(
        wanted.first_timesteps, abs=1
    )
    assert noise_error(wanted) < 1e-6


def test_a_still_scene_keeps_the_full_noise() -> None:
    state = fresh()
    for _ in range(5):
        scale = noise_scale(state, torch.zeros(4, 3, 8, 8), 0.56, NoiseConfig())
    assert float(scale) == pytest.approx(0.56)


@pytest.mark.parametrize("form", ["pixel", "latent"])
def test_motion_lowers_the_noise_and_calm_restores_it(form: str) -> None:
    state, config = fresh(), NoiseConfig(form=form)
    still, wild = (
        torch.zeros(4, 3, 8, 8),
        torch.tensor([-1.0, 1, -1, 1]).view(4, 1, 1, 1).expand(4, 3, 8, 8),
    )
    before = float(noise_scale(state, still, 0.56, config))
    during = [float(noise_scale(state, wild, 0.56, config)) for _ in range(4)]
    after = [float(noise_scale(state, still, 0.56, config)) for _ in range(4)]
    assert during[0] < before
    assert min(during) == pytest.approx(0.46, abs=2e-3)
    assert after[-1] == pytest.approx(0.56, abs=2e-3)


def test_bounds_hold() -> None:
    config = NoiseConfig(lowest=0.5, highest=0.52)
    state = fresh()
    assert float(noise_scale(state, torch.zeros(4, 3, 8, 8), 0.8, config)) == pytest.approx(0.52)


def test_a_seed_is_a_noise() -> None:
    assert torch.equal(fresh(3).noise_CHW, fresh(3).noise_CHW)
    assert not torch.equal(fresh(3).noise_CHW, fresh(4).noise_CHW)


def test_strokes_lie_along_rising_diagonals_and_are_as_strong_as_noise() -> None:
    x = open_noise((16, 64, 64), 0, "cpu", torch.float32, strokes=True).noise_CHW
    white = open_noise((16, 64, 64), 0, "cpu", torch.float32).noise_CHW
    assert torch.equal(x[1:], white[1:])
    assert float(x[0].std()) == pytest.approx(1, abs=0.15)
    rising = float((x[0, 2:, :-2] * x[0, :-2, 2:]).mean())
    falling = float((x[0, 2:, 2:] * x[0, :-2, :-2]).mean())
    assert rising > 0.5 > abs(falling) + 0.2


def test_strokes_of_the_smallest_picture() -> None:
    x = open_noise((16, 2, 2), 0, "cpu", torch.float32, strokes=True).noise_CHW
    assert x.shape == (16, 2, 2)
    assert x.isfinite().all()
