"""What the command line may ask for."""

from __future__ import annotations

import math
import os

import pytest

from brushcast.errors import ConfigError
from brushcast.wire.sockets import parse_endpoint
from brushcast_worker.config import BenchConfig, ServeConfig, physical_cores

LOOPBACK = parse_endpoint("tcp://127.0.0.1:0")


def test_serving_beyond_this_machine_is_refused() -> None:
    ServeConfig(bind=LOOPBACK)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0.*keys"):
        ServeConfig(bind=parse_endpoint("tcp://0.0.0.0:5555"))


def test_standby_wants_someone_who_ends_it() -> None:
    ServeConfig(bind=LOOPBACK, standby=True, supervised=True)
    with pytest.raises(ConfigError, match="--supervised"):
        ServeConfig(bind=LOOPBACK, standby=True)


@pytest.mark.parametrize("threads", [-1, 5000])
def test_threads_in_range(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"--threads {threads}"):
        ServeConfig(bind=LOOPBACK, threads=threads)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_bench_has_an_end(seconds: float) -> None:
    with pytest.raises(ConfigError, match="--seconds"):
        BenchConfig(seconds=seconds)


def test_steps_are_not_negative() -> None:
    with pytest.raises(ConfigError, match="--steps -1"):
        BenchConfig(steps=-1)


def test_there_is_a_core_and_not_more_than_the_machine_has() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
