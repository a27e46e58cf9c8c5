"""Mixtures: what lies between two looks, in every engine."""

from __future__ import annotations

import pytest
import torch

from brushcast.presets import Preset
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.pocket import load_pocket, random_pocket
from brushcast_worker.engines.wan import random_wan

ENGINES = {"pocket": random_pocket, "wan": lambda device: random_wan("wan-small", device)}


def tokens(engine: CausalEngine, prompt: str) -> torch.Tensor:
    return engine._looks.look(Preset(name="mine", title="Mine", prompt=prompt)).tokens_BLC


@pytest.mark.parametrize("name", list(ENGINES))
@torch.inference_mode()
def test_a_mixture_lies_where_its_shares_say(name: str) -> None:
    engine = ENGINES[name]("cpu")
    ink, neon = tokens(engine, "ink"), tokens(engine, "neon")
    assert float((ink - neon).abs().max()) > 1e-3
    torch.testing.assert_close(tokens(engine, "ink :3 | neon"), 0.75 * ink + 0.25 * neon)
    torch.testing.assert_close(tokens(engine, "ink | ink"), ink)


def test_the_strength_is_the_presets() -> None:
    engine = random_pocket("cpu")
    preset = Preset(name="mine", title="Mine", prompt="ink | neon", strength=0.3)
    assert engine._looks.look(preset).s0 == pytest.approx(
        engine._looks.look(preset.changed(prompt="ink")).s0
    )


def test_each_part_that_is_not_known_is_told() -> None:
    engine = load_pocket("cpu")
    preset = Preset(name="mine", title="Mine", prompt="ink | qwertz asdf")
    assert engine.check(preset).startswith("'qwertz asdf' names no look")
    assert engine.check(preset.changed(prompt="ink | neon")) == ""
