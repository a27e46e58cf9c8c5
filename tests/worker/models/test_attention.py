"""Attention: the CPU's plain products equal torch's own kernel, and turning depends on distance."""

import pytest
import torch
import torch.nn.functional as F

from brushcast_worker.models.attention import (
    CachedAttention,
    CacheRows,
    RowsAttention,
    attend,
    rope_table,
    split_heads,
    turned,
    turns,
    wide_attention,
)
from brushcast_worker.stages.cache import RollingCache

GRID = (2, 3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_plain_products_equal_the_fused_kernel() -> None:
    q, k, v = (split_heads(random(2, n, 24), 3) for n in (6, 18, 18))
    wanted = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(q, k, v), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wide_head_gets_what_the_fused_kernel_gives(device: str, dtype: torch.dtype) -> None:
    q, k, v = (random(2, 1, n, 384).to(device, dtype) for n in (20, 30, 30))
    wanted = F.scaled_dot_product_attention(*(x.float() for x in (q, k, v)))
    near = 1e-5 if dtype == torch.float32 and device == "cpu" else 2e-2
    torch.testing.assert_close(wide_attention(q, k, v).float(), wanted, atol=near, rtol=near)


def test_turning_keeps_lengths_and_the_type() -> None:
    x = random(1, 3, 6, 16).bfloat16()
    y = turned(x, turns(rope_table(16), [5], GRID))
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float().norm(dim=-1), x.float().norm(dim=-1), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("shift", [1, 40])
def test_products_depend_on_the_distance_in_time_alone(shift: int) -> None:
    rope = rope_table(16)
    q, k = random(1, 3, 6, 16), random(1, 3, 6, 16)

    def product(at: int) -> torch.Tensor:
        return turned(q, turns(rope, [at + 2], GRID)) @ turned(k, turns(rope, [at], GRID)).mT

    torch.testing.assert_close(product(0), product(shift), atol=1e-4, rtol=1e-4)


def test_places_are_told_apart() -> None:
    angle = turns(rope_table(16), [0, 1], GRID)
    assert angle.shape == (12, 8)
    rounded = {tuple(torch.view_as_real(row).flatten().mul(1e4).round().tolist()) for row in angle}
    assert len(rounded) == 12


@pytest.mark.parametrize("positions", ["slot", "frame"])
def test_rows_at_once_see_what_each_cache_shows(positions: str) -> None:
    """Three streams, of which two began later: their caches stand in different states."""
    rope, layers = rope_table(8), 2
    caches = [
        RollingCache(
            layers=layers, rows=1, tokens=6, dim=24, sinks=1, window=4, positions=positions
        )
        for _ in range(3)
    ]
    for tick in range(12):
        there = caches[: 1 + tick // 3]
        held = [[x.clone() for x in cache.stored()] for cache in there]
        for cache in there:
            cache.begin()
        rows = CacheRows(
            torch.stack([keys for keys, _ in held]),
            torch.stack([values for _, values in held]),
            torch.tensor([c.slot for c in there]),
            torch.tensor([c.position for c in there]),
            torch.tensor([[*c.positions, *[-1] * (4 - c.filled)] for c in there]),
        )
        one_by_one = CachedAttention(3, rope, there, GRID)
        at_once = RowsAttention(3, rope, rows, GRID)
        for layer in range(layers):
            q, k, v = (random(len(there), 1, 6, 24) * (tick + n + 1) for n in range(3))
            wanted = one_by_one(q, k, v, layer)
            torch.testing.assert_close(at_once(q, k, v, layer), wanted, atol=1e-5, rtol=1e-5)
        for n, cache in enumerate(there):
            written = [part[n] for pair in rows.written for part in pair]
            assert all(map(torch.equal, cache.current(), written))
