"""Reference vectors: inputs and outputs of the published causal Wan, read from one safetensors
file of anybody's.

The format: tensors ``dit.*``, ``vae.*``, ``schedule.*`` and ``noise.*`` in one file, and in its
metadata as JSON the sizes of the first three.  Any sizes do.  Everything is checked here, before
anything is built: what a file says must fit what it holds, and what it asks for must be affordable.

Letters: P calls in their order, T pictures or latent frames, C channels, H height, W width, L
context tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from brushcast.errors import VectorsError, WeightsError
from brushcast_worker.models.attention import MAX_POSITIONS
from brushcast_worker.models.dit import DiT, DiTConfig
from brushcast_worker.models.keys import check_weights, published_names
from brushcast_worker.models.wan_vae import WanVAE, WanVAEConfig

MOST_WIDTH = 1 << 18  # of any layer; the published 14B has 13824
MOST_LAYERS = 512
MOST_LEVELS = 8
MOST_TOKENS = 1 << 16  # of a context, and steps of a schedule
MOST_BYTES = 16 << 30  # for what a stream remembers, beside the weights that the file holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls of the transformer in their order, and what it must answer."""

    x_PCTHW: Tensor  # T is 1
    flow_PCTHW: Tensor
    frames: tuple[int, ...]  # 0, and then each the one before or the next
    timesteps: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTVectors:
    config: DiTConfig
    weights: Mapping[str, Tensor]
    context_LC: Tensor
    one_step: Calls
    two_steps: Calls


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEVectors:
    config: WanVAEConfig
    weights: Mapping[str, Tensor]
    video_CTHW: Tensor
    latents_CTHW: Tensor  # of the video
    z_CTHW: Tensor
    pixels_CTHW: Tensor  # of z


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleVectors:
    shift: float
    steps: int
    sigma_min: float
    extra_step: bool
    sigmas: Tensor
    timesteps: Tensor
    t: tuple[float, ...]
    x0: Tensor  # one row for each t, as the two that follow
    noise: Tensor
    noised: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseVectors:
    video_CTHW: Tensor  # a picture, then chunks of 4
    scales: tuple[float, ...]  # of each chunk
    first_timesteps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """All of a file, in float32 on the CPU; the weights fit the configurations."""

    dit: DiTVectors
    schedule: ScheduleVectors
    noise: NoiseVectors
    vae: VAEVectors


def read_vectors(path: Path) -> Vectors:
    """Reads and checks a file.  Raises VectorsError, in one line."""
    tensors, metadata = _read(path)
    try:
        take = _Tensors(tensors)
        return Vectors(
            dit=_dit(take, _Fields(metadata, "dit")),
            schedule=_schedule(take, _Fields(metadata, "schedule")),
            noise=_noise(take),
            vae=_vae(take, _Fields(metadata, "vae")),
        )
    except (ValueError, WeightsError) as error:
        raise VectorsError(f"{path}: {error}") from None


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    if not path.is_file():  # opening a pipe would wait for ever
        raise VectorsError(f"{path}: no safetensors file (no file)")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise VectorsError(f"{path}: no safetensors file ({error})") from None


def _dit(take: _Tensors, meta: _Fields) -> DiTVectors:
    weights = take.weights("dit.weights.")
    _, patch, square = meta.integers("patch_size", 1, 64, [1, 2, 2], count=3)
    channels = meta.integer("in_dim", 1, MOST_WIDTH, 16)
    if patch != square or meta.integer("out_dim", 1, MOST_WIDTH, 16) != channels:
        raise ValueError("dit: wanted square patches, and in_dim and out_dim alike")
    config = DiTConfig(
        dim=meta.integer("dim", 2, MOST_WIDTH),
        layers=meta.integer("num_layers", 1, MOST_LAYERS),
        heads=meta.integer("num_heads", 1, MOST_WIDTH),
        ffn_dim=meta.integer("ffn_dim", 1, MOST_WIDTH),
        patch=patch,
        freq_dim=meta.integer("freq_dim", 2, MOST_WIDTH),
        latent_channels=channels,
        context_dim=meta.integer("text_dim", 1, MOST_WIDTH),
        context_tokens=meta.integer("text_len", 1, MOST_TOKENS),
        sinks=meta.integer("sink_frames", 0, MAX_POSITIONS),
        window=meta.integer("window_frames", 1, MAX_POSITIONS),
    )
    with torch.device("meta"):
        check_weights(DiT(config), weights, "dit.weights")
    context_LC = take("dit.context", None, config.context_dim)
    if len(context_LC) > config.context_tokens:
        raise ValueError(f"dit.context has {len(context_LC)} tokens, text_len is too small")
    one, two = (_calls(take, f"dit.{case}", config) for case in ("one_step", "two_steps"))
    return DiTVectors(
        config=config, weights=weights, context_LC=context_LC, one_step=one, two_steps=two
    )


