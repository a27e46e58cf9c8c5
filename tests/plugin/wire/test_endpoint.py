"""Addresses of workers: what is one, and who can reach it."""

from __future__ import annotations

import pytest

from brushcast.errors import ConfigError
from brushcast.wire.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:7171", Endpoint("tcp", "127.0.0.1", 7171)),
        ("tcp://127.0.0.1:*", Endpoint("tcp", "127.0.0.1", 0)),
        ("tcp://[::1]:80", Endpoint("tcp", "::1", 80)),
        ("tcp://gpu.lan:7171", Endpoint("tcp", "gpu.lan", 7171)),
        ("ipc:///run/x/worker", Endpoint("ipc", path="/run/x/worker")),
    ],
)
def test_endpoints_are_read_and_written(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text.replace("*", "0")


@pytest.mark.parametrize(
    "text",
    ["", "7171", "127.0.0.1:7171", "http://x:1", "tcp://x", "tcp://x:99999", "tcp://:1", "tcp://[x]:1",
     "tcp://[::1::]:1", "ipc://relative", "ipc:///folder/", "ipc:///" + "x" * 108, "tcp://a b:1"],
)  # fmt: skip
def test_a_malformed_endpoint_is_one_clear_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted") as caught:
        parse_endpoint(text)
    assert "\n" not in str(caught.value)


def test_loopback_is_told_from_the_rest() -> None:
    near = ["tcp://127.0.0.1:1", "tcp://127.8.8.8:1", "tcp://localhost:1", "tcp://[::1]:1"]
    far = ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://192.168.1.5:1", "tcp://gpu.lan:1", "tcp://[::]:1"]
    assert [parse_endpoint(text).loopback for text in near] == [True] * 4
    assert [parse_endpoint(text).loopback for text in far] == [False] * 5
