"""One forward for rows at different noise levels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from brushcast_worker.engines.pocket import random_pocket
from brushcast_worker.models.dit import Context, DiT
from brushcast_worker.stages.cache import RollingCache
from brushcast_worker.stages.denoise import Row, denoise
from brushcast_worker.stages.schedule import Step

TOKENS = 4


@pytest.fixture(scope="module")
def transformer() -> DiT:
    return random_pocket("cpu")._transformer


def cache(transformer: DiT) -> RollingCache:
    c = transformer.config
    return RollingCache(
        layers=c.layers, rows=1, tokens=TOKENS, dim=c.dim, sinks=c.sinks, window=c.window
    )


def context(transformer: DiT, seed: int) -> Context:
    c = transformer.config
    generator = torch.Generator().manual_seed(seed)
    return transformer.context(torch.randn(1, c.context_tokens, c.context_dim, generator=generator))


def row(transformer: DiT, seed: int, sigma: float, kept: RollingCache) -> Row:
    generator = torch.Generator().manual_seed(seed)
    z_CHW, noise_CHW = torch.randn(2, 16, 8, 8, generator=generator)
    step = Step(1000 * sigma, sigma, sigma)
    return Row(z_CHW, z_CHW, noise_CHW, step, kept, context(transformer, seed))


@torch.inference_mode()
def test_rows_together_equal_rows_alone(transformer: DiT) -> None:
    sigmas = (0.6, 0.3)
    caches = [cache(transformer) for _ in sigmas], [cache(transformer) for _ in sigmas]
    for tick in range(6):
        together = denoise(
            transformer,
            [row(transformer, 10 * tick + i, s, caches[0][i]) for i, s in enumerate(sigmas)],
        )
        for i, sigma in enumerate(sigmas):
            (alone,) = denoise(transformer, [row(transformer, 10 * tick + i, sigma, caches[1][i])])
            assert torch.allclose(together[i], alone, atol=1e-4)


@torch.inference_mode()
def test_the_noise_level_the_step_and_the_past_all_matter(transformer: DiT) -> None:
    def alone(sigma: float, level: float, past: int) -> torch.Tensor:
        kept = cache(transformer)
        for seed in range(past):
            denoise(transformer, [row(transformer, seed, 0.5, kept)])
        last = row(transformer, 99, sigma, kept)
        step = dataclasses.replace(last.step, level=level)
        return denoise(transformer, [dataclasses.replace(last, step=step)])[0]

    base = alone(0.5, 0.5, 2)
    assert torch.equal(base, alone(0.5, 0.5, 2))
    for other in (alone(0.4, 0.5, 2), alone(0.5, 0.4, 2), alone(0.5, 0.5, 1)):
        assert not torch.allclose(base, other, atol=1e-6)


@torch.inference_mode()
def test_each_cache_moves_on_by_one_latent_frame(transformer: DiT) -> None:
    kept = [cache(transformer), cache(transformer)]
    denoise(transformer, [row(transformer, 0, 0.5, kept[0])])
    denoise(transformer, [row(transformer, i, 0.5, kept[i]) for i in range(2)])
    assert [c.filled for c in kept] == [2, 1]
