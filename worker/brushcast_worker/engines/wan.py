"""The Wan engines: the published causal few-step transformer between Wan's autoencoder, exact or
tiny, and the stream (StreamDiffusionV2, arXiv 2511.07399).

With the published weights, or with random ones: then every size and every step is real.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import brushcast
from brushcast.catalogue import Model, read_catalogue
from brushcast.errors import ConfigError, OutOfMemory, WeightsError
from brushcast.folders import compiled_folder, prompts_folder
from brushcast.frame import Size
from brushcast.gpu_memory import Gpu, has_room, verdict
from brushcast.presets import Preset
from brushcast_worker.compile_cache import keep_compiled
from brushcast_worker.engine import EngineInfo, StageTimer
from brushcast_worker.engines.attention_choice import (
    AttentionChoice,
    attention_shapes,
    choose_attention,
)
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.devices import choose_device, choose_dtype, device_name
from brushcast_worker.engines.looks import Looks
from brushcast_worker.models.dit import SIZES, DiT, DiTConfig
from brushcast_worker.models.fp8 import NEEDS, multiplies_fp8
from brushcast_worker.models.keys import last_moments, load_weights, read_weights
from brushcast_worker.models.light_vae import CHUNK, SCALE
from brushcast_worker.models.tiny_vae import TINY_VAE_SIZES, TinyVAE, TinyVAEConfig
from brushcast_worker.models.wan_vae import LATENT_STD, VAE_SIZES, WanVAE, WanVAEConfig
from brushcast_worker.prompt_cache import EmbeddingCache
from brushcast_worker.prompts import Prompts, TextFiles
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.live_vae import LiveVAE
from brushcast_worker.stages.look import Look
from brushcast_worker.stages.noise import NoiseConfig
from brushcast_worker.stages.resident import Resident
from brushcast_worker.stages.schedule import noise_scale_of, sigma_table, wan_steps
from brushcast_worker.stages.tensorrt_decoder import tensorrt_compiler

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)
STEPS = (1, 2, 3, 4)
RAW_DEVIATION = sum(LATENT_STD) / len(LATENT_STD)  # of latents that are not normalised
DEFAULT_STEPS = 2
SHAPES = 64  # that are compiled of one function in a process at most
DEFAULT_SIZE = Size(832, 480)


@dataclass(frozen=True, slots=True, kw_only=True)
class WanRow:
    """One engine: its transformer, its autoencoder, and the catalogue's model whose files it wants
    ("": none)."""

    transformer: DiTConfig
    autoencoder: WanVAEConfig | TinyVAEConfig
    default_size: Size = DEFAULT_SIZE
    model: str = ""


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


def _published(
    size: str, autoencoder: WanVAEConfig | TinyVAEConfig, *, fp8: bool = False
) -> WanRow:
    transformer = replace(SIZES[size], fp8=fp8)
    model = f"{size}-fp8" if fp8 else size
    return WanRow(transformer=transformer, autoencoder=autoencoder, model=model)


def _small(autoencoder: WanVAEConfig | TinyVAEConfig, *, fp8: bool = False) -> WanRow:
    transformer = replace(_SMALL_DIT, fp8=fp8)
    return WanRow(transformer=transformer, autoencoder=autoencoder, default_size=Size(96, 64))


ROWS = {
    "wan-small": _small(_SMALL_VAE),
    "wan-small-tiny": _small(_SMALL_TINY_VAE),
    "wan-small-fp8": _small(_SMALL_VAE, fp8=True),
    "wan-1.3b": _published("wan-1.3b", _EXACT),
    "wan-1.3b-tiny": _published("wan-1.3b", _TINY),
    "wan-14b": _published("wan-14b", _EXACT),
    "wan-14b-tiny": _published("wan-14b", _TINY),
    "wan-14b-fp8": _published("wan-14b", _EXACT, fp8=True),
    "wan-14b-tiny-fp8": _published("wan-14b", _TINY, fp8=True),
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
        """As of `engines.looks.Looks`; a new prompt takes as long as the text encoder does."""
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
        """As of `engines.looks.Looks`."""
        number = int.from_bytes(hashlib.sha256(preset.prompt.encode()).digest()[:6], "big")
        shape = 1, self._config.context_tokens, self._config.context_dim
        tokens_BLC = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(number))
        return Look(tokens_BLC.to(self._device, self._dtype), noise_scale_of(preset.strength))

    def remark(self, preset: Preset) -> str:
        """As of `engines.looks.Looks`."""
        return ""


def load_wan(
    name: str,
    device: str,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
    *,
    decoder: str = "torch",
) -> CausalEngine:
    """The engine `name` of `ROWS` with the published weights. Raises ConfigError for a device that
    is absent or cannot compute it and for a quirk that it cannot have, OutOfMemory where its memory
    will never do, WeightsError for files that are missing or not this model's."""
    place, model = _place(name, device), read_catalogue()[ROWS[name].model]
    if place.type == "cuda":
        card = torch.cuda.get_device_properties(place)
        capability = card.major + card.minor / 10
        gib = card.total_memory / 2**30
        check_room(model, Gpu(name=device_name(place), gib=gib, capability=capability))
    files = model.paths()
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise WeightsError(
            f"{missing[0]} is not there: `brushcast models fetch {model.name}` brings it"
        )
    texts = TextFiles(weights=files["text_encoder"], tokenizer=files["tokenizer"])
    prompts = Prompts(texts, EmbeddingCache(prompts_folder()))
    return wan_from_files(name, files, prompts, place, timer, quirks, decoder=decoder)


