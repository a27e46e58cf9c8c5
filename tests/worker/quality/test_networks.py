"""Networks: what is judged is what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from brushcast.errors import ConfigError, WeightsError
from brushcast_worker.quality.networks import load_networks


def test_random_networks_leave_nothing_at_zero() -> None:
    networks = load_networks("pocket-random", "cpu")
    assert networks.device.type == "cpu"
    parameters = [p for part in networks.pocket.parts.values() for p in part.parameters()]
    assert all(parameter.any() for parameter in parameters)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="pocket.safetensors"):
        load_networks("pocket", "cpu", tmp_path)
    with pytest.raises(ConfigError, match="--engine wan"):
        load_networks("wan", "cpu")
    with pytest.raises(ConfigError, match="cuda:99"):
        load_networks("pocket-random", "cuda:99")
