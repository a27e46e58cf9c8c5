"""The Wan engines: the published causal few-step transformer between Wan's autoencoder, exact or
tiny, and the stream (StreamDiffusionV2, arXiv 2511.07399).

With the published weights, or with random ones: then every size and every step is real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast.catalogue import read_catalogue
from brushcast.errors import ConfigError, OutOfMemory, WeightsError
from brushcast.folders import prompts_folder
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.engine import EngineInfo, StageTimer
from brushcast_worker.engines.causal import CausalEngine, Looks
from brushcast_worker.engines.devices import choose_device, choose_dtype, device_name
from brushcast_worker.models.dit import SIZES, DiT, DiTConfig
from brushcast_worker.models.keys import last_moments, load_weights, read_weights
from brushcast_worker.models.light_vae import CHUNK
from brushcast_worker.models.tiny_vae import TINY_VAE_SIZES, TinyVAE, TinyVAEConfig
from brushcast_worker.models.wan_vae import VAE_SIZES, WanVAE, WanVAEConfig
from brushcast_worker.prompt_cache import EmbeddingCache
from brushcast_worker.prompts import Prompts, TextFiles
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from brushcast_worker.stages.live_vae import LiveVAE
from brushcast_worker.stages.look import Look
from brushcast_worker.stages.noise import NoiseConfig
from brushcast_worker.stages.schedule import noise_scale_of, sigma_table, wan_steps

Network = TypeVar("Network", bound=nn.Module)
STEPS = (1, 2, 3, 4)
DEFAULT_SIZE = Size(832, 480)


@dataclass(frozen=True, slots=True, kw_only=True)
class WanRow:
    """One engine: its transformer and its autoencoder."""

    transformer: DiTConfig
    autoencoder: WanVAEConfig | TinyVAEConfig
    default_size: Size = DEFAULT_SIZE


_SMALL_DIT = DiTConfig(
    dim=48,
    layers=2,
    heads=2,
    ffn_dim=96,
    patch=2,
    context_dim=32,
    context_tokens=8,
    sinks=1,
    window=4,
)
_SMALL_VAE = WanVAEConfig(
    dim=8,
    z_dim=16,
    dim_mult=(1, 1, 2, 2),
    num_res_blocks=1,
    temporal_downsample=(False, True, True),
)
_SMALL_TINY_VAE = TinyVAEConfig(
    z_dim=16,
    encoder=8,
    decoder=(16, 8, 8, 8),
    blocks=1,
    temporal_downsample=(True, True, False),
    temporal_upsample=(False, True, True),
)
_EXACT, _TINY = VAE_SIZES["wan-2.1"], TINY_VAE_SIZES["taew2_1"]
ROWS = {
    "wan-small": WanRow(transformer=_SMALL_DIT, autoencoder=_SMALL_VAE, default_size=Size(96, 64)),
    "wan-small-tiny": WanRow(
        transformer=_SMALL_DIT, autoencoder=_SMALL_TINY_VAE, default_size=Size(96, 64)
    ),
    "wan-1.3b": WanRow(transformer=SIZES["wan-1.3b"], autoencoder=_EXACT),
    "wan-1.3b-tiny": WanRow(transformer=SIZES["wan-1.3b"], autoencoder=_TINY),
    "wan-14b": WanRow(transformer=SIZES["wan-14b"], autoencoder=_EXACT),
    "wan-14b-tiny": WanRow(transformer=SIZES["wan-14b"], autoencoder=_TINY),
}


class PromptTokens(Protocol):
    """`prompts.Prompts` is one."""

    def prompt_tokens(self, prompt: str) -> Tensor: ...


class WanLooks:
    """From a preset to what the transformer is told: the text encoder's tokens, padded with zeros
    (published), so that every two prompts can be mixed."""

    def __init__(
        self, prompts: PromptTokens, config: DiTConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._prompts, self._config = prompts, config
        self._device, self._dtype = device, dtype

    def look(self, preset: Preset) -> Look:
        """As of `engines.causal.Looks`; a new prompt takes as long as the text encoder does."""
        x_LC = self._prompts.prompt_tokens(preset.prompt).to(self._device, self._dtype)
        x_LC = F.pad(x_LC, (0, 0, 0, self._config.context_tokens - len(x_LC)))
        return Look(x_LC[None], noise_scale_of(preset.strength))

    def remark(self, preset: Preset) -> str:
        """None: any wording is understood."""
        return ""


class RandomLooks:
    """Tokens drawn by the prompt's own number: what a text encoder would give is not known here."""

    def __init__(self, config: DiTConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._config, self._device, self._dtype = config, device, dtype

    def look(self, preset: Preset) -> Look:
        """As of `engines.causal.Looks`."""
        number = int.from_bytes(hashlib.sha256(preset.prompt.encode()).digest()[:6], "big")
        shape = 1, self._config.context_tokens, self._config.context_dim
        tokens_BLC = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(number))
        return Look(tokens_BLC.to(self._device, self._dtype), noise_scale_of(preset.strength))

    def remark(self, preset: Preset) -> str:
        """As of `engines.causal.Looks`."""
        return ""