def _calls(take: _Tensors, name: str, config: DiTConfig) -> Calls:
    x_PCTHW = take(f"{name}.x", None, config.latent_channels, 1, None, None)
    calls, _, _, height, width = x_PCTHW.shape
    rows, columns = -(-height // config.patch), -(-width // config.patch)
    if max(rows, columns) > MAX_POSITIONS:
        raise ValueError(f"{name}.x is {width}x{height}; wanted {MAX_POSITIONS} tokens a side")
    tokens, window = rows * columns, config.window * rows * columns
    remembered = 2 * config.layers * config.dim * (window + config.context_tokens)
    scores = config.heads * tokens * max(window, config.context_tokens)
    if 4 * (remembered + scores) > MOST_BYTES:
        raise ValueError(
            f"{name} asks for {4 * (remembered + scores) >> 30} GiB of caches and attention; "
            f"at most {MOST_BYTES >> 30} wanted"
        )
    frames = tuple(int(n) for n in take.numbers(f"{name}.frame", calls))
    if any(now not in (last, last + 1) for last, now in zip((-1, *frames), frames, strict=False)):
        raise ValueError(f"{name}.frame: wanted 0, and then each the one before or the next")
    if frames[0] != 0 or frames[-1] >= MAX_POSITIONS:
        raise ValueError(f"{name}.frame: wanted from 0 to at most {MAX_POSITIONS - 1}")
    return Calls(
        x_PCTHW=x_PCTHW,
        flow_PCTHW=take(f"{name}.flow", *x_PCTHW.shape),
        frames=frames,
        timesteps=take.numbers(f"{name}.timestep", calls),
    )


def _schedule(take: _Tensors, meta: _Fields) -> ScheduleVectors:
    steps = meta.integer("steps", 2, MOST_TOKENS, 1000)
    t = take.numbers("schedule.t", None)
    x0 = take("schedule.x0", len(t), ...)
    return ScheduleVectors(
        shift=meta.number("shift", 1e-3, 1e3),
        steps=steps,
        sigma_min=meta.number("sigma_min", 0.0, 0.999, 0.0),
        extra_step=meta.flag("extra_one_step", True),
        sigmas=take("schedule.sigmas", steps),
        timesteps=take("schedule.timesteps", steps),
        t=t,
        x0=x0,
        noise=take("schedule.noise", *x0.shape),
        noised=take("schedule.add_noise", *x0.shape),
    )


def _noise(take: _Tensors) -> NoiseVectors:
    video_CTHW = take("noise.video", 3, None, None, None)
    chunks, rest = divmod(video_CTHW.shape[1] - 1, 4)
    if chunks < 1 or rest:
        count = video_CTHW.shape[1]
        raise ValueError(f"noise.video has {count} pictures; wanted 1 and chunks of 4")
    return NoiseVectors(
        video_CTHW=video_CTHW,
        scales=take.numbers("noise.scale", chunks),
        first_timesteps=tuple(int(n) for n in take.numbers("noise.step", chunks)),
    )


def _vae(take: _Tensors, meta: _Fields) -> VAEVectors:
    weights = take.weights("vae.weights.")
    config = WanVAEConfig(
        dim=meta.integer("dim", 1, MOST_WIDTH),
        z_dim=meta.integer("z_dim", 1, MOST_WIDTH),
        dim_mult=meta.integers("dim_mult", 1, 64),
        num_res_blocks=meta.integer("num_res_blocks", 1, MOST_LAYERS),
        temporal_downsample=meta.flags("temporal_downsample"),
        normalise_encoded=True,
    )
    with torch.device("meta"):
        check_weights(WanVAE(config), weights, "vae.weights")
    video_CTHW = take("vae.video", 3, None, None, None)
    _, pictures, height, width = video_CTHW.shape
    if (pictures - 1) % config.chunk or height % config.scale or width % config.scale:
        raise ValueError(
            f"vae.video has {pictures} pictures of {width}x{height}; wanted 1 and chunks of "
            f"{config.chunk}, sides in multiples of {config.scale}"
        )
    size = (1 + (pictures - 1) // config.chunk, height // config.scale, width // config.scale)
    z_CTHW = take("vae.z", config.z_dim, None, None, None)
    _, latents, height, width = z_CTHW.shape
    shape = (1 + (latents - 1) * config.chunk, height * config.scale, width * config.scale)
    return VAEVectors(
        config=config,
        weights=weights,
        video_CTHW=video_CTHW,
        latents_CTHW=take("vae.latents", config.z_dim, *size),
        z_CTHW=z_CTHW,
        pixels_CTHW=take("vae.pixels", 3, *shape),
    )


class _Tensors:
    """A file's tensors by name, checked as they are taken.  Raises ValueError."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __call__(self, name: str, *shape: Any) -> Tensor:
        """In float32.  ``shape``: None for any length, ... last for any further ones."""
        x = self._exact(name)
        open_end = shape[-1:] == (...,)
        wanted = shape[:-1] if open_end else shape
        fits = len(x.shape) >= len(wanted) if open_end else len(x.shape) == len(wanted)
        if not fits or any(
            seen < 1 or (want is not None and seen != want)
            for seen, want in zip(x.shape, (*wanted, *[None] * x.ndim), strict=False)
        ):
            raise ValueError(f"{name} is {_shape(x.shape)}; wanted {_shape(shape)}")
        return x.float()

    def numbers(self, name: str, count: int | None) -> tuple[float, ...]:
        """A list of numbers, exactly; ``count`` None: any number of them but none."""
        self(name, count)
        return tuple(self._exact(name).double().tolist())

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """All tensors of that prefix, without it; as a published file of weights."""
        found = {
            name.removeprefix(prefix): x.float()
            for name, x in self._tensors.items()
            if name.startswith(prefix)
        }
        return published_names(found, f"{prefix}*")

    def _exact(self, name: str) -> Tensor:
        x = self._tensors.get(name)
        if x is None:
            raise ValueError(f"no tensor {name}; it is no file of reference vectors")
        if x.is_complex() or not bool(x.double().isfinite().all()):
            raise ValueError(f"{name} holds what is no finite number")
        return x


class _Fields:
    """One entry of the metadata, checked as it is read.  Raises ValueError."""

    def __init__(self, metadata: Mapping[str, str], name: str) -> None:
        self._name = name
        if name not in metadata:
            raise ValueError(f"no metadata {name!r}; it is no file of reference vectors")
        try:
            self._fields = json.loads(metadata[name])
        except (ValueError, RecursionError):
            self._fields = None
        if not isinstance(self._fields, dict):
            raise ValueError(f"metadata {name!r} is no JSON object")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """``default`` None: it must be there."""
        wanted = f"an integer {low} to {high}"
        return int(self._checked(key, default, wanted, _integer(low, high)))

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        def fits(value: object) -> bool:
            return _is_number(value) and low <= value <= high  # type: ignore[operator]

        return float(self._checked(key, default, f"a number {low:g} to {high:g}", fits))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._checked(key, default, "true or false", lambda x: isinstance(x, bool)))

    def integers(
        self, key: str, low: int, high: int, default: list[int] | None = None, count: int = 0
    ) -> tuple[int, ...]:
        """``count`` 0: 1 to MOST_LEVELS of them."""
        wanted = f"{count or f'1 to {MOST_LEVELS}'} integers {low} to {high}"
        return tuple(self._checked(key, default, wanted, _list_of(_integer(low, high), count)))

    def flags(self, key: str) -> tuple[bool, ...]:
        wanted = f"a list of 1 to {MOST_LEVELS} times true or false"
        return tuple(self._checked(key, None, wanted, _list_of(lambda x: isinstance(x, bool))))

    def _checked(self, key: str, default: Any, wanted: str, fits: Callable[[object], bool]) -> Any:
        value = self._fields.get(key, default)
        if not fits(value):
            seen = "nothing" if value is None else ascii(value)[:40]
            raise ValueError(f"metadata {self._name!r}: {key} is {seen}; wanted {wanted}")
        return value


def _integer(low: int, high: int) -> Callable[[object], bool]:
    return lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= high


def _list_of(fits: Callable[[object], bool], count: int = 0) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, list) or not all(map(fits, value)):
            return False
        return len(value) == count if count else 1 <= len(value) <= MOST_LEVELS

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shape(shape: tuple[Any, ...]) -> str:
    return "x".join("..." if n is ... else "any" if n is None else str(n) for n in shape)
