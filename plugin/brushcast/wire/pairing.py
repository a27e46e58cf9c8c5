"""Pairing: how two machines learn each other's keys from one line that a person carries over.

`brushcast-worker pair` makes an Invitation and listens; its line holds where, the worker's public
key and a secret for one use. `brushcast pair` connects with CURVE, so it speaks with the holder of
that very key or with nobody, and sends the secret inside the encryption. The bridge's own public
key needs no sending: CURVE has proved it by then. Then each side keeps the other's key.

What is on the wire tells an eavesdropper nothing and cannot be sent again (CURVE's keys are fresh
for every connection). Who guesses has 5 tries at 128 bits, and needs the line's key to have one.
Who reads the line before its owner uses it can pair in his place: he shows up in the list, and the
owner is told that the line was used.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from brushcast.errors import ConfigError, PairError
from brushcast.wire.curve import KEY_BYTES, ClientKeys, KeyPair, plain_name
from brushcast.wire.endpoint import Endpoint, parse_endpoint
from brushcast.wire.sockets import Context, DealerSocket, RouterSocket
from brushcast.wire.zap import Guard

SECRET_BYTES = 16
MAX_TRIES = 5
MAX_MESSAGE_BYTES = 1024
ANSWER_PATIENCE_S = 10.0
# A socket that is closed right after the last answer loses it one time in ten (measured, loopback):
# the worker waits until the bridge says that it has it.
LAST_WORDS_NS = 2_000_000_000
LINGER_MS = 500
_TURN_NS = 100_000_000
_MAGIC = b"BRSHPAIR1"
_YES, _NO, _THANKS = b"yes", b"no", b"thanks"
_LINE = re.compile(r"brushcast-pair:(.{3,270})/(\d{1,5})/([A-Za-z0-9_-]{43})/([A-Za-z0-9_-]{22})")
WANTED = "wanted the line that `brushcast-worker pair` prints, brushcast-pair:HOST:PORT/..."


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the line says. meets: where the pairing happens. serves: the port of the worker itself,
    on the same host. key: the worker's public one. secret: for one use."""

    meets: Endpoint
    serves: int
    key: bytes
    secret: bytes = field(repr=False)

    @property
    def worker(self) -> Endpoint:
        """Where the worker serves."""
        return Endpoint("tcp", host=self.meets.host, port=self.serves)

    @property
    def line(self) -> str:
        """For people to carry over: no character in it means anything to a shell, but the brackets
        of an IPv6 address."""
        where = str(self.meets).removeprefix("tcp://")
        return f"brushcast-pair:{where}/{self.serves}/{_text(self.key)}/{_text(self.secret)}"


def new_invitation(meets: Endpoint, serves: int, key: bytes) -> Invitation:
    """One with a fresh secret."""
    return Invitation(meets, serves, key, secrets.token_bytes(SECRET_BYTES))


