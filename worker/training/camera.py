"""What a webcam does to a picture and its painting must not follow.

Letters: B rows, T pictures.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PUMPED, PUMPING = 0.35, 0.08  # share of the rows; standard deviation of their gain


def camera_noise(x: Tensor) -> Tensor:
    """What a webcam does and the target must not follow: noise, flicker, soft focus, automatic
    exposure.
    """
    n, frames = x.shape[:2]
    shape = (n, 1, 1, 1, 1)

    def uniform(*s: int) -> Tensor:
        return torch.rand(*s, device=x.device)

    amount = uniform(*shape) ** 2 * 0.045
    coarse = F.avg_pool2d(torch.randn_like(x).flatten(0, 1), 3, 1, 1).view_as(x)
    noise = 0.6 * torch.randn_like(x) + 1.2 * coarse
    gain = 1 + 0.015 * torch.randn(n, frames, 1, 1, 1, device=x.device) * (uniform(*shape) < 0.4)
    soft = F.avg_pool2d(x.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(x)
    x = torch.where(uniform(*shape) < 0.25, soft, x)
    return (x * gain * _pumping(n, frames, x.device) + amount * noise).clamp(0, 1)


def _pumping(rows: int, frames: int, device: torch.device) -> Tensor:
    """What automatic exposure and white balance do to some rows ``[B T 3 1 1]``: gains that leave 1
    after the first latent frame.  Nothing but the frames before tells that the room is the same.
    """
    t = (torch.arange(frames, device=device) - 3).clamp(min=0) / max(frames - 4, 1)
    phase = torch.rand(rows, 1, device=device)
    sway = torch.sin(2 * math.pi * (0.2 + 0.8 * phase) * t)
    strength = PUMPING * torch.randn(rows, 1, 3, device=device).mul(0.35)
    strength = strength + PUMPING * torch.randn(rows, 1, 1, device=device)
    strength = strength * (torch.rand(rows, 1, 1, device=device) < PUMPED)
    gain = 1 + strength.clamp(-0.2, 0.2) * sway[..., None]
    return gain[..., None, None]
