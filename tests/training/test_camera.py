"""What the camera does in training."""

from __future__ import annotations

import torch

from training.camera import camera_noise


def test_automatic_exposure_sways_after_the_first_latent_frame() -> None:
    torch.manual_seed(0)
    seen = camera_noise(torch.full((64, 12, 3, 32, 32), 0.5))
    level = seen.mean((3, 4))
    start = level[:, :4].mean(1, keepdim=True)
    assert float((level[:, :4] - start).abs().mean()) < 0.01
    swayed = (level[:, 4:] - start).abs().amax((1, 2))
    assert 0.1 < float((swayed > 0.025).float().mean()) < 0.7, "some rows, not all"


def test_noise_is_there_and_nothing_else() -> None:
    torch.manual_seed(1)
    still = torch.full((16, 4, 3, 32, 32), 0.5)
    seen = camera_noise(still)
    assert float((seen - still).mean().abs()) < 0.01
    assert float((seen - still).std()) > 0.003
    assert bool(((seen >= 0) & (seen <= 1)).all())
