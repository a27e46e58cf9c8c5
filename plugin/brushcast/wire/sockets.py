"""The only file that imports zmq: endpoints, the two sockets, a waker, and what drives a ClientLink."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import zmq

from brushcast.wire.link import ClientEvent, ClientLink
from brushcast.wire.messages import Parts


@dataclass(frozen=True, slots=True)
class Endpoint:
    """tcp://HOST:PORT (port 0: any free one, for binding only) or ipc:///ABSOLUTE/PATH."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        raise NotImplementedError

    def __str__(self) -> str:
        raise NotImplementedError


def parse_endpoint(text: str) -> Endpoint:
    """An endpoint from its text; port `*` means 0. Raises ConfigError."""
    raise NotImplementedError


class Waker:
    """Wakes a poll loop from any thread. `wake` may be called by any thread, the rest by the
    loop's own."""

    def wake(self) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError

    def fileno(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class RouterSocket:
    """The worker's listening socket. One owner thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> None:
        """Bind. Raises ConfigError: address in use, not ours, or beyond this machine without keys.
        Port 0 binds any free port: `endpoint` tells which."""
        self.endpoint = endpoint
        self.dropped: Counter[str] = Counter()
        raise NotImplementedError

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """(peer, parts) of the next message, or None; does not wait."""
        raise NotImplementedError

    def send(self, peer: bytes, parts: Parts) -> bool:
        """False, and counted, when the peer is gone or does not read."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Dialler:
    """Drives a ClientLink over fresh DEALER sockets, one per epoch. One owner thread.

    while running:
        dialler.wait(timeout)            # socket readable, link's next wake-up, or waker
        for event in dialler.service(now_ns): ...
        if link.credit: link.send_frame(...); dialler.flush()
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, link: ClientLink
    ) -> None:
        raise NotImplementedError

    def service(self, now_ns: int) -> list[ClientEvent]:
        """Receive, tick, open and close the socket as the link wants, send; what happened."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what the link has queued."""
        raise NotImplementedError

    def wait(self, now_ns: int, waker: Waker | None = None, limit_ns: int | None = None) -> None:
        """Sleep until a message, the waker, the link's next wake-up, or `limit_ns` from now."""
        raise NotImplementedError

    def close(self, now_ns: int) -> None:
        """Say BYE and close."""
        raise NotImplementedError


def wait_readable(sockets: Sequence[RouterSocket], waker: Waker | None, timeout_ns: int) -> None:
    """Sleep until one of the sockets has a message, the waker was woken, or the time is over."""
    raise NotImplementedError
