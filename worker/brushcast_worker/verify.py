"""`brushcast-worker verify`: the models held against reference vectors of the published causal
Wan, section by section, in float32, or in bfloat16 as a GPU computes them.

In float32 a section may be off by TOLERANCE, in bfloat16 the networks by what `rounding` derives
from the file's own sizes and weights. The schedule and the noise are float32 in any case, as they
are in a stream.

Letters: as in `vectors`; B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from brushcast_worker.models.attention import MAX_POSITIONS
from brushcast_worker.models.dit import DiT
from brushcast_worker.models.keys import load_weights
from brushcast_worker.models.moments import Memory
from brushcast_worker.models.wan_vae import WanVAE
from brushcast_worker.rounding import Rounding, tolerance
from brushcast_worker.stages.cache import RollingCache
from brushcast_worker.stages.motion import noise_level
from brushcast_worker.stages.noise import NoiseConfig, motion
from brushcast_worker.stages.schedule import (
    TRAINING_STEPS,
    nearest_sigma,
    renoise,
    sigma_table,
    wan_first_timestep,
)
from brushcast_worker.vectors import (
    Calls,
    DiTVectors,
    NoiseVectors,
    ScheduleVectors,
    VAEVectors,
    Vectors,
)

SECTIONS = ("dit.one_step", "dit.two_steps", "schedule", "noise", "vae.encode", "vae.decode")
TOLERANCE = 1e-4  # of the relative error in float32: generous, see facts of ../shared/reference
FULL_NOISE = 0.8  # s0 of the reference
# A first timestep is a scale cut to an integer: scales that differ by this much in their last
# digits may be cut to neighbours.
SCALE_DIGITS = 1e-6


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the networks compute with. `rounding`: stands for a shorter float, in float32 on the
    CPU."""

    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    rounding: Rounding | None = None

    def network(
        self, make: Callable[[], Network], weights: Mapping[str, Tensor], source: str
    ) -> Network:
        """Made as an engine makes it, and loaded."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                model = make().eval()
        finally:
            torch.set_default_dtype(before)
        load_weights(model, weights, source)
        if self.rounding is not None:
            self.rounding.weights(model)
        return model

    def given(self, x: Tensor) -> Tensor:
        """An input."""
        x = x.to(self.device, self.dtype)
        return x if self.rounding is None else self.rounding.rounded(x)

    def computing(self) -> AbstractContextManager[Any]:
        """Entered while a network runs."""
        return nullcontext() if self.rounding is None else self.rounding


EXACT = Numbers()


def verify(vectors: Vectors, numbers: Numbers = EXACT) -> dict[str, float]:
    """The largest relative error of each section; infinite where a result is no number."""
    return {
        "dit.one_step": dit_error(vectors.dit, vectors.dit.one_step, numbers),
        "dit.two_steps": dit_error(vectors.dit, vectors.dit.two_steps, numbers),
        "schedule": schedule_error(vectors.schedule),
        "noise": noise_error(vectors.noise),
        "vae.encode": encode_error(vectors.vae, numbers),
        "vae.decode": decode_error(vectors.vae, numbers),
    }


def tolerances(vectors: Vectors, dtype: torch.dtype) -> dict[str, float]:
    """What each section may be off by, in the order of `verify`. Raises KeyError for a dtype other
    than float32 and bfloat16."""
    found = dict.fromkeys(SECTIONS, TOLERANCE)
    if dtype == torch.float32:
        return found

    def derived(error: Callable[[Numbers], float]) -> float:
        return tolerance(dtype, lambda rounding: error(Numbers(rounding=rounding)))

    dit, vae = vectors.dit, vectors.vae
    return found | {
        "dit.one_step": derived(lambda numbers: dit_error(dit, dit.one_step, numbers)),
        "dit.two_steps": derived(lambda numbers: dit_error(dit, dit.two_steps, numbers)),
        "vae.encode": derived(lambda numbers: encode_error(vae, numbers)),
        "vae.decode": derived(lambda numbers: decode_error(vae, numbers)),
    }


def relative_error(seen: Tensor, wanted: Tensor) -> float:
    """``max|a - b| / max|b|``; infinite for other shapes and for what is no number."""
    if seen.shape != wanted.shape:
        return math.inf
    error = float((seen.double().cpu() - wanted.double()).abs().max())
    if error == 0:
        return 0.0
    most = float(wanted.double().abs().max())
    return error / most if math.isfinite(error) and most > 0 else math.inf


@torch.inference_mode()
def dit_error(vectors: DiTVectors, calls: Calls, numbers: Numbers = EXACT) -> float:
    """One stream, call after call: the sinks and the ring are kept, none is refreshed, and a latent
    frame's position is its index.  The largest error of a call.
    """
    config = vectors.config
    model = numbers.network(lambda: DiT(config), vectors.weights, "dit.weights")
    height, width = (-(-side // config.patch) for side in calls.x_PCTHW.shape[-2:])
    cache = RollingCache(
        layers=config.layers,
        rows=1,
        tokens=height * width,
        dim=config.dim,
        sinks=config.sinks,
        window=config.window,
        positions="frame",
        refresh_at=MAX_POSITIONS,
        device=numbers.device,
        dtype=numbers.dtype,
    )
    with numbers.computing():
        context = model.context(numbers.given(vectors.context_LC[None]))
    last, worst = -1, 0.0
    for x_CTHW, flow_CTHW, frame, timestep in zip(
        calls.x_PCTHW, calls.flow_PCTHW, calls.frames, calls.timesteps, strict=True
    ):
        if frame != last:
            cache.begin()
        last = frame
        with numbers.computing():
            flow_BTCHW = model(
                numbers.given(_row(x_CTHW)),
                timestep_BT=torch.tensor([[timestep]], device=numbers.device),
                context=context,
                caches=[cache],
            )
        worst = max(worst, relative_error(flow_BTCHW, _row(flow_CTHW)))
    return worst


def schedule_error(vectors: ScheduleVectors) -> float:
    """Of the table, of its timesteps and of noised latents."""
    v = vectors
    table = sigma_table(v.shift, v.steps, lowest=v.sigma_min, extra_step=v.extra_step)
    sigma = torch.tensor([nearest_sigma(table, t) for t in v.t])
    return max(
        relative_error(table, v.sigmas),
        relative_error(table * TRAINING_STEPS, v.timesteps),
        relative_error(renoise(v.x0, v.noise, sigma), v.noised),
    )


def noise_error(vectors: NoiseVectors) -> float:
    """Of the noise scales of a clip, chunk by chunk, and of the first timesteps that follow."""
    video_TCHW = vectors.video_CTHW.transpose(0, 1)
    scales, timesteps, before, config = [], [], None, NoiseConfig()
    for n, wanted in enumerate(vectors.first_timesteps):
        moved = motion(video_TCHW[4 * n + 1 : 4 * n + 5], video_TCHW[4 * n])
        before = noise_level(float(moved), FULL_NOISE, before, config)
        scales.append(before)
        cut = [wan_first_timestep(before * (1 + d)) for d in (-SCALE_DIGITS, 0, SCALE_DIGITS)]
        timesteps.append(min(cut, key=lambda timestep: abs(timestep - wanted)))
    exact = torch.float64
    return max(
        relative_error(torch.tensor(scales, dtype=exact), torch.tensor(vectors.scales).to(exact)),
        relative_error(torch.tensor(timesteps), torch.tensor(vectors.first_timesteps)),
    )


@torch.inference_mode()
def encode_error(vectors: VAEVectors, numbers: Numbers = EXACT) -> float:
    """Of a clip's latents: the first picture with the first chunk, then chunk by chunk."""
    chunk = vectors.config.chunk
    model = _vae(vectors, numbers)
    streamed = _streamed(model.encode, numbers, vectors.video_CTHW, 1 + chunk, chunk)
    return relative_error(streamed, _row(vectors.latents_CTHW))