def load_wan(
    name: str, device: str, timer: StageTimer | None = None, quirks: Quirks = DEFAULT
) -> CausalEngine:
    """The engine `name` of `ROWS` with the published weights. Raises ConfigError for an absent
    device and a quirk that it cannot have, OutOfMemory where its memory will never do, WeightsError
    for files that are missing or not this model's."""
    place, model = choose_device(device), read_catalogue()[name.removesuffix("-tiny")]
    if place.type == "cuda":
        gib = torch.cuda.get_device_properties(place).total_memory / 2**30
        if gib < model.gpu_gib_least:
            raise OutOfMemory(
                f"{name} wants {model.gpu_gib_least:g} GiB of GPU memory, {device_name(place)} has "
                f"{gib:.1f}: pocket runs there, and every smaller model of `brushcast models list`"
            )
    files = model.paths()
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise WeightsError(
            f"{missing[0]} is not there: `brushcast models fetch {model.name}` brings it"
        )
    texts = TextFiles(weights=files["text_encoder"], tokenizer=files["tokenizer"])
    prompts = Prompts(texts, EmbeddingCache(prompts_folder()))
    return wan_from_files(name, files, prompts, place, timer, quirks)


def wan_from_files(
    name: str,
    files: Mapping[str, Path],
    prompts: PromptTokens,
    device: torch.device,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
) -> CausalEngine:
    """`files`: by role, as `catalogue.Model.paths` gives them. Raises WeightsError."""
    dtype = choose_dtype(device)
    transformer, autoencoder = _networks(ROWS[name], device, dtype, quirks)
    vae = files["vae" if isinstance(autoencoder, WanVAE) else "tiny_vae"]
    found: tuple[tuple[nn.Module, Path], ...] = (
        (transformer, files["transformer"]),
        (autoencoder, vae),
    )
    for network, path in found:
        load_weights(network, last_moments(read_weights(path), network), path.name)
    looks = WanLooks(prompts, transformer.config, device, dtype)
    return wan_engine(name, transformer, autoencoder, looks, device, dtype, timer, quirks)


def random_wan(
    name: str,
    device: str,
    seed: int = 0,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
    *,
    fused: bool = True,
) -> CausalEngine:
    """The engine `name` of `ROWS` with random weights: everything but the picture is real.
    Raises ConfigError for an absent device and a quirk that it cannot have, OutOfMemory."""
    row, place = ROWS[name], choose_device(device)
    dtype = choose_dtype(place)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        transformer, autoencoder = _networks(row, place, dtype, quirks)
    looks = RandomLooks(transformer.config, place, dtype)
    return wan_engine(
        name, transformer, autoencoder, looks, place, dtype, timer, quirks, fused=fused
    )


def wan_engine(
    name: str,
    transformer: DiT,
    autoencoder: WanVAE | TinyVAE,
    looks: Looks,
    device: torch.device,
    dtype: torch.dtype,
    timer: StageTimer | None,
    quirks: Quirks = DEFAULT,
    *,
    fused: bool = True,
) -> CausalEngine:
    """An engine around networks that are on `device` already, on a GPU `fused`: compiled."""
    parameters = sum(p.numel() for p in transformer.parameters())
    late = 0 if isinstance(autoencoder, WanVAE) else CHUNK - 1
    live = LiveVAE(autoencoder, late=late)
    if fused and device.type == "cuda":
        transformer.fuse()
        live.fuse()
    info = EngineInfo(
        name=name,
        device=str(device),
        device_name=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        chunk_frames=4,
        steps=STEPS,
        default_steps=2,
        default_size=ROWS[name].default_size,
        size_multiple=16,
        description=f"causal Wan, {parameters / 1e6:.4g} M parameters",
        late_frames=late,
    )
    return CausalEngine(
        info=info,
        transformer=transformer,
        networks=Graphed(transformer, live, dtype, device, capture=True, pooled=True, quirks=quirks)
        if device.type == "cuda"
        else Eager(transformer, live, dtype, quirks=quirks),
        looks=looks,
        noise=NoiseConfig(),
        schedule=partial(wan_steps, table=sigma_table()),
        timer=timer,
        quirks=quirks,
    )


def _networks(
    row: WanRow, device: torch.device, dtype: torch.dtype, quirks: Quirks
) -> tuple[DiT, WanVAE | TinyVAE]:
    vae = row.autoencoder
    if isinstance(vae, WanVAEConfig):
        vae = replace(vae, normalise_encoded=quirks.normalise_encoded)
    elif quirks.normalise_encoded:
        raise ConfigError("quirk normalise_encoded: the tiny autoencoder knows no such thing")
    transformer = _made(partial(DiT, row.transformer), device, dtype)
    return transformer, _made(partial(_autoencoder, vae), device, dtype)


def _autoencoder(config: WanVAEConfig | TinyVAEConfig) -> WanVAE | TinyVAE:
    return WanVAE(config) if isinstance(config, WanVAEConfig) else TinyVAE(config)


def _made(make: Callable[[], Network], device: torch.device, dtype: torch.dtype) -> Network:
    """A network in its place, without a copy of it in another: 14 B parameters are 57 GB."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return make().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
