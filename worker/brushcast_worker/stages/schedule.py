"""Noise levels of the few denoising steps (flow matching).

A noised latent is ``(1 - sigma) x0 + sigma eps`` (rectified flow, Liu et al. 2023, eq. 1); a table
of 1000 sigmas is shifted towards noise: ``sigma' = shift sigma / (1 + (shift - 1) sigma)`` (Esser
et al. 2024, eq. 23).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TRAINING_STEPS = 1000
WAN_SHIFT = 8.0
WAN_TIMESTEPS = (700, 500, 400, 200)  # the first N of these are taken for N steps (published)
POCKET_SECOND_SIGMA = (
    0.5  # of the first step's noise: what the pocket model's second step was trained on
)
FIRST_STEP_MARGIN = (
    100  # published: the first timestep lies this much under the noise that was mixed in
)


@dataclass(frozen=True, slots=True)
class Step:
    """One denoising step: the timestep that the model is told, the noise level that belongs to it,
    and how much noise is mixed into its input (the same, but for Wan's first step).
    """

    timestep: float
    sigma: float
    level: float


# From the number of steps and the noise scale of the motion (0..1) to the steps.
Schedule = Callable[[int, float], tuple[Step, ...]]


def sigma_table(
    shift: float = WAN_SHIFT,
    steps: int = TRAINING_STEPS,
    *,
    lowest: float = 0.0,
    extra_step: bool = True,
) -> Tensor:
    """Shifted sigmas, from 1 downwards to ``lowest`` (before the shift), ``[steps]`` float32.
    ``extra_step`` (published): one more is counted, and the last is left out.
    """
    sigma = torch.linspace(1.0, lowest, steps + extra_step, dtype=torch.float32)[:steps]
    return shift * sigma / (1 + (shift - 1) * sigma)


def nearest_sigma(table: Tensor, timestep: float) -> float:
    """The sigma of the table entry nearest to ``timestep``.  The table lies on the CPU."""
    index = int((table * TRAINING_STEPS - timestep).abs().argmin())
    return float(table[index])


def wan_steps(count: int, noise_scale: float, table: Tensor) -> tuple[Step, ...]:
    """The published list: its first ``count`` timesteps, the first one replaced by the motion-aware
    one, which lies under the noise that is mixed in.
    """
    if not 1 <= count <= len(WAN_TIMESTEPS):
        raise ValueError(f"{count} steps; 1..{len(WAN_TIMESTEPS)} wanted")
    timesteps = [wan_first_timestep(noise_scale), *WAN_TIMESTEPS[1:count]]
    sigmas = [nearest_sigma(table, t) for t in timesteps]
    levels = [noise_scale, *sigmas[1:]]
    return tuple(map(Step, map(float, timesteps), sigmas, levels))


def wan_first_timestep(noise_scale: float) -> int:
    """``int(1000 s) - 100``, published."""
    return int(TRAINING_STEPS * noise_scale) - FIRST_STEP_MARGIN


def pocket_steps(count: int, noise_scale: float) -> tuple[Step, ...]:
    """Pocket's steps: at the noise that was mixed in, then at half of it."""
    if not 1 <= count <= 2:
        raise ValueError(f"{count} steps; 1 or 2 wanted")
    sigmas = (noise_scale, noise_scale * POCKET_SECOND_SIGMA)[:count]
    return tuple(Step(TRAINING_STEPS * s, s, s) for s in sigmas)


def noise_scale_of(strength: float) -> float:
    """The noise level s0 for a strength 0..1: 0.2 barely touched, 0.8 full (0.56 at the default
    0.6).
    """
    return 0.2 + 0.6 * strength


def renoise(x0: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """``(1 - sigma) x0 + sigma eps``; a tensor sigma has one entry a row."""
    if isinstance(sigma, Tensor):
        sigma = sigma.reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return (1 - sigma) * x0 + sigma * noise


def as_rows(steps: Sequence[Step], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Timesteps and sigmas as ``[B 1]`` float tensors: one row per step (stream batch)."""
    rows = torch.tensor([[s.timestep, s.sigma] for s in steps], dtype=torch.float32)
    rows = rows.to(device, non_blocking=True)
    return rows[:, :1], rows[:, 1:]
