"""The pocket model as a stream, for training reports and evaluation: the same models, cache and
noise as the worker's engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from brushcast_worker.models.pocket import Pocket
from brushcast_worker.models.text import STYLES
from brushcast_worker.stages.cache import RollingCache
from brushcast_worker.stages.noise import NoiseConfig, mix, noise_scale, open_noise
from brushcast_worker.stages.schedule import noise_scale_of, pocket_steps, renoise

CHUNK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """How to play: what an ablation switches off."""

    strength: float = 0.6
    steps: int = 1
    seed: int = 0
    cache: bool = True  # off: every chunk stands alone, no state of the autoencoder either
    fixed_noise: bool = True


def one_style(style: str) -> Tensor:
    """Mixing weights ``[1 S]`` of one style."""
    weights = torch.zeros(1, len(STYLES))
    weights[0, STYLES.index(style)] = 1
    return weights


@torch.inference_mode()
def restyle(
    pocket: Pocket, video_TCHW: Tensor, weights_BS: Tensor, play: Play
) -> tuple[Tensor, Tensor]:
    """Video in [-1, 1], T a multiple of 4, to restyled video and latents ``[T/4 16 h w]``."""
    device, config = video_TCHW.device, pocket.dit.config
    context = pocket.dit.context(pocket.styles(weights_BS.to(device)))
    height, width = (side // 8 for side in video_TCHW.shape[-2:])
    tokens = -(-height // config.patch) * -(-width // config.patch)
    noise = open_noise((config.latent_channels, height, width), play.seed, device, torch.float32)
    encoder = decoder = cache = None
    pictures, latents = [], []
    for i in range(0, len(video_TCHW), CHUNK):
        chunk = video_TCHW[None, i : i + CHUNK]
        if cache is None or not play.cache:
            encoder = decoder = None
            cache = RollingCache(
                layers=config.layers, rows=1, tokens=tokens, dim=config.dim, sinks=config.sinks,
                window=config.window, device=device,
            )  # fmt: skip
        if not play.fixed_noise:
            noise.noise_CHW = torch.randn_like(noise.noise_CHW)
        z_source, encoder = pocket.vae.encode(chunk, encoder)
        scale = noise_scale(noise, chunk[0], noise_scale_of(play.strength), NoiseConfig())
        x = mix(z_source, noise.noise_CHW, scale)
        cache.begin()
        z = z_source
        for n, step in enumerate(pocket_steps(play.steps, float(scale))):
            if n:
                x = renoise(z, noise.noise_CHW, step.sigma)
            z = pocket.dit.predict_x0(
                x, timestep_BT=torch.full((1, 1), step.timestep, device=device),
                sigma_BT=torch.full((1, 1), step.sigma, device=device), context=context,
                source_BTCHW=z_source, caches=[cache],
            )  # fmt: skip
        cache.end()
        out, decoder = pocket.vae.decode(z, chunk, decoder)
        pictures.append(out[0].clamp(-1, 1))
        latents.append(z[0])
    return torch.cat(pictures), torch.cat(latents)
