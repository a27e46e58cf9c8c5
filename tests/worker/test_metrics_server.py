"""The worker's metrics port over real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from brushcast.errors import ConfigError
from brushcast.exposition import CONTENT_TYPE
from brushcast.health import Verdict
from brushcast_worker.metrics_server import MetricsServer

TOKEN = "0123456789abcdef"


class Port:
    """A server, what it is to say, and a client."""

    def __init__(self, host: str = "127.0.0.1", token: str = "") -> None:
        self.live, self.ready = Verdict(True, "live"), Verdict(False, "loading")
        self.text: Callable[[], bytes] = lambda: b"brushcast_worker_streams 2\n"
        self.server = MetricsServer(
            host, 0, token=token,
            text=lambda: self.text(), live=lambda: self.live, ready=lambda: self.ready,
        )  # fmt: skip
        self.host = host
        self.server.start()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
        client = http.client.HTTPConnection(self.host, self.server.port, timeout=5)
        try:
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "")
        finally:
            client.close()


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.server.stop()
    assert not port.server._thread.is_alive()


def test_figures_and_health(port: Port) -> None:
    assert port.ask("/metrics") == (200, b"brushcast_worker_streams 2\n", CONTENT_TYPE)
    assert port.ask("/livez")[:2] == (200, b"live\n")
    assert port.ask("/readyz")[:2] == (503, b"loading\n")
    port.ready = Verdict(True, "ready")
    assert port.ask("/readyz")[:2] == (200, b"ready\n")
    assert port.ask("/")[0] == 404
    assert port.ask("/metrics/../etc")[0] == 404
    assert port.ask("/metrics", method="POST")[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "", "127.0.0.1.x"])
def test_a_page_under_a_name_of_its_own_reads_nothing(port: Port, host: str) -> None:
    for path in ("/metrics", "/livez", "/readyz"):
        status, body, _ = port.ask(path, Host=host)
        assert (status, b"streams" in body) == (403, False)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1:9", "[::1]:9", "127.0.0.1"]
)
def test_this_machine_may_be_named_so(port: Port, host: str) -> None:
    assert port.ask("/metrics", Host=host)[0] == 200


def test_a_token_is_wanted_for_the_figures_alone() -> None:
    port = Port(token=TOKEN)
    try:
        assert port.ask("/metrics")[0] == 401
        assert port.ask("/metrics", Authorization=f"Bearer {TOKEN}x")[0] == 401
        assert port.ask("/metrics", Authorization=f"Basic {TOKEN}")[0] == 401
        assert port.ask("/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert port.ask("/livez")[0] == 200
    finally:
        port.server.stop()


def test_a_client_that_says_nothing_holds_up_nobody(port: Port) -> None:
    silent = socket.create_connection(("127.0.0.1", port.server.port))
    try:
        assert port.ask("/livez")[0] == 200
    finally:
        silent.close()


def test_figures_that_cannot_be_told_are_an_error_and_the_next_are_told(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    good = port.text

    def fail() -> bytes:
        raise ValueError("secret detail")

    port.text = fail
    status, body, _ = port.ask("/metrics")
    assert (status, b"secret" in body) == (500, False)
    assert "could not be told" in caplog.text
    port.text = good
    assert port.ask("/metrics")[0] == 200


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--metrics 127.0.0.1:{number}: "):
            MetricsServer(
                "127.0.0.1", number, token="", text=bytes,
                live=lambda: Verdict(True, ""), ready=lambda: Verdict(True, ""),
            )  # fmt: skip


def test_it_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    port = Port()
    assert port.ask("/livez")[0] == 200
    port.server.stop()
    names = [thread.name for thread in threading.enumerate()]
    assert "metrics" not in names
    assert threading.active_count() <= before + 1  # a request's own may be on its way out
