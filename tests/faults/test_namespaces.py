"""Packets that the kernel drops: nothing passes, the connection stays, and goes on afterwards."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from tests.faults.namespaces import Network, why_not
from tests.faults.test_relay import PATIENCE_S, Echo, take


@pytest.fixture
def network() -> Iterator[Network]:
    if reason := why_not():
        pytest.skip(reason)
    server = Echo()
    try:
        with Network(server.address) as made:
            yield made
    finally:
        server.close()


def test_dropped_packets_are_a_black_hole_and_come_again(network: Network) -> None:
    with socket.create_connection(("127.0.0.1", network.port), PATIENCE_S) as client:
        client.sendall(b"before")
        assert take(client, 6) == b"before"
        network.drop(1)
        client.sendall(b"inside")
        readable, _, _ = select.select([client], [], [], 0.5)
        assert not readable
        network.drop(0)
        assert take(client, 6) == b"inside"


def test_a_link_that_loses_packets_delivers_all_the_same(network: Network) -> None:
    network.drop(0.05)
    with socket.create_connection(("127.0.0.1", network.port), PATIENCE_S) as client:
        for number in range(20):
            client.sendall(bytes([number]) * 5000)
            assert take(client, 5000) == bytes([number]) * 5000
