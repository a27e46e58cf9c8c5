"""Motion-aware noise: less noise where much moves, so that fast hands are not repainted into
something else.

Letters: T pictures or latent frames, C channels, H W size.

Published rule: ``d`` is the largest root-mean-square difference of neighbouring pictures of the
chunk, the one before the chunk included; ``d' = clip(d / 0.2, 0, 1)``; ``s = 0.9 (s0 - 0.1 d') +
0.1 s_prev``.  The latent form measures the same on latents within bounds.  The scale stays a tensor
on its device until the caller wants it: nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FULL_MOTION = 0.2  # difference in [-1, 1] units at which the noise is lowered most (published)
MOTION_DROP = 0.1  # by how much (published)
SMOOTHING = 0.9  # weight of the new value (published)
FULL_LATENT_MOTION = (
    0.6  # the same place for unit-variance latents: three pixel units, measured on webcam clips
)

Form = Literal["pixel", "latent"]

STROKE = 2.4, 0.9  # standard deviations along and across, in latent pixels
REACH = 3  # latent pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseConfig:
    """Which form measures the motion, over how many chunks (the fastest counts), the bounds of the
    scale, and what the noise looks like.  ``deviation``: of the latents, in the latent form.
    """

    form: Form = "pixel"
    window: int = 1
    lowest: float = 0.0
    highest: float = 1.0
    deviation: float = 1.0
    strokes: bool = False  # the first channel lies in strokes: what the pocket model was taught

    @property
    def full(self) -> float:
        """The motion at which the noise is lowered most."""
        return FULL_MOTION if self.form == "pixel" else FULL_LATENT_MOTION * self.deviation


@dataclass(slots=True)
class NoiseState:
    """What one stream's noise remembers: the fixed noise, the last scale, the last picture or
    latent.
    """

    noise_CHW: Tensor
    scale: Tensor | None = None
    last_CHW: Tensor | None = None


def open_noise(
    shape_CHW: tuple[int, int, int],
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    strokes: bool = False,
) -> NoiseState:
    """The noise of a stream: drawn once, on the CPU: a seed means the same on every device."""
    noise_CHW = torch.randn(shape_CHW, generator=torch.Generator("cpu").manual_seed(seed))
    noise_CHW = stroked(noise_CHW[None])[0] if strokes else noise_CHW
    return NoiseState(noise_CHW.to(device, dtype))


def stroked(noise_NCHW: Tensor) -> Tensor:
    """White noise with its first channel smoothed along rising diagonals, of unit variance still.

    A small network cannot find strokes in white noise and draw them, too; where the noise has them
    it only has to follow.
    """
    r = torch.arange(-REACH, REACH + 1, device=noise_NCHW.device, dtype=torch.float32)
    down, across = torch.meshgrid(r, r, indexing="ij")
    along, beside = (across - down) / 2**0.5, (across + down) / 2**0.5
    kernel = torch.exp(-0.5 * ((along / STROKE[0]) ** 2 + (beside / STROKE[1]) ** 2))
    kernel = (kernel / kernel.square().sum().sqrt())[None, None]
    rows, columns = (
        torch.arange(-REACH, side + REACH, device=r.device) % side for side in noise_NCHW.shape[2:]
    )
    white = noise_NCHW[:, :1, rows[:, None], columns].float()  # as on a torus, however small
    return torch.cat([F.conv2d(white, kernel).to(noise_NCHW.dtype), noise_NCHW[:, 1:]], 1)


def motion(x_TCHW: Tensor, last_CHW: Tensor | None) -> Tensor:
    """Largest root-mean-square difference of neighbours, a scalar tensor; 0 for a single first
    picture.
    """
    if last_CHW is not None:
        x_TCHW = torch.cat([last_CHW[None].to(x_TCHW.dtype), x_TCHW])
    if x_TCHW.shape[0] < 2:
        return x_TCHW.new_zeros((), dtype=torch.float32)
    step = x_TCHW[1:].float() - x_TCHW[:-1].float()
    return step.square().mean((1, 2, 3)).sqrt().amax()


def noise_scale(state: NoiseState, x_TCHW: Tensor, s0: float, config: NoiseConfig) -> Tensor:
    """The chunk's noise scale, a scalar tensor; moves ``state`` on.  ``x`` are pictures (pixel
    form) or latents (latent form).

    The first chunk of a stream has no past: its scale is ``s0`` without motion, lowered by its own
    motion otherwise.
    """
    lowered = s0 - MOTION_DROP * (motion(x_TCHW, state.last_CHW) / config.full).clamp(0, 1)
    past = state.scale if state.scale is not None else torch.full_like(lowered, s0)
    scale = (SMOOTHING * lowered + (1 - SMOOTHING) * past).clamp(config.lowest, config.highest)
    state.scale, state.last_CHW = scale, x_TCHW[-1]
    return scale


def mix(z: Tensor, noise: Tensor, scale: Tensor | float) -> Tensor:
    """``s eps + (1 - s) z``."""
    return scale * noise + (1 - scale) * z
