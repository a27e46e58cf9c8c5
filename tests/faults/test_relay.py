"""The relay does to a connection what it says, both ways, and counts what passed."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.relay import CHUNK_BYTES, Relay

PATIENCE_S = 20.0


class Echo:
    """A server that sends back what it gets, each connection in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.ends: list[type[Exception] | None] = []  # of each connection: None for a goodbye
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, name="echo")
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                side, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=(side,), name="echo-one")
            self._threads.append(thread)
            thread.start()

    def _answer(self, side: socket.socket) -> None:
        with side:
            try:
                while data := side.recv(65536):
                    side.sendall(data)
                self.ends.append(None)
            except OSError as error:
                self.ends.append(type(error))

    def ended(self, count: int) -> bool:
        ends_s = time.monotonic() + PATIENCE_S
        while len(self.ends) < count and time.monotonic() < ends_s:
            time.sleep(0.01)
        return len(self.ends) >= count

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._acceptor, *self._threads]:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@contextmanager
def connected(relay: Relay) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", relay.port), PATIENCE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def take(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        some = client.recv(count - len(data))
        assert some, f"the connection ended after {len(data)} of {count} bytes"
        data += some
    return data


def test_what_is_sent_arrives_unchanged_and_is_counted_in_both_directions(echo: Echo) -> None:
    sent = bytes(range(256)) * 2000
    with Relay(echo.address) as relay, connected(relay) as client:
        writer = threading.Thread(target=client.sendall, args=(sent,), name="writer")
        writer.start()
        assert take(client, len(sent)) == sent
        writer.join(PATIENCE_S)
        assert (relay.bytes_up, relay.bytes_down) == (len(sent), len(sent))
        assert relay.connections == 1


def test_a_goodbye_passes_after_what_was_said_before_it(echo: Echo) -> None:
    with Relay(echo.address, latency_s=0.05) as relay, connected(relay) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert take(client, 10) == b"last words"
        assert client.recv(1) == b""
        assert echo.ended(1)
    assert echo.ends == [None]


def test_latency_holds_each_way_and_bytes_are_under_way_together(echo: Echo) -> None:
    with Relay(echo.address, latency_s=0.15) as relay, connected(relay) as client:
        begun_s = time.monotonic()
        client.sendall(bytes(60 * CHUNK_BYTES))
        take(client, 60 * CHUNK_BYTES)
        took_s = time.monotonic() - begun_s
    assert took_s >= 0.3
    assert took_s < 60 * 0.15  # stop and wait: no less, and as much on the way back


def test_jitter_changes_the_delay_and_never_the_order(echo: Echo) -> None:
    with Relay(echo.address, jitter_s=0.05) as relay, connected(relay) as client:
        sent = [number.to_bytes(4, "big") for number in range(100)]
        for word in sent:
            client.sendall(word)
            time.sleep(0.001)
        assert take(client, 400) == b"".join(sent)


def test_a_narrow_link_takes_its_time_for_every_byte(echo: Echo) -> None:
    with Relay(echo.address, bytes_per_s=200_000) as relay, connected(relay) as client:
        begun_s = time.monotonic()
        writer = threading.Thread(target=client.sendall, args=(bytes(100_000),), name="writer")
        writer.start()
        take(client, 100_000)
        took_s = time.monotonic() - begun_s
        writer.join(PATIENCE_S)
    assert took_s >= 0.45  # half a second, less what a late wake-up is forgiven


def test_the_link_is_shared_by_its_connections(echo: Echo) -> None:
    with (
        Relay(echo.address, bytes_per_s=200_000) as relay,
        connected(relay) as one,
        connected(relay) as two,
    ):
        begun_s = time.monotonic()
        for client in (one, two):
            client.sendall(bytes(40_000))
        for client in (one, two):
            take(client, 40_000)
        assert time.monotonic() - begun_s >= 0.35


def test_conditions_change_while_the_connection_lives(echo: Echo) -> None:
    with Relay(echo.address, bytes_per_s=1000.0) as relay, connected(relay) as client:
        relay.set(bytes_per_s=float("inf"), latency_s=0.1)
        begun_s = time.monotonic()
        client.sendall(b"x" * 20_000)
        take(client, 20_000)
        took_s = time.monotonic() - begun_s
        assert took_s >= 0.2
        assert took_s < 15  # at the old rate it were 20 s each way
        assert relay.connections == 1


def test_a_cut_resets_both_ends_and_the_next_connection_lives(echo: Echo) -> None:
    with Relay(echo.address) as relay:
        with connected(relay) as client:
            client.sendall(b"hello")
            take(client, 5)
            assert relay.cut() == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert echo.ended(1)
        assert echo.ends == [ConnectionResetError]
        with connected(relay) as client:
            client.sendall(b"again")
            assert take(client, 5) == b"again"


def test_refused_is_refused_and_live_connections_stay(echo: Echo) -> None:
    with Relay(echo.address) as relay, connected(relay) as client:
        client.sendall(b"a")
        take(client, 1)
        relay.refuse(True)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", relay.port), PATIENCE_S)
        client.sendall(b"b")
        assert take(client, 1) == b"b"
        relay.refuse(False)
        with connected(relay) as other:
            other.sendall(b"c")
            assert take(other, 1) == b"c"


def test_a_black_hole_passes_nothing_and_keeps_the_connection(echo: Echo) -> None:
    with Relay(echo.address) as relay, connected(relay) as client:
        client.sendall(b"before")
        take(client, 6)
        relay.black_hole(True)
        client.sendall(b"inside")
        readable, _, _ = select.select([client], [], [], 0.3)
        assert not readable
        assert (relay.bytes_up, relay.bytes_down) == (6, 6)
        with connected(relay) as other:  # accepted, and nothing more
            other.sendall(b"other")
            readable, _, _ = select.select([other], [], [], 0.2)
            assert not readable
            relay.black_hole(False)
            assert take(client, 6) == b"inside"
            assert take(other, 5) == b"other"


def test_what_is_under_way_stays_in_the_black_hole_until_it_is_over(echo: Echo) -> None:
    with Relay(echo.address, latency_s=0.1) as relay, connected(relay) as client:
        client.sendall(b"under way")
        time.sleep(0.03)
        relay.black_hole(True)
        readable, _, _ = select.select([client], [], [], 0.5)
        assert not readable
        assert relay.bytes_up == 0
        relay.black_hole(False)
        assert take(client, 9) == b"under way"


def test_a_target_that_is_not_there_resets_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()
    with Relay(nobody) as relay, pytest.raises(ConnectionResetError):
        ask(relay)


def ask(relay: Relay) -> bytes:
    """The reset may come while the connection is still being made."""
    with connected(relay) as client:
        return client.recv(1)


def test_the_end_leaves_no_thread_and_no_port() -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as target:
        with Relay(target.getsockname(), latency_s=5) as relay:
            with connected(relay) as client:
                client.sendall(b"never delivered")
                port = relay.port
        assert threading.active_count() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE_S)
