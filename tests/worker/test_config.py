"""What the command line may ask for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.wire.curve import KeyPair
from brushcast.wire.endpoint import parse_endpoint
from brushcast_worker.config import (
    BenchConfig,
    PrecisionConfig,
    QualityConfig,
    ServeConfig,
    parse_listen,
    physical_cores,
    read_token,
)

LOOPBACK = parse_endpoint("tcp://127.0.0.1:0")


def test_serving_beyond_this_machine_is_refused() -> None:
    ServeConfig(bind=LOOPBACK)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0.*keys"):
        ServeConfig(bind=parse_endpoint("tcp://0.0.0.0:5555"))
    anywhere, keys = parse_endpoint("tcp://0.0.0.0:5555"), KeyPair(bytes(32), bytes(32))
    ServeConfig(bind=anywhere, keys=keys, bridges=Path("/nowhere"))
    for one in ({"keys": keys}, {"bridges": Path("/nowhere")}):
        with pytest.raises(ConfigError, match="brushcast-worker pair"):
            ServeConfig(bind=anywhere, **one)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9101", ("127.0.0.1", 9101)),
        (":0", ("127.0.0.1", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
    ],
)
def test_where_figures_are_told(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "gpu.lan:80", "127.0.0.1:", "127.0.0.1:65536", "1.2.3:4"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics .*wanted ADDRESS:PORT"):
        parse_listen(text)


def test_figures_beyond_this_machine_want_a_token(tmp_path: Path) -> None:
    ServeConfig(bind=LOOPBACK, metrics=("::1", 0))
    for token in ("", "short"):
        with pytest.raises(ConfigError, match="--metrics-token FILE"):
            ServeConfig(bind=LOOPBACK, metrics=("0.0.0.0", 0), metrics_token=token)
    file = tmp_path / "token"
    file.write_text("0123456789abcdef \nmore\n")
    token = read_token(file)
    assert token == "0123456789abcdef"
    ServeConfig(bind=LOOPBACK, metrics=("0.0.0.0", 0), metrics_token=token)
    with pytest.raises(ConfigError, match="nowhere"):
        read_token(tmp_path / "nowhere")


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


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"drift_seconds": math.nan}, "--drift-seconds nan"),
        ({"drift_seconds": -1.0}, "--drift-seconds -1"),
        ({"drift_seconds": 1e9}, "86400"),
        ({"pictures": 8}, "--pictures 8"),
        ({"size": Size(500, 288)}, "500x288"),
        ({"threads": -1}, "--threads -1"),
    ],
)
def test_what_quality_cannot_be_measured_of(wrong: dict[str, Any], words: str) -> None:
    QualityConfig(out=Path("."))
    with pytest.raises(ConfigError, match=words):
        QualityConfig(out=Path("."), **wrong)


def test_there_is_a_core_and_not_more_than_the_machine_has() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": 200}, "--width 200"),
        ({"width": 1 << 20}, "8192"),
        ({"layers": 0}, "--layers 0"),
        ({"side": 1000}, "--side 1000"),
        ({"pictures": 0}, "--pictures 0"),
        ({"size": Size(500, 288)}, "500x288"),
        ({"threads": -1}, "--threads -1"),
    ],
)
def test_what_precision_cannot_be_measured_of(wrong: dict[str, Any], words: str) -> None:
    PrecisionConfig(width=5120, layers=40, side=32)
    with pytest.raises(ConfigError, match=words):
        PrecisionConfig(**wrong)
