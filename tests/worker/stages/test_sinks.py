"""Sinks of a pool give way as those of caches of their own do, each stream's by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from brushcast_worker.engines.wan import ROWS
from brushcast_worker.models.dit import Context, DiT
from brushcast_worker.quirks import Quirks, Rope
from brushcast_worker.stages.cache import Cache, RollingCache, rolling_cache
from brushcast_worker.stages.denoise import Row, denoise
from brushcast_worker.stages.pool import CachePool
from brushcast_worker.stages.row_graphs import RowGraphs
from brushcast_worker.stages.schedule import Step
from brushcast_worker.stages.sinks import SinkRows

CONFIG = dataclasses.replace(ROWS["wan-small"].transformer, sinks=3, window=6, layers=3)
GRID = 4, 6
SCENES = 4
THRESHOLD = 0.75  # between a scene's likeness to itself and to another, with these weights
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

Pair = tuple[Cache, Cache]


class Both:
    """The same streams with the pool's caches in one forward, and alone with their own."""

    def __init__(self, device: str = "cpu", **quirks: object) -> None:
        torch.manual_seed(1)
        self.device = torch.device(device)
        self.transformer = DiT(CONFIG).eval().requires_grad_(False).to(device)
        self.quirks = Quirks(**quirks)
        graphs = RowGraphs(self.device, capture=device == "cuda")
        self.pool = CachePool(
            *(self.transformer, torch.float32, self.device, graphs), quirks=self.quirks
        )

    def open(self) -> Pair:
        own = rolling_cache(CONFIG, GRID, self.device, torch.float32, self.quirks)
        return self.pool.cache(GRID), own

    def context(self, seed: int) -> Context:
        shape = 1, CONFIG.context_tokens, CONFIG.context_dim
        tokens = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return self.transformer.context(tokens.to(self.device))

    def tick(
        self, pairs: Sequence[Pair], scenes: Sequence[int], number: int, again: int | None = None
    ) -> tuple[Tensor, Tensor]:
        rows: list[list[Row]] = [[], []]
        for n, (pair, scene) in enumerate(zip(pairs, scenes, strict=True)):
            z_CHW = latent(scene, number).to(self.device)
            for which in (0, 1):
                cache = pair[which]
                source_CHW = z_CHW if again is None else cache.source(again)
                step = Step(300.0 + n, 0.3, 0.1)
                rows[which].append(
                    Row(source_CHW, source_CHW, torch.zeros_like(z_CHW), step, cache,
                        self.context(n + (again is not None)), again)
                )  # fmt: skip
        together = self.pool.denoise(rows[0])
        alone = [denoise(self.transformer, [row])[0] for row in rows[1]]
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return torch.stack(together), torch.stack(alone)


def latent(scene: int, number: int) -> Tensor:
    """A scene's mean colour is its own; a little of it moves."""
    its = torch.Generator().manual_seed(1000 + scene)
    mean_C11, still_CHW = (
        torch.randn(16, 1, 1, generator=its),
        torch.randn(16, *GRID, generator=its),
    )
    moved = torch.randn(16, *GRID, generator=torch.Generator().manual_seed(10_000 + number))
    return 2 * mean_C11 + 0.5 * still_CHW + 0.2 * moved


def near(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, atol=1e-5 if got.device.type == "cpu" else 1e-4, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rope", ["slot", "frame"])
@torch.inference_mode()
def test_a_pools_sinks_give_way_as_those_of_a_cache_of_its_own(rope: Rope, device: str) -> None:
    """Three streams that change their scenes at different times, in changing company, past the
    place where published positions start again."""
    both = Both(device, rope=rope, sinks=THRESHOLD)
    pairs = [both.open() for _ in range(3)]
    for number in range(70):
        who = [[0], [0, 1], [2, 0], [2, 1, 0], [1]][number % 5]
        scenes = [(number + 7 * n) // 17 % SCENES for n in who]
        near(*both.tick([pairs[n] for n in who], scenes, number))
    for pooled, own in pairs:
        assert pooled.replaced == own.replaced > 3
        for sink in range(CONFIG.sinks):
            assert torch.equal(pooled.source(sink), own.source(sink))


@torch.inference_mode()
def test_one_streams_sinks_follow_its_scene_and_anothers_stay() -> None:
    both = Both(sinks=THRESHOLD)
    changed, same = both.open(), both.open()
    for number in range(20):
        near(*both.tick([changed, same], [number // 10, 0], number))
    first_CHW = latent(0, 0)
    assert changed[0].replaced == CONFIG.sinks
    assert same[0].replaced == 0
    assert torch.equal(same[0].source(0), first_CHW)
    assert not torch.equal(changed[0].source(0), first_CHW)


@torch.inference_mode()
def test_without_a_threshold_sinks_stay_whatever_comes() -> None:
    both = Both()
    pair = both.open()
    for number in range(20):
        near(*both.tick([pair], [number // 5], number))
    assert pair[0].replaced == pair[1].replaced == 0
    assert torch.equal(pair[0].source(2), latent(0, 2))


@pytest.mark.parametrize("rope", ["slot", "frame"])
@pytest.mark.parametrize("ticks", [2, 4, 9, 55])
@torch.inference_mode()
def test_a_sink_made_anew_is_the_same_in_both_and_moves_no_cursor(rope: Rope, ticks: int) -> None:
    both = Both(rope=rope, sinks=THRESHOLD)
    pair = both.open()
    for number in range(ticks):
        both.tick([pair], [0], number)
    own = pair[1]
    assert isinstance(own, RollingCache)
    before = (own.slot, own.filled, own.position, own.positions)
    for sink in range(min(ticks, CONFIG.sinks)):
        near(*both.tick([pair], [0], 0, again=sink))
    assert before == (own.slot, own.filled, own.position, own.positions)
    for number in range(ticks, ticks + 8):
        near(*both.tick([pair], [0], number))


@torch.inference_mode()
def test_a_sink_made_anew_under_the_same_prompt_is_as_it_was() -> None:
    """It sees then what it saw at first."""
    both = Both()
    pair = both.open()
    own = pair[1]
    assert isinstance(own, RollingCache)
    for number in range(9):
        both.tick([pair], [0], number)
    keys = own.stored()[0].clone()
    step, prompt = Step(300.0, 0.3, 0.1), both.context(0)
    for sink in range(CONFIG.sinks):
        source = own.source(sink)
        noise = torch.zeros_like(source)
        denoise(both.transformer, [Row(source, source, noise, step, own, prompt, sink)])
    near(own.stored()[0], keys)
    other = Row(source, source, noise, step, own, both.context(5), sink)
    denoise(both.transformer, [other])
    assert float((own.stored()[0] - keys).abs().max()) > 1e-3


@torch.inference_mode()
def test_a_fork_takes_the_sinks_along() -> None:
    both = Both(sinks=THRESHOLD)
    pair = both.open()
    for number in range(12):
        both.tick([pair], [number // 8], number)
    fork = pair[0].fork(), pair[1].fork()
    assert fork[0].replaced == fork[1].replaced == pair[0].replaced > 0
    for number in range(12, 24):
        near(*both.tick([fork], [2], number))
    assert fork[0].replaced == fork[1].replaced > pair[0].replaced == pair[1].replaced


def test_rows_are_views_of_the_first() -> None:
    rows = SinkRows.blank(CONFIG, 4, GRID, torch.device("cpu"), torch.float32)
    rows.first(2).source_1BPCHW.fill_(1)
    assert rows.source_1BPCHW[0, :, 0, 0, 0, 0].tolist() == [1, 1, 0, 0]
