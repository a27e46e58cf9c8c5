"""Ablations: one row for each part that is switched off, over a stretch that is long enough."""

from __future__ import annotations

import math

import pytest
import torch

from brushcast_worker.quality import ablations
from brushcast_worker.quality.ablations import LATENT_FRAMES, OURS, VARIANTS, ablate
from brushcast_worker.quality.networks import load_networks
from brushcast_worker.quality.play import CHUNK, NEVER, Play, Player
from brushcast_worker.stages.cache import ROPE_REFRESH_AT


def test_the_stretch_meets_the_refresh_twice() -> None:
    assert LATENT_FRAMES > 2 * ROPE_REFRESH_AT
    assert VARIANTS[OURS] == Play()
    switched = [play for play in VARIANTS.values() if play != Play()]
    assert len(switched) == len(VARIANTS) - 1
    assert any(play.refresh_at == NEVER for play in switched)


def test_every_variant_has_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "LATENT_FRAMES", 8)
    player = Player(load_networks("pocket-random", "cpu").pocket, 2)
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(2 * CHUNK, 3, 48, 64, generator=generator) * 2 - 1
    said: list[str] = []
    found = ablate(player, video, ["oil", "ink"], said.append)
    assert list(found) == list(VARIANTS)
    assert len(said) == len(VARIANTS)
    for figures in found.values():
        assert set(figures) == {"warp", "flicker", "sharpness", "output_db", "seam"}
        assert all(math.isfinite(x) for x in figures.values())
    assert found["noise drawn afresh"]["seam"] > found[OURS]["seam"]
