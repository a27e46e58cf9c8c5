"""A pool of caches gives what caches of their own give, whoever comes and goes."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from brushcast_worker.engines.wan import ROWS
from brushcast_worker.models.dit import Context, DiT
from brushcast_worker.quirks import DEFAULT
from brushcast_worker.stages import pool as pool_module
from brushcast_worker.stages.cache import Cache, rolling_cache
from brushcast_worker.stages.denoise import Row, denoise
from brushcast_worker.stages.pool import CachePool, PooledCache
from brushcast_worker.stages.row_graphs import RowGraphs
from brushcast_worker.stages.schedule import Step

CPU = torch.device("cpu")
CONFIG = ROWS["wan-small"].transformer
HEIGHT, WIDTH = 4, 6  # of a latent frame
GRID = HEIGHT, WIDTH
LARGER = 2 * HEIGHT, WIDTH
TOKENS = 6


@pytest.fixture(scope="module")
def transformer() -> DiT:
    torch.manual_seed(0)
    return DiT(CONFIG).eval().requires_grad_(False)


@pytest.fixture
def pool(transformer: DiT) -> CachePool:
    return CachePool(transformer, torch.float32, CPU, RowGraphs(CPU, capture=False))


def context(transformer: DiT, seed: int) -> Context:
    generator = torch.Generator().manual_seed(seed)
    shape = 1, CONFIG.context_tokens, CONFIG.context_dim
    return transformer.context(torch.randn(shape, generator=generator))


def row(seed: int, step: Step, cache: Cache, prompt: Context) -> Row:
    generator = torch.Generator().manual_seed(seed)
    z_CHW, noise_CHW = torch.randn(2, 16, HEIGHT, WIDTH, generator=generator)
    return Row(z_CHW, z_CHW, noise_CHW, step, cache, prompt)


def own(transformer: DiT) -> Cache:
    return rolling_cache(transformer.config, GRID, CPU, torch.float32, DEFAULT)


def both(
    transformer: DiT, pool: CachePool, pairs: list[tuple[Cache, Cache]], prompts: list[Context],
    tick: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One forward with the pool's caches, and one of each row alone with its own."""
    steps = [Step(600.0 + n, 0.6, 0.7 - 0.1 * n) for n in range(len(pairs))]
    seeds = [1000 * tick + n for n in range(len(pairs))]
    things = list(zip(seeds, steps, pairs, prompts, strict=True))
    together = pool.denoise([row(s, step, pooled, p) for s, step, (pooled, _), p in things])
    alone = [denoise(transformer, [row(s, step, kept, p)])[0] for s, step, (_, kept), p in things]
    return torch.stack(together), torch.stack(alone)


@torch.inference_mode()
def test_streams_in_any_company_get_what_they_get_alone(transformer: DiT, pool: CachePool) -> None:
    """Filling, full, the ring turned twice; rows that come later, and in another order."""
    pairs = [(pool.cache(GRID), own(transformer)) for _ in range(3)]
    prompts = [context(transformer, seed) for seed in range(3)]
    for tick in range(3 * CONFIG.window):
        who = [[0], [0, 1], [2, 0], [2, 1, 0], [1]][tick % 5]
        got, wanted = both(
            transformer, pool, [pairs[n] for n in who], [prompts[n] for n in who], tick
        )
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_another_prompt_takes_its_place(transformer: DiT, pool: CachePool) -> None:
    pair, prompts = (
        (pool.cache(GRID), own(transformer)),
        [context(transformer, n) for n in (1, 2)],
    )
    seen = []
    for tick, prompt in enumerate([prompts[0], prompts[0], prompts[1], prompts[0]]):
        got, wanted = both(transformer, pool, [pair], [prompt], tick)
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)
        seen.append(got)
    assert not torch.allclose(seen[1], seen[2], atol=1e-3)