@torch.inference_mode()
def decode_error(vectors: VAEVectors, numbers: Numbers = EXACT) -> float:
    """Of the pictures of latents: two of them, then one by one."""
    streamed = _streamed(_vae(vectors, numbers).decode, numbers, vectors.z_CTHW, 2, 1)
    return relative_error(streamed, _row(vectors.pixels_CTHW))


def _vae(vectors: VAEVectors, numbers: Numbers) -> WanVAE:
    return numbers.network(lambda: WanVAE(vectors.config), vectors.weights, "vae.weights")


def _streamed(
    run: Callable[[Tensor, Memory | None], tuple[Tensor, Memory]],
    numbers: Numbers,
    x_CTHW: Tensor,
    first: int,
    then: int,
) -> Tensor:
    """A clip through a streaming model, piece by piece: ``[1 T C H W]``."""
    x_BTCHW = numbers.given(_row(x_CTHW))
    out: list[Tensor] = []
    memory: Memory | None = None
    at = 0
    while at < x_BTCHW.shape[1]:
        count = then if at else first
        with numbers.computing():
            y_BTCHW, memory = run(x_BTCHW[:, at : at + count], memory)
        out.append(y_BTCHW)
        at += count
    return torch.cat(out, 1)


def _row(x_CTHW: Tensor) -> Tensor:
    return x_CTHW.transpose(0, 1)[None]
