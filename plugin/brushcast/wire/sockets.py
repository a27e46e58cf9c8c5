"""Sockets: endpoints, a waker, the worker's ROUTER, and what drives a ClientLink over a DEALER.

The only file beside zap (keys on sockets) that imports zmq. Measured reasons for the options:
shared facts on reliability, in short: no default of libzmq is right for live pictures.
"""

from __future__ import annotations

import os
import socket
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from brushcast.errors import ConfigError
from brushcast.wire.curve import KEY_BYTES, ClientKeys
from brushcast.wire.endpoint import Endpoint, parse_endpoint
from brushcast.wire.events import ClientEvent
from brushcast.wire.link import ClientLink
from brushcast.wire.messages import MAX_PAYLOAD_BYTES, Parts
from brushcast.wire.zap import Guard, key_of, use_keys

__all__ = [
    "Context",
    "DealerSocket",
    "Dialler",
    "Endpoint",
    "RouterSocket",
    "Waker",
    "open_context",
    "parse_endpoint",
]

Context = zmq.Context[zmq.Socket[bytes]]

CONNECT_TIMEOUT_MS = 1500
HIGH_WATER_MESSAGES = 8  # frames are limited by credit; this only bounds what a dead peer holds
GOODBYE_MS = 100  # how long a closing socket may still take to say BYE
LONGEST_WAIT_NS = 1_000_000_000
# then the pictures go on: a worker that floods us must not hold up what is shown
MESSAGES_PER_TURN = 64
_MS = 1_000_000


def open_context() -> Context:
    """libzmq's own thread. Made once per process, and ended with `destroy(linger=0)`."""
    return zmq.Context()


class Waker:
    """Wakes a poll loop. Any thread may call `wake`; the loop's thread owns the rest."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def wake(self) -> None:
        """Make the loop's current or next wait return. Harmless after close."""
        try:
            self._write.send(b"\0")
        except OSError:  # full: it wakes anyway; closed: nobody waits
            pass

    def clear(self) -> None:
        """Forget all wakes so far."""
        try:
            while self._read.recv(4096):
                pass
        except BlockingIOError:
            pass

    def fileno(self) -> int:
        return self._read.fileno()

    def close(self) -> None:
        self._read.close()
        self._write.close()


