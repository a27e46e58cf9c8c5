"""The networks that are judged: as the product has them on that device, 8-bit integers included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from brushcast.errors import ConfigError, WeightsError
from brushcast_worker.engines.devices import choose_device, choose_dtype
from brushcast_worker.engines.pocket import WEIGHTS
from brushcast_worker.models.int8 import int8_pays
from brushcast_worker.models.pocket import FILE, Pocket, load_pocket, random_pocket


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
        return Networks(random_pocket(place, dtype), place, name)
    pocket = load_floats(weights or WEIGHTS, place, dtype)
    if place.type == "cpu" and dtype == torch.float32 and int8_pays():
        pocket.quantise()
        name += ", int8"
    return Networks(pocket, place, name)


def load_floats(folder: Path, device: torch.device, dtype: torch.dtype) -> Pocket:
    """The trained networks in floating point on every device. Raises WeightsError."""
    try:
        return load_pocket(folder, device, dtype)
    except FileNotFoundError as error:
        raise WeightsError(f"{error}; wanted {FILE} there") from None
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder / FILE} is not this model's: {error}") from None
