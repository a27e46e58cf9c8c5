"""Denoise: one forward for all latent frames under way, each at its own level (stream batch).

Letters: B rows, T latent frames (1 here), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brushcast_worker.models.attention import CacheRows, StaticRows
from brushcast_worker.models.dit import Context, DiT, cat_contexts
from brushcast_worker.stages.cache import Cache, RollingCache
from brushcast_worker.stages.schedule import Step, as_rows, renoise


@dataclass(frozen=True, slots=True)
class Row:
    """One latent frame before one denoising step.

    x0_CHW: what is known of the clean latent (the source's before the first step, the last step's
    answer after). source_CHW: the source's clean latent. noise_CHW: the stream's fixed noise. step:
    how much of it is mixed in, and what the transformer is told. cache: of this stream and this
    step. again: the sink of the cache that this latent frame is, when it is made anew.
    """

    x0_CHW: Tensor
    source_CHW: Tensor
    noise_CHW: Tensor
    step: Step
    cache: Cache
    context: Context
    again: int | None = None


def denoise(transformer: DiT, rows: Sequence[Row]) -> list[Tensor]:
    """Each row's clean latent `[16 H/8 W/8]` after its step. All rows have one size."""
    source_BTCHW = torch.stack([row.source_CHW for row in rows])[:, None]
    timestep_B1, sigma_B1 = as_rows([row.step for row in rows], source_BTCHW.device)
    caches = [rolling(row.cache) for row in rows]
    x_BCHW = torch.stack([renoise(row.x0_CHW, row.noise_CHW, row.step.level) for row in rows])
    for row, cache in zip(rows, caches, strict=True):
        cache.begin(row.again)
    contexts = [row.context for row in rows]
    x0_BTCHW = transformer.predict_x0(
        x_BCHW[:, None],
        timestep_BT=timestep_B1,
        sigma_BT=sigma_B1,
        context=contexts[0] if len(contexts) == 1 else cat_contexts(contexts),
        source_BTCHW=source_BTCHW if transformer.config.source_channels else None,
        caches=caches,
    )
    for row, cache in zip(rows, caches, strict=True):
        cache.end(row.source_CHW)
    return list(x0_BTCHW[:, 0].unbind(0))


def prompt_tensors(context: Context) -> list[Tensor]:
    """What a row (the first) of a prompt is made of, in an order that ``forward_rows`` knows."""
    prompt = [x_BLD[0] for x_BLD in (*context.k_BLD, *context.v_BLD)]
    return prompt if context.pooled_BD is None else [*prompt, context.pooled_BD[0]]


def noise_numbers(step: Step) -> list[float]:
    """What ``forward_rows`` is told of a row's step."""
    return [1 - step.level, step.level, step.timestep, step.sigma]


def forward_rows(
    transformer: DiT,
    own: Sequence[Tensor],
    prompt: Sequence[Tensor],
    noise_B4: Tensor,
    caches: CacheRows | StaticRows,
) -> Tensor:
    """The clean latents ``[B C H W]`` of rows that are tensors alone, as a graph wants them.
    ``own``: x0, source and noise; ``prompt``: of ``prompt_tensors``; ``noise``: of
    ``noise_numbers``.
    """
    x0_BCHW, source_BCHW, noise_BCHW = own
    kept_B, level_B, timestep_B, sigma_B = noise_B4.unbind(1)
    # Rounded as `renoise` by a float is: it multiplies in float32.
    kept_BCHW = (kept_B[:, None, None, None] * x0_BCHW).to(x0_BCHW.dtype)
    x_BCHW = kept_BCHW + (level_B[:, None, None, None] * noise_BCHW).to(x0_BCHW.dtype)
    layers = transformer.config.layers
    context = Context(
        k_BLD=tuple(prompt[:layers]),
        v_BLD=tuple(prompt[layers : 2 * layers]),
        pooled_BD=prompt[2 * layers] if len(prompt) > 2 * layers else None,
    )
    x0_BTCHW = transformer.predict_x0(
        x_BCHW[:, None],
        timestep_BT=timestep_B[:, None],
        sigma_BT=sigma_B[:, None],
        context=context,
        source_BTCHW=source_BCHW[:, None] if transformer.config.source_channels else None,
        caches=caches,
    )
    return x0_BTCHW[:, 0]


def rolling(cache: Cache) -> RollingCache:
    """The cache of an engine that has no others."""
    assert isinstance(cache, RollingCache)
    return cache