class RouterSocket:
    """The worker's listening socket. One owner thread. Behind a guard a peer is its connection and
    its key, so that nobody inherits the peer of another key."""

    def __init__(
        self,
        context: Context,
        endpoint: Endpoint,
        guard: Guard | None = None,
        *,
        most_bytes: int | None = None,
    ) -> None:
        """Bind. Raises ConfigError: address in use, not ours, or beyond this machine without a
        running guard, which this object owns from now on. most_bytes: of a message part.

        Port 0 binds any free port; `endpoint` tells which. An ipc path must lie in a folder of ours
        with mode 0700, and is locked, because libzmq lets a second bind steal it silently.
        """
        self.dropped: Counter[str] = Counter()  # by reason
        self._lock: int | None = None
        self._guard = guard
        if guard is None or not guard.running:
            _refuse_beyond_loopback(endpoint)
        if endpoint.scheme == "ipc":
            self._lock = _lock_ipc(endpoint)
        self._socket = context.socket(zmq.ROUTER)
        try:
            self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            _harden(self._socket, most_bytes)
            if guard is not None:
                guard.arm(self._socket)
            self._socket.setsockopt(zmq.IPV6, int(":" in endpoint.host))
            self._socket.bind(str(endpoint).replace("tcp://localhost:", "tcp://127.0.0.1:"))
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(_why_not_bound(endpoint, error)) from None
        self.endpoint = endpoint
        if endpoint.scheme == "tcp":
            bound = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
            self.endpoint = replace(endpoint, port=int(bound.rpartition(":")[2]))

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """(peer, parts) of the next message, or None; does not wait."""
        if self._guard is not None:
            return self._receive_guarded(self._guard)
        try:
            peer, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return peer, parts

    def _receive_guarded(self, guard: Guard) -> tuple[bytes, list[bytes]] | None:
        """What comes from a key that is not admitted (any more) is counted and forgotten."""
        guard.answer()
        for _ in range(MESSAGES_PER_TURN):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            key = key_of(frames[-1])
            if key is not None and guard.admits(key):
                peer, *parts = (frame.bytes for frame in frames)
                return peer + key, parts
            self.dropped["not_admitted"] += 1
        return None

    def admits(self, peer: bytes) -> bool:
        """Whether that peer is let in now: False once its key was revoked, though it is still
        connected."""
        return self._guard is None or self._guard.admits(peer[-KEY_BYTES:])

    def send(self, peer: bytes, parts: Parts) -> bool:
        """False, and counted, when the peer is gone or does not read."""
        address = peer if self._guard is None else peer[:-KEY_BYTES]
        try:
            self._socket.send_multipart([address, *parts], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped["peer_does_not_read"] += 1
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.dropped["peer_gone"] += 1
            return False
        return True

    def wait(self, timeout_ns: int, waker: Waker | None = None) -> None:
        """Sleep until there is a message, the waker was woken (and clear it), or time is over."""
        watched = [(self._socket, zmq.POLLIN)]
        if self._guard is not None:
            watched.append((self._guard.pollable, zmq.POLLIN))
        _poll(watched, timeout_ns, waker)

    def close(self, linger_ms: int = GOODBYE_MS) -> None:
        """Close; `linger_ms` for what is still to be sent. Twice is harmless."""
        self._socket.close(linger_ms)
        if self._guard is not None:
            self._guard.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class DealerSocket:
    """One connection attempt of the bridge: it never reconnects by itself, because every
    connection is a new epoch and our own back-off decides when. One owner thread."""

    def __init__(
        self, context: Context, endpoint: Endpoint, keys: ClientKeys | None = None
    ) -> None:
        """Start to connect. Raises ConfigError for an address that cannot be connected to, and for
        one beyond this machine without keys."""
        if keys is None and not endpoint.loopback:
            raise ConfigError(
                f"address {endpoint} is beyond this machine: wanted keys (pair first)"
            )
        if endpoint.scheme == "tcp" and (endpoint.port == 0 or "*" in endpoint.host):
            raise ConfigError(f"address {endpoint}: wanted a host and a port to connect to")
        self._pending: deque[Parts] = deque()  # few: frames are limited by credit
        self._socket = context.socket(zmq.DEALER)
        _harden(self._socket)
        if keys is not None:
            use_keys(self._socket, keys)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
        self._socket.setsockopt(zmq.IPV6, int(":" in endpoint.host))
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_CLOSED
            | zmq.EVENT_DISCONNECTED
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        try:
            self._socket.connect(str(endpoint))
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"cannot connect to {endpoint}: {error.strerror}") from None

    def receive(self) -> list[bytes] | None:
        """The parts of the next message, or None; does not wait."""
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def send(self, parts: Parts) -> None:
        """Send, or keep until the connection stands and the peer reads."""
        self._pending.append(parts)
        self.flush()

    def flush(self) -> None:
        """Try again what `send` kept."""
        while self._pending:
            try:
                self._socket.send_multipart(self._pending[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            self._pending.popleft()

    @property
    def pending(self) -> int:
        """How many messages libzmq has not taken yet."""
        return len(self._pending)

    def lost(self) -> str | None:
        """Why the connection is gone, or None while it is not known to be."""
        try:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
        except zmq.Again:
            return None
        if event == zmq.EVENT_CLOSED:
            return "nothing listens at the worker's address"
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return "the worker does not admit this machine's key: pair again"
        return "the connection to the worker was closed"

    def pollables(self) -> list[tuple[zmq.Socket[bytes], int]]:
        """What a poll loop watches."""
        wanted = zmq.POLLIN | (zmq.POLLOUT if self._pending else 0)
        return [(self._socket, wanted), (self._monitor, zmq.POLLIN)]

    def wait(self, timeout_ns: int) -> None:
        """Sleep until something happens on the connection, or time is over."""
        _poll(self.pollables(), timeout_ns, None)

    def close(self, linger_ms: int = 0) -> None:
        """Close; `linger_ms` for what is still to be sent."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger_ms)


class Dialler:
    """Drives a ClientLink over fresh DealerSockets, one per epoch. One owner thread.

    while running:
        dialler.wait(monotonic_ns(), waker)
        for event in dialler.service(monotonic_ns()):
            ...
        if link.credit and link.send_frame(...):
            dialler.flush()
    """

    def __init__(
        self,
        context: Context,
        endpoint: Endpoint,
        link: ClientLink,
        keys: ClientKeys | None = None,
    ) -> None:
        """keys: wanted beyond this machine."""
        self._context, self._endpoint, self._link, self._keys = context, endpoint, link, keys
        self._socket: DealerSocket | None = None
        self._epoch: int | None = None  # of the open socket

    def service(self, now_ns: int) -> list[ClientEvent]:
        """Receive, tick, open and close the socket as the link wants, send; what happened.

        Raises ConfigError for an address that cannot be connected to at all.
        """
        link, dealer = self._link, self._socket
        if dealer is not None:
            for _ in range(MESSAGES_PER_TURN):
                if link.wanted_epoch != self._epoch or (parts := dealer.receive()) is None:
                    break
                link.receive(parts, now_ns)
            if link.wanted_epoch == self._epoch and (reason := dealer.lost()) is not None:
                link.socket_lost(reason, now_ns)
        link.tick(now_ns)
        self.flush()
        return link.events()

    def flush(self) -> None:
        """Open and close the socket as the link wants, and send what the link has queued."""
        link = self._link
        if self._epoch != link.wanted_epoch:
            self._hang_up()
            if link.wanted_epoch is not None:
                self._socket = DealerSocket(self._context, self._endpoint, self._keys)
                self._epoch = link.wanted_epoch
        if self._socket is not None:
            for parts in link.outgoing():
                self._socket.send(parts)
            self._socket.flush()

    def wait(
        self, now_ns: int, waker: Waker | None = None, limit_ns: int = LONGEST_WAIT_NS
    ) -> None:
        """Sleep until a message, the waker (it is cleared), the link's next wake-up, or `limit_ns`
        from now."""
        timeout_ns = min(limit_ns, self._link.next_wakeup_ns(now_ns) - now_ns)
        _poll([] if self._socket is None else self._socket.pollables(), timeout_ns, waker)

    def close(self, now_ns: int) -> None:
        """Say BYE and close."""
        self._link.close(now_ns)
        if self._socket is not None:
            for parts in self._link.outgoing():
                self._socket.send(parts)
        self._hang_up(GOODBYE_MS)

    def _hang_up(self, linger_ms: int = 0) -> None:
        if self._socket is not None:
            self._socket.close(linger_ms)
        self._socket = self._epoch = None


def _poll(
    sockets: Sequence[tuple[zmq.Socket[bytes], int]], timeout_ns: int, waker: Waker | None
) -> None:
    poller = zmq.Poller()
    for watched, events in sockets:
        poller.register(watched, events)
    if waker is not None:
        poller.register(waker.fileno(), zmq.POLLIN)
    # Rounded up: a wait that ends a fraction early would come back for nothing.
    poller.poll(max(0, -(-timeout_ns // _MS)))
    if waker is not None:
        waker.clear()


def _harden(one: zmq.Socket[bytes], most_bytes: int | None = None) -> None:
    one.setsockopt(zmq.LINGER, 0)
    one.setsockopt(zmq.SNDHWM, HIGH_WATER_MESSAGES)
    one.setsockopt(zmq.RCVHWM, HIGH_WATER_MESSAGES)
    one.setsockopt(zmq.MAXMSGSIZE, most_bytes or MAX_PAYLOAD_BYTES)
    one.setsockopt(zmq.HANDSHAKE_IVL, CONNECT_TIMEOUT_MS)


def _refuse_beyond_loopback(endpoint: Endpoint) -> None:
    if not endpoint.loopback:
        raise ConfigError(
            f"will not listen on {endpoint}: it reaches beyond this machine, wanted a loopback "
            "address such as tcp://127.0.0.1:7171, or keys (`brushcast-worker pair`)"
        )


def _why_not_bound(endpoint: Endpoint, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return f"cannot listen on {endpoint}: the address is in use, wanted a free one"
    return f"cannot listen on {endpoint}: {error.strerror}"


def _lock_ipc(endpoint: Endpoint) -> int:
    """The locked file beside an ipc path. Raises ConfigError."""
    import fcntl  # not on Windows, whose libzmq has no ipc either

    folder = Path(endpoint.path).parent
    try:
        about = folder.stat()
    except OSError as error:
        raise ConfigError(f"cannot listen on {endpoint}: {folder}: {error.strerror}") from None
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o077 or about.st_uid != os.geteuid():
        raise ConfigError(
            f"cannot listen on {endpoint}: {folder} has mode {mode:04o} and owner {about.st_uid}, "
            f"wanted mode 0700 and owner {os.geteuid()}"
        )
    lock = os.open(f"{endpoint.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f"cannot listen on {endpoint}: the address is in use, wanted a free one"
        ) from None
    return lock
