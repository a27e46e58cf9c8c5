"""The measurement of this machine: that it measures, not what."""

from __future__ import annotations

import json

import pytest

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast_worker.bench import StageClock, measure
from brushcast_worker.config import BenchConfig
from tests.worker.conftest import Clock

STAGES = {"transfer_in", "motion", "encode", "denoise", "decode", "transfer_out", "other"}


@pytest.mark.parametrize("steps", [1, 2])
def test_every_figure_is_there(steps: int) -> None:
    config = BenchConfig(
        engine="pocket-random", device="cpu", size=Size(64, 48), steps=steps, seconds=0.5
    )
    result = json.loads(json.dumps(measure(config)))
    assert set(result["stages_ms"]) == STAGES
    assert all(ms >= 0 for ms in result["stages_ms"].values())
    assert result["fps"] > 0
    assert result["first_frame_ms"] > 0
    assert result["first_frame_warm_ms"] > 0
    assert result["attention_ms"] == {}, "nothing to choose from"
    assert result["peak_memory_mb"] > 10
    assert result["still"]["share_not_computed"] == pytest.approx(1 - steps / 20)
    assert result["still"]["chunk_ms"] > 0
    assert (result["size"], result["steps"], result["device"]) == ("64x48", steps, "cpu")
    assert set(result["versions"]) == {"brushcast", "torch", "cuda", "python"}


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(ConfigError, match="--steps 7.*1 or 2"):
        measure(BenchConfig(engine="pocket-random", device="cpu", steps=7))
    with pytest.raises(ConfigError, match="100x50"):
        measure(BenchConfig(engine="pocket-random", device="cpu", size=Size(100, 50)))


def test_the_clock_gives_each_stage_its_time(clock: Clock) -> None:
    stages = StageClock(clock)
    stages.begin("before it is on")
    stages.on = True
    for _ in range(2):
        stages.begin("encode")
        clock.sleep_ms(3)
        stages.begin("decode")
        clock.sleep_ms(5)
    stages.begin("")
    assert stages.spent_ms == {"encode": 6.0, "decode": 10.0}
