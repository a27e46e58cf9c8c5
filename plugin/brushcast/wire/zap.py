"""CURVE on sockets, and the authenticator that decides whose key is let in (ZAP, RFC 27).

libzmq lets ANY key in when a CURVE server has no authenticator running (measured). So the two come
as one object: a Guard binds the authenticator's socket before it arms any other, and the socket
that it arms is told to admit nobody while nobody answers (ZAP_ENFORCE_DOMAIN).

Not pyzmq's own authenticator (zmq.auth.thread): that is a thread more, it reads its keys from a
folder when it is told to, and who was let in is not known to the thread that owns the links. Here
the link thread itself answers, so a key that was taken off the list is refused, and its links are
closed, by one thread in one order.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import zmq
from zmq.utils import z85

from brushcast.errors import ConfigError
from brushcast.wire.curve import KEY_BYTES, ClientKeys, KeyPair, fingerprint

log = logging.getLogger(__name__)

ADDRESS = "inproc://zeromq.zap.01"  # where libzmq asks; one a context
DOMAIN = b"brushcast"
VERSION = b"1.0"
USER_ID = "User-Id"  # what the answer names, libzmq writes on every message of that connection
LOUD_REFUSALS = 10  # then only counted: a stranger must not fill the disk with our log

RawSocket = zmq.Socket[bytes]


def new_keys() -> KeyPair:
    """A fresh key pair from libzmq's own generator."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


def use_keys(socket: RawSocket, keys: ClientKeys) -> None:
    """Make a connecting socket encrypt, and speak with the one worker that has that key."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.worker)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)


class Guard:
    """A worker's key pair and the running authenticator. Owned by the thread of the socket that it
    arms, which must call `answer` whenever `pollable` is readable: until it does, nobody gets
    in."""

    def __init__(
        self, context: zmq.Context[RawSocket], keys: KeyPair, admits: Callable[[bytes], bool]
    ) -> None:
        """admits: of a public key. Raises ConfigError when this context has an authenticator."""
        self.refused: Counter[str] = Counter()  # connections, by reason
        self._keys, self._admits = keys, admits
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(ADDRESS)
        except zmq.ZMQError as error:
            self._socket.close()
            raise ConfigError(f"no authenticator can run: {error.strerror}") from None

    def arm(self, socket: RawSocket) -> None:
        """Before it binds: from now on it speaks CURVE only, and only with whom `answer` let in."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.public)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    @property
    def running(self) -> bool:
        """Somebody can be asked."""
        return not self._socket.closed

    @property
    def pollable(self) -> RawSocket:
        """Readable when a connection waits for an answer."""
        return self._socket

    def admits(self, key: bytes) -> bool:
        """Whether that key is let in now; also asked of links that stand already."""
        return self._admits(key)

    def answer(self) -> None:
        """Let in or refuse all connections that wait."""
        while True:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send_multipart(self._answer_to(request))

    def close(self) -> None:
        """No connection is let in any more. Twice is harmless."""
        self._socket.close(0)

    def _answer_to(self, request: list[bytes]) -> list[bytes]:
        """RFC 27: version, request id, domain, address, routing id, mechanism, credentials."""
        if len(request) < 2:  # libzmq itself writes them: never seen
            return [VERSION, b"", b"500", b"no request", b"", b""]
        number = request[1]
        well_formed = len(request) == 7 and request[0] == VERSION and request[5] == b"CURVE"
        if not well_formed or len(request[6]) != KEY_BYTES or request[2] != DOMAIN:
            self._refuse("malformed", "?")
            return [VERSION, number, b"500", b"wanted CURVE", b"", b""]
        key = request[6]
        if not self._admits(key):
            self._refuse("not_paired", fingerprint(key))
            return [VERSION, number, b"400", b"not paired", b"", b""]
        return [VERSION, number, b"200", b"OK", key.hex().encode(), b""]

    def _refuse(self, reason: str, who: str) -> None:
        self.refused[reason] += 1
        if self.refused.total() <= LOUD_REFUSALS:
            log.warning("a connection was refused (%s); its key: %s", reason, who)


def key_of(frame: zmq.Frame) -> bytes | None:
    """The key that the authenticator let in, of the connection that this part came by; None where
    there was none."""
    try:
        return bytes.fromhex(str(frame.get(USER_ID)))
    except (zmq.ZMQError, ValueError, KeyError):
        return None
