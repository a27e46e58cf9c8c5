"""MetricsServer: `serve --metrics HOST:PORT`. /metrics for Prometheus, /livez and /readyz for
whoever restarts workers. Off unless asked for; the standard library's server, threads of its own.

On loopback a Host header must name this machine by number or as localhost, so that no web page can
read the figures under a name of its own. Elsewhere ServeConfig wants a token.
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET6

from brushcast.errors import ConfigError
from brushcast.exposition import CONTENT_TYPE
from brushcast.health import Verdict

log = logging.getLogger(__name__)

REQUEST_S = 5.0  # a client that is slower is hung up on
JOIN_S = 3.0


class MetricsServer:
    """Owned by the worker's main thread: `start`, `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        token: str,
        text: Callable[[], bytes],
        live: Callable[[], Verdict],
        ready: Callable[[], Verdict],
    ) -> None:
        """token: wanted for /metrics, "" for none. text, live, ready: called in the server's
        threads. Raises ConfigError when it cannot be bound."""
        answers = {"/livez": live, "/readyz": ready}
        guarded = ip_address(host).is_loopback

        class Handler(_Handler):
            def answer(self) -> tuple[int, str, bytes]:
                if guarded and not _names_this_machine(self.headers.get("Host", "")):
                    return 403, "text/plain", b"this address is not the worker's\n"
                if self.path in answers:
                    verdict = answers[self.path]()
                    status = 200 if verdict.good else 503
                    return status, "text/plain", f"{verdict.word}\n".encode()
                if self.path != "/metrics":
                    return 404, "text/plain", b"there are /metrics, /livez and /readyz\n"
                if token and not _token_matches(self.headers.get("Authorization", ""), token):
                    return 401, "text/plain", b"the token is missing or wrong\n"
                return 200, CONTENT_TYPE, text()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = AF_INET6 if ":" in host else ThreadingHTTPServer.address_family

            def handle_error(self, request: object, client_address: object) -> None:
                log.debug("a metrics client went away", exc_info=True)

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"--metrics {host}:{port}: {error.strerror or error}") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and join the thread; also before `start`."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(JOIN_S)
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version, sys_version = "brushcast", ""

    def answer(self) -> tuple[int, str, bytes]:
        """Status, type and body."""
        raise NotImplementedError

    def do_GET(self) -> None:
        try:
            status, kind, body = self.answer()
        except Exception:
            log.exception("the figures could not be told")
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Nothing per request."""


def _names_this_machine(given: str) -> bool:
    host = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _token_matches(header: str, token: str) -> bool:
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode(), token.encode()
    )
