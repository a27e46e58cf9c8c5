"""Whether a long stream has a seam where time positions start again, in both modes of RoPE:
PYTHONPATH=plugin:worker:. python tests/e2e/seam.py [OUT.json] [--engine wan-1.3b] [--device cuda]
[--size 512x512] [--latents 2000] [--steps 1] [--still] [--plain].

A source that moves smoothly and for ever, or stands still under a sensor's noise, goes through the
transformer of an engine with random weights, its queries and keys scaled so that attention is as
peaked as a trained model's (`SHARPNESS`). Told of each mode: how far a clean latent is from the one
before, at a refresh and elsewhere (ratio of medians, z-scores), and whether that grows with time.

Letters: B rows, T latent frames, C channels, H W latent size.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brushcast.frame import Size
from brushcast.presets import load_presets
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.wan import random_wan
from brushcast_worker.models.light_vae import SCALE
from brushcast_worker.quirks import Quirks, Rope
from brushcast_worker.stages.cache import ROPE_REFRESH_AT
from brushcast_worker.stages.denoise import Row
from brushcast_worker.stages.noise import open_noise
from tests.e2e.tell import tell

SHARPNESS = 4.0  # random queries and keys have logits of deviation 1: nearly every key counts alike
SETTLED = 20  # latent frames until everything is full
PERIOD = 97  # latent frames of the source's motion: shares no factor with the refreshes'
LEVEL = 0.7  # of noise, for a first step


def refreshes(count: int, window: int, refresh_at: int = ROPE_REFRESH_AT) -> list[int]:
    """The latent frames at which positions by frame start again."""
    return list(range(refresh_at, count, refresh_at - window))


def sharpen(engine: CausalEngine) -> None:
    """Queries and keys of the self-attention count more."""
    for block in engine._transformer.blocks:
        attention: Any = block.self_attn
        for norm in (attention.norm_q, attention.norm_k):
            norm.weight.mul_(math.sqrt(SHARPNESS))


def source(number: int, first_CHW: Tensor, second_CHW: Tensor, *, still: bool) -> Tensor:
    """The clean source latent of that number: round a circle, or at rest under noise."""
    if still:
        noise_CHW = torch.randn(first_CHW.shape, generator=torch.Generator().manual_seed(number))
        return first_CHW + 0.02 * noise_CHW.to(first_CHW)
    angle = 2 * math.pi * number / PERIOD
    return math.cos(angle) * first_CHW + math.sin(angle) * second_CHW


@torch.inference_mode()
def jumps(engine: CausalEngine, size: Size, count: int, steps: int, still: bool) -> list[float]:
    """Root mean square of the difference of each clean latent from the one before."""
    device = torch.device(engine.info.device)
    dtype, networks = next(engine._transformer.parameters()).dtype, engine._networks
    grid = size.height // SCALE, size.width // SCALE
    first, second, noise = (
        open_noise((16, *grid), seed, device, dtype).noise_CHW for seed in (1, 2, 3)
    )
    context = engine._transformer.context(engine._looks.look(load_presets()["ink"]).tokens_BLC)
    caches = [networks.cache(grid) for _ in range(steps)]
    found, before = [], None
    for number in range(count):
        z_CHW = source(number, first, second, still=still)
        x0_CHW = z_CHW
        for step, cache in zip(engine._schedule(steps, LEVEL), caches, strict=True):
            (x0_CHW,) = networks.denoise([Row(x0_CHW, z_CHW, noise, step, cache, context)])
        if before is not None:
            found.append((x0_CHW.float() - before).square().mean().sqrt())
        before = x0_CHW.float()
    told: list[float] = torch.stack(found).tolist()
    return told


def judged(found: list[float], at: list[int]) -> dict[str, float]:
    """``found``: of latent frame 1, 2...; ``at``: the refreshes."""
    numbers = np.arange(1, len(found) + 1)
    jump, use = np.array(found), numbers >= SETTLED
    there = np.isin(numbers, at) & use
    elsewhere = ~there & use
    rest: NDArray[np.float64] = jump[elsewhere]
    middle, spread = float(np.median(rest)), float(rest.std()) or 1e-12
    z = (jump[there] - rest.mean()) / spread
    half = len(found) // 2
    early, late = jump[(numbers < half) & use], jump[numbers >= half]
    return {
        "refreshes": int(there.sum()),
        "jump_elsewhere": middle,
        "jump_elsewhere_max": float(rest.max()),
        "jump_at_refresh": float(np.median(jump[there])),
        "ratio": float(np.median(jump[there]) / max(middle, 1e-12)),
        "z_mean": float(z.mean()),
        "z_max": float(z.max()),
        "late_over_early": float(np.median(late) / max(float(np.median(early)), 1e-12)),
    }


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    size = Size.parse(asked.size)
    told: dict[str, Any] = {"asked": {k: str(v) for k, v in vars(asked).items()}}
    for rope in get_args(Rope):
        engine = random_wan(
            asked.engine, asked.device, quirks=Quirks(rope=rope), fused=not asked.plain
        )
        sharpen(engine)
        at = refreshes(asked.latents, engine._transformer.config.window)
        told[rope] = judged(jumps(engine, size, asked.latents, asked.steps, asked.still), at)
        del engine
    return told


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path, nargs="?")
    options.add_argument("--engine", default="wan-small")
    options.add_argument("--device", default="cpu")
    options.add_argument("--size", default="96x64")
    options.add_argument("--latents", type=int, default=2000)
    options.add_argument("--steps", type=int, default=1)
    options.add_argument("--still", action="store_true", help="a source at rest, under noise")
    options.add_argument("--plain", action="store_true", help="nothing compiled")
    asked = options.parse_args()
    tell(measured(asked), asked.out)


if __name__ == "__main__":
    main()