def parse_invitation(text: str) -> Invitation:
    """The invitation from its line. Raises ConfigError, which never repeats the secret."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{len(text.strip())} characters that are no invitation: {WANTED}")
    meets, serves = parse_endpoint(f"tcp://{match[1]}"), int(match[2])
    if not meets.port or not 0 < serves < 65536 or "*" in meets.host:
        raise ConfigError(f"an invitation to {meets}, port {serves}: wanted ports of 1 to 65535")
    key, secret = (base64.urlsafe_b64decode(match[at] + "==") for at in (3, 4))
    return Invitation(meets, serves, key[:KEY_BYTES], secret[:SECRET_BYTES])


class Offer:
    """The worker's side, without socket and clock: who may be paired, and until when.

    Invariants: at most one machine is accepted; after `MAX_TRIES` wrong secrets, or past its time,
    nobody is.
    """

    def __init__(self, secret: bytes, *, ends_ns: int) -> None:
        self.accepted: tuple[bytes, str] | None = None  # key and name
        self._secret, self._ends_ns = secret, ends_ns
        self._tries_left = MAX_TRIES

    def judge(self, key: bytes, parts: list[bytes], now_ns: int) -> str:
        """Why a machine with that key is not paired; "" when it is, and then `accepted` says
        who. Never raises for what is in the message."""
        if len(parts) != 3 or parts[0] != _MAGIC:
            return "this is another version's way of pairing"
        if now_ns >= self._ends_ns:
            return "the invitation has run out"
        if self.accepted is not None:
            return "the invitation was used already"
        if self._tries_left <= 0:
            return "there were too many wrong tries"
        if not hmac.compare_digest(parts[1], self._secret):
            self._tries_left -= 1
            return "the secret is not the invitation's"
        self.accepted = (key, plain_name(parts[2].decode("utf-8", "replace")))
        return ""

    def over(self, now_ns: int) -> str:
        """Why nobody can be paired any more; "" while somebody can."""
        if self._tries_left <= 0:
            return f"{MAX_TRIES} wrong secrets were tried: somebody may be guessing. Start again"
        if now_ns >= self._ends_ns:
            return "nobody used the invitation in time: start again"
        return ""


def offer(
    invitation: Invitation,
    *,
    context: Context,
    bind: Endpoint,
    keys: KeyPair,
    seconds: float,
    admit: Callable[[bytes, str], str],
    listening: Callable[[Endpoint], None] = lambda endpoint: None,
    stop: threading.Event | None = None,
) -> str:
    """Listen until one machine was paired; the name that `admit(key, name)` keeps it under.

    listening: told where, once it does. Raises PairError when nobody came, or somebody guessed;
    ConfigError for an address that cannot be listened on.
    """
    stop = stop or threading.Event()
    # Any key may knock: whoever has none of the worker's own cannot even speak.
    router = RouterSocket(
        context, bind, Guard(context, keys, lambda key: True), most_bytes=MAX_MESSAGE_BYTES
    )
    state = Offer(invitation.secret, ends_ns=time.monotonic_ns() + round(seconds * 1e9))
    try:
        listening(router.endpoint)
        while not stop.is_set():
            router.wait(_TURN_NS)
            while (received := router.receive()) is not None:
                peer, parts = received
                reason = state.judge(peer[-KEY_BYTES:], parts, time.monotonic_ns())
                if reason or state.accepted is None:
                    router.send(peer, [_MAGIC, _NO, reason.encode()])
                    if state.over(time.monotonic_ns()):
                        _wait_for_thanks(router, peer)
                    continue
                name = admit(*state.accepted)
                router.send(peer, [_MAGIC, _YES, name.encode()])
                _wait_for_thanks(router, peer)
                return name
            if why := state.over(time.monotonic_ns()):
                raise PairError(why)
        raise PairError("pairing was stopped")
    finally:
        router.close(LINGER_MS)


def accept(invitation: Invitation, *, context: Context, keys: KeyPair, name: str) -> str:
    """Answer an invitation with our own keys; the name under which the worker keeps us. Raises
    PairError, with the worker's reason."""
    where = invitation.meets
    dealer = DealerSocket(context, where, ClientKeys(keys, invitation.key))
    try:
        dealer.send([_MAGIC, invitation.secret, name.encode()])
        ends_ns = time.monotonic_ns() + round(ANSWER_PATIENCE_S * 1e9)
        while time.monotonic_ns() < ends_ns:
            dealer.wait(_TURN_NS)
            reason = dealer.lost()  # first: an answer may have come just before the end
            if (parts := dealer.receive()) is not None:
                dealer.send([_MAGIC, _THANKS])
                return _answer(parts)
            if reason is not None:
                raise PairError(
                    f"{where}: {reason}: wanted a `brushcast-worker pair` that waits there, and "
                    "its newest line"
                )
            dealer.flush()
    finally:
        dealer.close(LINGER_MS)
    raise PairError(
        f"{where} does not answer: is `brushcast-worker pair` still waiting there, and does a "
        "firewall let that port through?"
    )


def _wait_for_thanks(router: RouterSocket, peer: bytes) -> None:
    ends_ns = time.monotonic_ns() + LAST_WORDS_NS
    while (left_ns := ends_ns - time.monotonic_ns()) > 0:
        router.wait(left_ns)
        while (received := router.receive()) is not None:
            if received == (peer, [_MAGIC, _THANKS]):
                return


def _answer(parts: list[bytes]) -> str:
    if len(parts) != 3 or parts[0] != _MAGIC or parts[1] not in (_YES, _NO):
        raise PairError("the worker's answer is of another version: wanted the same Brushcast")
    said = parts[2].decode("utf-8", "replace")[:200]
    said = "".join(c if c.isprintable() else " " for c in said)
    if parts[1] == _NO:
        raise PairError(f"the worker refused: {said}")
    return plain_name(said)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
