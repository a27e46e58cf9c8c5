"""What fewer bits cost: pictures of the embedded model, and random blocks of the 14B's shape.

Two questions. Of pictures: the trained transformer in bfloat16, and with its large products in
8-bit floats (a scale for each token and output as `models.fp8` has them, or one for a whole
tensor), against float32, in dB; what is beside those products stays as it is. Of depth: blocks one
after the other, each with weights of its own, in bfloat16 and in 8-bit floats, against float32.
Random weights and inputs have no outliers, which trained ones of this size have: the second
question is about how errors add up, no promise for the published weights.

Letters: B rows, T pictures, C channels, H W size; N tokens, D width, L context tokens, K inputs
and M outputs of a layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import brushcast
from brushcast.errors import ConfigError
from brushcast_worker.config import PrecisionConfig, physical_cores
from brushcast_worker.engines.devices import choose_device, device_name
from brushcast_worker.engines.pocket import WEIGHTS
from brushcast_worker.models.attention import ClipAttention, rope_table
from brushcast_worker.models.dit import SIZES, Block, DiTConfig
from brushcast_worker.models.fp8 import multiplies_fp8, products, to_fp8, to_levels
from brushcast_worker.models.pocket import Pocket
from brushcast_worker.quality.clips import GRAIN, Sample, samples
from brushcast_worker.quality.metrics import psnr
from brushcast_worker.quality.networks import load_floats
from brushcast_worker.quality.play import Play, Player, one_style
from brushcast_worker.quality.report import chosen_styles

PLAY = Play(steps=2)
CONTEXT_TOKENS = 64  # of the random prompt


def measure_precision(config: PrecisionConfig) -> dict[str, Any]:
    """Figures for JSON: `pictures` by clip, kind of number and look, and their `mean`; `blocks`, a
    row a layer, relative. Raises ConfigError, SourceError, WeightsError.
    """
    torch.set_num_threads(config.threads or physical_cores())
    place = choose_device(config.device)
    if place.type != "cpu" and not multiplies_fp8(place):
        raise ConfigError(f"--device {config.device}: {device_name(place)} has no 8-bit floats")
    styles = chosen_styles(config.styles)
    clips = samples(config.clips, config.size, config.pictures // GRAIN * GRAIN)
    with torch.inference_mode():
        of_clips = {clip.name: picture_errors(clip, styles, place) for clip in clips}
        of_blocks = block_errors(block_sizes(config.width), config.layers, config.side, place)
    return {
        "device": device_name(place),
        "size": str(config.size),
        "pictures": of_clips,
        "mean": {
            clip: {kind: _mean(list(looks.values())) for kind, looks in kinds.items()}
            for clip, kinds in of_clips.items()
        },
        "block": {"width": config.width, "tokens": config.side**2},
        "blocks": of_blocks,
        "versions": {"brushcast": brushcast.__version__, "torch": torch.__version__},
    }


def picture_errors(
    clip: Sample, styles: Sequence[str], device: torch.device
) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of number and look: `psnr_db` of the pictures against float32's (higher is nearer),
    and `latents`, the relative error of what the transformer made of them.
    """

    def changed(change: Callable[[nn.Module], None], dtype: torch.dtype) -> Pocket:
        pocket = load_floats(WEIGHTS, device, dtype)
        for block in pocket.dit.blocks:
            change(block)
        return pocket

    def painted(pocket: Pocket) -> list[tuple[Tensor, Tensor]]:
        player, video_BTCHW = Player(pocket, 1), clip.video_TCHW[None]
        return [player.play(video_BTCHW, one_style(style), PLAY) for style in styles]

    exact = painted(load_floats(WEIGHTS, device, torch.float32))
    kinds: dict[str, Callable[[], Pocket]] = {
        "bfloat16": lambda: load_floats(WEIGHTS, device, torch.bfloat16),
        "float32, fp8": lambda: changed(to_fp8, torch.float32),
        "float32, fp8 by tensor": lambda: changed(to_fp8_by_tensor, torch.float32),
        "bfloat16, fp8": lambda: changed(to_fp8, torch.bfloat16),
    }
    return {
        kind: {
            style: {"psnr_db": psnr(x, x_wanted), "latents": _relative(z, z_wanted)}
            for style, (x, z), (x_wanted, z_wanted) in zip(
                styles, painted(made()), exact, strict=True
            )
        }
        for kind, made in kinds.items()
    }


