"""The pocket engine: the embedded model, loaded and placed on a device."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from brushcast.errors import ConfigError, WeightsError
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.engine import EngineInfo, StageTimer
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.devices import choose_device, choose_dtype, device_name
from brushcast_worker.models import pocket
from brushcast_worker.models.int8 import int8_pays
from brushcast_worker.models.text import boldness, with_strength
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from brushcast_worker.stages.look import Look
from brushcast_worker.stages.noise import NoiseConfig
from brushcast_worker.stages.schedule import noise_scale_of, pocket_steps

WEIGHTS = Path(__file__).parent.parent / "weights"
DEFAULT_SIZE = Size(512, 288)  # what two CPU cores paint in real time
GPU_SIZE = Size(1024, 576)  # what is left to scale up is little
STEPS = (1, 2)


class PocketLooks:
    """From a preset to what the transformer is told: a mixture of the looks that the prompt names,
    or the one that it comes nearest to."""

    def __init__(self, model: pocket.Pocket) -> None:
        self._styles, self._text = model.styles, model.text

    def look(self, preset: Preset) -> Look:
        """Tokens and noise level."""
        reading, strength = self._text.read(preset.prompt), preset.strength
        device = self._styles.table_SLC.device
        tokens_BLC: Tensor = self._styles(
            torch.tensor([with_strength(reading.weights, strength)], device=device),
            torch.tensor([boldness(strength)], device=device),
        )
        return Look(tokens_BLC, noise_scale_of(strength))

    def remark(self, preset: Preset) -> str:
        """An unknown wording gives the nearest look, and this says which."""
        reading = self._text.read(preset.prompt)
        if reading.sure:
            return ""
        nearest = reading.named[0]
        return f"{preset.prompt!r:.80} names no look that is known; the nearest is {nearest}"


def load_pocket(
    device: str, timer: StageTimer | None = None, quirks: Quirks = DEFAULT
) -> CausalEngine:
    """The trained model. Raises ConfigError for an absent device, WeightsError for bad weights."""
    place = choose_device(device)
    dtype = choose_dtype(place)
    try:
        model = pocket.load_pocket(WEIGHTS, place, dtype)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{error}: reinstall Brushcast, or run `brushcast models verify`"
        ) from None
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{WEIGHTS / pocket.FILE} is not this model's: {error}") from None
    as_int8 = place.type == "cpu" and dtype == torch.float32 and int8_pays()
    if as_int8:
        model.quantise()
    return pocket_engine(model, place, dtype, timer, quirks=quirks, as_int8=as_int8)


def random_pocket(
    device: str, seed: int = 0, timer: StageTimer | None = None, quirks: Quirks = DEFAULT
) -> CausalEngine:
    """The same networks with random weights, for tests: everything but the picture is real."""
    place = choose_device(device)
    dtype = choose_dtype(place)
    networks = pocket.random_pocket(place, dtype, seed)
    return pocket_engine(networks, place, dtype, timer, quirks=quirks)


def pocket_engine(
    model: pocket.Pocket,
    device: torch.device,
    dtype: torch.dtype,
    timer: StageTimer | None,
    *,
    quirks: Quirks = DEFAULT,
    as_int8: bool = False,
) -> CausalEngine:
    """An engine around networks that are on `device` already, `as_int8`: quantised. Raises
    ConfigError for a quirk of Wan's autoencoder."""
    if quirks.normalise_encoded:
        raise ConfigError("quirk normalise_encoded: pocket's autoencoder knows no such thing")
    parameters = sum(p.numel() for part in model.parts.values() for p in part.parameters())
    info = EngineInfo(
        name="pocket",
        device=str(device),
        device_name=device_name(device),
        dtype=str(dtype).removeprefix("torch.") + (", int8" if as_int8 else ""),
        chunk_frames=4,
        steps=STEPS,
        default_steps=1,
        default_size=GPU_SIZE if device.type == "cuda" else DEFAULT_SIZE,
        size_multiple=16,
        slow_start_s=20.0 if device.type == "cuda" else 5.0,  # on a GPU graphs are recorded
        description=f"embedded causal video diffusion model, {parameters / 1e6:.1f} M parameters",
    )
    return CausalEngine(
        info=info,
        transformer=model.dit,
        networks=Graphed(model.dit, model.vae, dtype, device, capture=True, quirks=quirks)
        if device.type == "cuda"
        else Eager(model.dit, model.vae, dtype, quirks=quirks),
        looks=PocketLooks(model),
        noise=NoiseConfig(form=quirks.noise, window=quirks.noise_window, strokes=True),
        schedule=pocket_steps,
        timer=timer,
        quirks=quirks,
    )
