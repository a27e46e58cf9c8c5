"""Denoise: one forward for all latent frames under way, each at its own level (stream batch).

Letters: B rows, T latent frames (1 here), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brushcast_worker.models.dit import Context, DiT, cat_contexts
from brushcast_worker.stages.cache import Cache, RollingCache
from brushcast_worker.stages.schedule import Step, as_rows, renoise


@dataclass(frozen=True, slots=True)
class Row:
    """One latent frame before one denoising step.

    x0_CHW: what is known of the clean latent (the source's before the first step, the last step's
    answer after). source_CHW: the source's clean latent. noise_CHW: the stream's fixed noise. step:
    how much of it is mixed in, and what the transformer is told. cache: of this stream and this
    step.
    """

    x0_CHW: Tensor
    source_CHW: Tensor
    noise_CHW: Tensor
    step: Step
    cache: Cache
    context: Context


def denoise(transformer: DiT, rows: Sequence[Row]) -> list[Tensor]:
    """Each row's clean latent `[16 H/8 W/8]` after its step. All rows have one size."""
    source_BTCHW = torch.stack([row.source_CHW for row in rows])[:, None]
    timestep_B1, sigma_B1 = as_rows([row.step for row in rows], source_BTCHW.device)
    caches = [rolling(row.cache) for row in rows]
    x_BCHW = torch.stack([renoise(row.x0_CHW, row.noise_CHW, row.step.level) for row in rows])
    for cache in caches:
        cache.begin()
    contexts = [row.context for row in rows]
    x0_BTCHW = transformer.predict_x0(
        x_BCHW[:, None],
        timestep_BT=timestep_B1,
        sigma_BT=sigma_B1,
        context=contexts[0] if len(contexts) == 1 else cat_contexts(contexts),
        source_BTCHW=source_BTCHW if transformer.config.source_channels else None,
        caches=caches,
    )
    for cache in caches:
        cache.end()
    return list(x0_BTCHW[:, 0].unbind(0))


def rolling(cache: Cache) -> RollingCache:
    """The cache of an engine that has no others."""
    assert isinstance(cache, RollingCache)
    return cache