class OneScale(nn.Module):
    """A linear layer in 8-bit floats with one scale for all its weights and one for an input, to
    be compared with: computed in float32."""

    weight_MK: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight_MK", _by_tensor(linear.weight))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """``[... K]`` to ``[... M]`` in the dtype of x."""
        return F.linear(_by_tensor(x), self.weight_MK, self.bias.float()).to(x.dtype)


def to_fp8_by_tensor(block: nn.Module) -> None:
    """As `models.fp8.to_fp8`, with `OneScale`."""
    for layers, name in products(block):
        setattr(layers, name, OneScale(getattr(layers, name)))


def block_sizes(width: int) -> DiTConfig:
    """The 14B's blocks at another width, a multiple of a head's 128; the other sizes follow."""
    full = SIZES["wan-14b"]
    ffn_dim = full.ffn_dim * width // full.dim // 16 * 16
    return replace(full, dim=width, heads=width * full.heads // full.dim, ffn_dim=ffn_dim)


def block_errors(
    config: DiTConfig, layers: int, side: int, device: torch.device
) -> list[dict[str, float]]:
    """One latent frame of ``side`` x ``side`` random tokens through random blocks. Of each block's
    output the norm of the difference over the norm of what it is held against; `added`: of what
    the block adds to the same input, in 8-bit floats against bfloat16.
    """
    drawn = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn).to(device)

    rope = rope_table(config.dim // config.heads).to(device)
    attention = ClipAttention(config.heads, config.sinks, config.window, rope, 1, (side, side))
    context_BLD = random(1, CONTEXT_TOKENS, config.dim)
    modulation_BT6D = 0.3 * random(1, 1, 6, config.dim)

    def run(block: Block, x_BTND: Tensor) -> Tensor:
        k_BLD, v_BLD = block.cross_attn.keys_values(context_BLD.to(x_BTND.dtype))
        modulation = modulation_BT6D.to(x_BTND.dtype)
        y_BTND: Tensor = block(x_BTND, modulation, k_BLD, v_BLD, attention, 0)
        return y_BTND

    exact = random(1, 1, side * side, config.dim)
    short, eight = exact.bfloat16(), exact.bfloat16()
    rows = []
    for layer in range(layers):
        of_float32 = _random_block(config, layer, device)
        of_bfloat16 = copy.deepcopy(of_float32).bfloat16()
        of_fp8 = copy.deepcopy(of_bfloat16)
        to_fp8(of_fp8)
        before, alone = short, run(of_fp8, short)
        exact, short, eight = run(of_float32, exact), run(of_bfloat16, short), run(of_fp8, eight)
        rows.append(
            {
                "bfloat16 against float32": _relative(short, exact),
                "fp8 against float32": _relative(eight, exact),
                "fp8 against bfloat16": _relative(eight, short),
                "added": float((alone.double() - short).norm() / (short.double() - before).norm()),
            }
        )
    return rows


def _random_block(config: DiTConfig, layer: int, device: torch.device) -> Block:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(layer)
        with device:
            return Block(config).eval().requires_grad_(False)


def _mean(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(of[name] for of in figures) / len(figures) for name in figures[0]}


def _by_tensor(x: Tensor) -> Tensor:
    """Rounded to the levels of one scale, in float32."""
    levels, scale = to_levels(x.flatten())
    return (levels.float() * scale).view_as(x)


def _relative(seen: Tensor, wanted: Tensor) -> float:
    return float((seen.double() - wanted).norm() / wanted.double().norm())
