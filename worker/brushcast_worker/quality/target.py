"""Target: the pictures that a stream ought to paint, by its look's teacher, with the hand of its
seed and strength.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brushcast_worker.models.dit import SIZES
from brushcast_worker.models.light_vae import SCALE
from brushcast_worker.models.text import boldness
from brushcast_worker.quality.play import Play
from brushcast_worker.stages.noise import open_noise
from brushcast_worker.teachers import painted

ROWS = 8  # pictures that a teacher paints at once


@torch.inference_mode()
def target(video_TCHW: Tensor, style: str, play: Play) -> Tensor:
    """The teacher's pictures of single pictures, in [-1, 1], float32."""
    height, width = (side // SCALE for side in video_TCHW.shape[-2:])
    shape = (SIZES["pocket"].latent_channels, height, width)
    device = video_TCHW.device
    noise = open_noise(shape, play.seed, device, torch.float32, strokes=True).noise_CHW
    bold = boldness(play.strength)
    parts = ((part + 1) / 2 for part in torch.split(video_TCHW.float(), ROWS))
    return torch.cat([painted(x, style, noise, bold) * 2 - 1 for x in parts])