def check_room(model: Model, gpu: Gpu) -> None:
    """Says what the GPU's memory will do, before anything is loaded. Raises OutOfMemory, with what
    fits, where it will never do."""
    said = verdict(model, gpu, read_catalogue().values())
    if not has_room(gpu, model.gpu_gib_least):
        raise OutOfMemory(said)
    log.log(logging.INFO if has_room(gpu, model.gpu_gib) else logging.WARNING, "%s", said)


def wan_from_files(
    name: str,
    files: Mapping[str, Path],
    prompts: PromptTokens,
    device: torch.device,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
    *,
    decoder: str = "torch",
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
    return wan_engine(
        name, transformer, autoencoder, looks, device, dtype, timer, quirks, decoder=decoder
    )


def random_wan(
    name: str,
    device: str,
    seed: int = 0,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
    *,
    fused: bool = True,
    decoder: str = "torch",
) -> CausalEngine:
    """The engine `name` of `ROWS` with random weights: everything but the picture is real.
    Raises ConfigError for a device that is absent or cannot compute it and for a quirk that it
    cannot have, OutOfMemory."""
    row, place = ROWS[name], _place(name, device)
    dtype = choose_dtype(place)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        transformer, autoencoder = _networks(row, place, dtype, quirks)
    looks = RandomLooks(transformer.config, place, dtype)
    return wan_engine(
        *(name, transformer, autoencoder, looks, place, dtype, timer, quirks),
        fused=fused,
        decoder=decoder,
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
    decoder: str = "torch",
) -> CausalEngine:
    """An engine around networks that are on `device` already, on a GPU `fused`: compiled, or with
    kernels of our own; the autoencoder's `decoder` by one of `engine.DECODERS`. Raises
    ConfigError."""
    compile_decoder = tensorrt_compiler(device) if decoder == "tensorrt" else None
    parameters = sum(p.numel() for p in transformer.parameters())
    late = 0 if isinstance(autoencoder, WanVAE) else CHUNK - 1
    live = LiveVAE(autoencoder, late=late)
    attention = attention_of(name, device, dtype)
    if fused and device.type == "cuda":
        keep_compiled(
            compiled_folder(), (brushcast.__version__, torch.__version__, device_name(device))
        )
        prepare_compiling(attention)
        transformer.fuse()
        if isinstance(autoencoder, WanVAE) and compile_decoder is None:
            from brushcast_worker.models.moments_triton import gather

            autoencoder.fuse(gather)
        else:
            live.fuse(compile_decoder)
    info = EngineInfo(
        name=name,
        device=str(device),
        device_name=device_name(device),
        dtype=str(dtype).removeprefix("torch.") + (", fp8" if transformer.config.fp8 else ""),
        chunk_frames=4,
        steps=STEPS,
        default_steps=DEFAULT_STEPS,
        default_size=ROWS[name].default_size,
        size_multiple=16,
        description=f"causal Wan, {parameters / 1e6:.4g} M parameters",
        late_frames=late,
        # Graphs of one row and of all steps, of caches that fill and of full ones.
        warm_up_chunks=transformer.config.window + DEFAULT_STEPS,
        attention_ms=attention.times_ms,
    )
    return CausalEngine(
        info=info,
        transformer=transformer,
        networks=Resident(
            *(transformer, live, dtype, device),
            capture=True,
            kernels=attention.kernels,
            quirks=quirks,
        )
        if device.type == "cuda"
        else Eager(transformer, live, dtype, quirks=quirks),
        looks=looks,
        noise=NoiseConfig(
            form=quirks.noise,
            window=quirks.noise_window,
            deviation=1.0 if quirks.normalise_encoded else RAW_DEVIATION,
        ),
        schedule=partial(wan_steps, table=sigma_table()),
        timer=timer,
        quirks=quirks,
    )


def _place(name: str, device: str) -> torch.device:
    """Where the engine will run: products of 8-bit floats want a GPU that has them, or a CPU, where
    float32 stands for them. Raises ConfigError."""
    place = choose_device(device)
    if ROWS[name].transformer.fp8 and place.type != "cpu" and not multiplies_fp8(place):
        wanted = ".".join(map(str, NEEDS))
        raise ConfigError(
            f"{name} wants a GPU that multiplies 8-bit floats (NVIDIA, compute capability {wanted} "
            f"or later: RTX 40, L4, H100), {device_name(place)} does not: "
            f"{name.removesuffix('-fp8')} runs there"
        )
    return place


def prepare_compiling(attention: AttentionChoice) -> None:
    """torch's own settings, of this process."""
    # What was compiled with one kernel must not be taken for what another would be.
    torch.compiler.config.cache_key_tag = ",".join(attention.order)
    # One row and several, a cache that fills: after 8 torch gives up.
    torch._dynamo.config.recompile_limit = SHAPES


def attention_of(name: str, device: torch.device, dtype: torch.dtype) -> AttentionChoice:
    """What the engine `name` of `ROWS` uses there, tried at its default size and steps."""
    config, size = ROWS[name].transformer, ROWS[name].default_size
    tokens = (size.width // SCALE // config.patch) * (size.height // SCALE // config.patch)
    return choose_attention(attention_shapes(config, tokens, DEFAULT_STEPS), device, dtype)


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
