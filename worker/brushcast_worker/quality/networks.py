"""The networks that are judged: as the product has them on that device, 8-bit integers included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from brushcast.errors import ConfigError, WeightsError
from brushcast_worker.engines.pocket import WEIGHTS, choose_device, choose_dtype
from brushcast_worker.models.int8 import int8_pays
from brushcast_worker.models.pocket import FILE, Pocket, build_pocket, load_pocket


@dataclass(frozen=True, slots=True)
class Networks:
    """Loaded networks. ``dtype``: for people."""

    pocket: Pocket
    device: torch.device
    dtype: str


def load_networks(engine: str, device: str, weights: Path | None = None) -> Networks:
    """``engine``: pocket, or pocket-random for tests; ``weights``: another folder than the
    product's. Raises ConfigError, WeightsError.
    """
    if engine not in ("pocket", "pocket-random"):
        raise ConfigError(f"--engine {engine}: quality is measured of pocket")
    place = choose_device(device)
    dtype = choose_dtype(place)
    name = str(dtype).removeprefix("torch.")
    if engine == "pocket-random":
        return Networks(_random(place, dtype), place, name)
    folder = weights or WEIGHTS
    try:
        pocket = load_pocket(folder, place, dtype)
    except FileNotFoundError as error:
        raise WeightsError(f"{error}; wanted {FILE} there") from None
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder / FILE} is not this model's: {error}") from None
    if place.type == "cpu" and dtype == torch.float32 and int8_pays():
        pocket.quantise()
        name += ", int8"
    return Networks(pocket, place, name)


def _random(device: torch.device, dtype: torch.dtype) -> Pocket:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pocket = build_pocket()
        for part in pocket.parts.values():
            for parameter in part.parameters():
                if not parameter.any():  # what training begins at zero would hide the rest
                    torch.nn.init.normal_(parameter, std=0.05)
    for name, part in pocket.parts.items():
        part.eval().requires_grad_(False)
        if name != "text":
            part.to(device=device, dtype=dtype)
    return pocket