@torch.inference_mode()
def test_a_fork_knows_the_same_and_goes_its_own_way(transformer: DiT, pool: CachePool) -> None:
    pair, prompt = (pool.cache(GRID), own(transformer)), context(transformer, 0)
    for tick in range(CONFIG.window + 1):
        both(transformer, pool, [pair], [prompt], tick)
    fork = (pair[0].fork(), pair[1].fork())
    for tick, which in ((50, pair), (51, fork), (52, pair), (53, fork)):
        got, wanted = both(transformer, pool, [which], [prompt], tick)
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_rows_are_given_back_and_the_pool_grows_only_when_it_must(pool: CachePool) -> None:
    first = pool.cache(GRID)
    bank = first.bank
    rows = len(bank.owners)
    for _ in range(20):
        other = pool.cache(GRID)
        assert bank.row(other) != bank.row(first)
        del other
    assert len(bank.owners) == rows
    more = [pool.cache(GRID) for _ in range(rows)]
    assert len(bank.owners) == 2 * rows
    assert len({bank.row(cache) for cache in (first, *more)}) == rows + 1
    assert bank.k_LBSND.shape == (CONFIG.layers, 2 * rows, CONFIG.window, TOKENS, CONFIG.dim)


@torch.inference_mode()
def test_growing_loses_nothing(transformer: DiT, pool: CachePool) -> None:
    pair, prompt = (pool.cache(GRID), own(transformer)), context(transformer, 0)
    for tick in range(CONFIG.window + 2):
        both(transformer, pool, [pair], [prompt], tick)
    company = [pool.cache(GRID) for _ in range(6)]
    got, wanted = both(transformer, pool, [pair], [prompt], 99)
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)
    assert len(company) == 6


def test_memory_that_graphs_know_waits_for_the_next_stream_of_its_size(pool: CachePool) -> None:
    cache: PooledCache | None = pool.cache(GRID)
    assert cache is not None
    before = cache.bank.number, cache.bank.generation, cache.bank.k_LBSND.data_ptr()
    cache = None
    gc.collect()
    bank = pool.cache(GRID).bank
    assert (bank.number, bank.generation, bank.k_LBSND.data_ptr()) == before


def test_memory_of_another_size_is_given_back_with_its_last_cache(pool: CachePool) -> None:
    cache = pool.cache(GRID)
    assert list(pool._banks) == [GRID]
    other = pool.cache(LARGER)
    assert len(pool._banks) == 2, "a stream has it"
    del cache
    gc.collect()
    assert list(pool._banks) == [LARGER]
    assert other.bank is pool._banks[LARGER]


def test_room_is_made_before_it_is_taken(pool: CachePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes' memory at once is more than a GPU may have."""
    pool.cache(GRID)  # of a stream that is gone at once
    held = []

    class Bank(pool_module._Bank):
        def __init__(self, *arguments: object) -> None:
            held.append(list(pool._banks))
            super().__init__(*arguments)

    monkeypatch.setattr(pool_module, "_Bank", Bank)
    pool.cache(LARGER)
    assert held == [[]]


@torch.inference_mode()
def test_what_is_not_finite_stays_with_the_stream_that_made_it(
    transformer: DiT, pool: CachePool
) -> None:
    prompt = context(transformer, 0)
    bad: PooledCache | None = pool.cache(GRID)
    assert bad is not None
    bad.bank.k_LBSND.fill_(torch.nan)
    bad.bank.v_LBSND.fill_(torch.nan)
    bad = None
    pair = (pool.cache(GRID), own(transformer))
    got, wanted = both(transformer, pool, [pair], [prompt], 0)
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_a_copied_prompt_is_not_mistaken_for_the_old_one(transformer: DiT, pool: CachePool) -> None:
    """A prompt that is let go and another in its place in memory."""
    pair = (pool.cache(GRID), own(transformer))
    for tick in range(8):
        got, wanted = both(transformer, pool, [pair], [context(transformer, tick)], tick)
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)
