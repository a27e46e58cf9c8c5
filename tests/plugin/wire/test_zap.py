"""Keys on real sockets: who is let in, who is not, and that nobody is while nobody decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import zmq

from brushcast.errors import ConfigError
from brushcast.wire.curve import ClientKeys, KeyPair, fingerprint
from brushcast.wire.endpoint import parse_endpoint
from brushcast.wire.sockets import Context, DealerSocket, Endpoint, RouterSocket, open_context
from brushcast.wire.zap import LOUD_REFUSALS, Guard, new_keys

ANY_PORT = Endpoint("tcp", "127.0.0.1", 0)
PATIENCE_S = 20
QUIET_S = 0.7  # several times what a handshake on loopback takes
WORKER, FRIEND, OTHER_FRIEND, STRANGER = (new_keys() for _ in range(4))


@dataclass
class Door:
    """A guarded socket and its list."""

    context: Context
    listed: set[bytes] = field(default_factory=lambda: {FRIEND.public, OTHER_FRIEND.public})

    def __post_init__(self) -> None:
        self.guard = Guard(self.context, WORKER, lambda key: key in self.listed)
        self.router = RouterSocket(self.context, ANY_PORT, self.guard)
        self.heard: list[tuple[bytes, list[bytes]]] = []

    def step(self) -> None:
        self.router.wait(5_000_000)
        while (received := self.router.receive()) is not None:
            self.heard.append(received)


@pytest.fixture
def context() -> Iterator[Context]:
    made = open_context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def door(context: Context) -> Iterator[Door]:
    made = Door(context)
    yield made
    made.router.close()


def keys(own: KeyPair, worker: KeyPair = WORKER) -> ClientKeys:
    return ClientKeys(own, worker.public)


def until(done: Callable[[], object], *steps: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < limit, "it never happened"
        for step in steps:
            step()


def never(done: Callable[[], object], *steps: Callable[[], object]) -> None:
    limit = time.monotonic() + QUIET_S
    while time.monotonic() < limit:
        for step in steps:
            step()
        assert not done()


def test_keys_are_fresh_and_fit_each_other() -> None:
    pairs = [new_keys() for _ in range(5)]
    assert len({pair.public for pair in pairs} | {pair.secret for pair in pairs}) == 10
    for pair in pairs:
        from zmq.utils import z85

        assert z85.decode(zmq.curve_public(z85.encode(pair.secret))) == pair.public


def test_a_listed_key_is_let_in_and_told_apart(context: Context, door: Door) -> None:
    dealers = [DealerSocket(context, door.router.endpoint, keys(k)) for k in (FRIEND, OTHER_FRIEND)]
    for number, dealer in enumerate(dealers):
        dealer.send([b"hello", bytes([number])])
    until(lambda: len(door.heard) == 2, door.step, *(dealer.flush for dealer in dealers))
    said = {peer[-32:]: parts for peer, parts in door.heard}
    assert said == {FRIEND.public: [b"hello", b"\0"], OTHER_FRIEND.public: [b"hello", b"\1"]}
    for peer, _ in door.heard:
        assert door.router.admits(peer)
        assert door.router.send(peer, [b"answer", peer[-32:]])
    answers: list[list[bytes]] = []
    for own, dealer in zip((FRIEND, OTHER_FRIEND), dealers, strict=True):
        until(lambda dealer=dealer: answers.append(a) or True if (a := dealer.receive()) else False)
        assert answers[-1] == [b"answer", own.public]
        dealer.close()


def test_a_key_that_is_not_listed_is_refused_and_told_why(
    context: Context, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    dealer = DealerSocket(context, door.router.endpoint, keys(STRANGER))
    dealer.send([b"let me", b"in"])
    reasons: list[str] = []
    until(lambda: reasons, door.step, lambda: reasons.extend(filter(None, [dealer.lost()])))
    assert "does not admit this machine's key" in reasons[0]
    assert door.guard.refused == {"not_paired": 1}
    assert fingerprint(STRANGER.public) in caplog.text
    assert not door.heard
    assert dealer.pending == 1, "nothing of it left this machine"
    dealer.close()


def test_without_keys_nobody_gets_in(context: Context, door: Door) -> None:
    dealer = DealerSocket(context, door.router.endpoint)
    dealer.send([b"let me", b"in"])
    never(lambda: door.heard, door.step, dealer.flush)
    dealer.close()


def test_a_worker_with_another_key_hears_nothing(context: Context, door: Door) -> None:
    """A machine in the middle, or another worker that took the address."""
    dealer = DealerSocket(context, door.router.endpoint, keys(FRIEND, STRANGER))
    dealer.send([b"my", b"picture"])
    never(lambda: door.heard or dealer.pending == 0, door.step, dealer.flush)
    dealer.close()


def test_a_key_without_its_secret_is_nobody(context: Context, door: Door) -> None:
    forged = KeyPair(FRIEND.public, STRANGER.secret)
    dealer = DealerSocket(context, door.router.endpoint, keys(forged))
    dealer.send([b"I am", b"a friend"])
    never(lambda: door.heard, door.step, dealer.flush)
    dealer.close()


def test_while_the_authenticator_does_not_answer_nobody_gets_in(
    context: Context, door: Door
) -> None:
    """libzmq alone would let any key in."""
    door.guard.answer = lambda: None  # type: ignore[method-assign]
    dealer = DealerSocket(context, door.router.endpoint, keys(FRIEND))
    dealer.send([b"hello", b""])
    never(lambda: door.heard or dealer.pending == 0, door.step, dealer.flush)
    dealer.close()


@pytest.mark.parametrize("own", [FRIEND, STRANGER], ids=["listed", "not listed"])
def test_when_the_authenticator_is_gone_nobody_gets_in(
    context: Context, door: Door, own: KeyPair
) -> None:
    door.guard.close()
    heard: list[list[bytes]] = []

    def listen() -> None:  # past RouterSocket, which would not pass on what has no key
        try:
            heard.append(door.router._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            time.sleep(0.01)

    dealer = DealerSocket(context, door.router.endpoint, keys(own))
    dealer.send([b"hello", b""])
    never(lambda: heard or dealer.pending == 0, listen, dealer.flush)
    dealer.close()


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0"])
def test_listening_beyond_this_machine_wants_a_guard_that_runs(context: Context, text: str) -> None:
    with pytest.raises(ConfigError, match="beyond this machine"):
        RouterSocket(context, parse_endpoint(text))
    guard = Guard(context, WORKER, lambda key: True)
    guard.close()
    with pytest.raises(ConfigError, match="beyond this machine"):
        RouterSocket(context, parse_endpoint(text), guard)


def test_listening_beyond_this_machine_with_a_guard(context: Context) -> None:
    guard = Guard(context, WORKER, lambda key: True)
    router = RouterSocket(context, parse_endpoint("tcp://0.0.0.0:0"), guard)
    assert router.endpoint.port > 0
    assert router._socket.getsockopt(zmq.MECHANISM) == zmq.CURVE
    router.close()
    assert not guard.running


def test_a_bridge_without_keys_does_not_even_try_beyond_this_machine(context: Context) -> None:
    with pytest.raises(ConfigError, match="pair first"):
        DealerSocket(context, parse_endpoint("tcp://192.0.2.1:7171"))


def test_one_authenticator_a_context(context: Context, door: Door) -> None:
    with pytest.raises(ConfigError, match="no authenticator can run"):
        Guard(context, WORKER, lambda key: True)


def test_a_live_link_of_a_revoked_key_says_nothing_any_more(context: Context, door: Door) -> None:
    """libzmq keeps the connection, so every message is asked about."""
    friend, other = (
        DealerSocket(context, door.router.endpoint, keys(k)) for k in (FRIEND, OTHER_FRIEND)
    )
    for dealer in (friend, other):
        dealer.send([b"hello", b""])
    until(lambda: len(door.heard) == 2, door.step, friend.flush, other.flush)
    revoked = next(peer for peer, _ in door.heard if peer[-32:] == FRIEND.public)
    door.listed.remove(FRIEND.public)
    assert not door.router.admits(revoked)
    door.heard.clear()
    for _ in range(5):
        friend.send([b"still", b"here"])
        other.send([b"me", b"too"])
    until(lambda: len(door.heard) == 5, door.step, friend.flush, other.flush)
    until(lambda: door.router.dropped["not_admitted"] == 5, door.step)
    assert {peer[-32:] for peer, _ in door.heard} == {OTHER_FRIEND.public}
    friend.close()
    again = DealerSocket(context, door.router.endpoint, keys(FRIEND))
    again.send([b"hello", b""])
    until(lambda: again.lost() is not None, door.step)
    other.close()
    again.close()


def test_a_peer_is_its_connection_and_its_key(context: Context, door: Door) -> None:
    """A routing id can be chosen: another key that takes a free one gets no stream with it."""
    seen = set()
    for own in (FRIEND, OTHER_FRIEND):
        dealer = DealerSocket(context, Endpoint("tcp", "127.0.0.1", 1), keys(own))
        dealer._socket.setsockopt(zmq.ROUTING_ID, b"same")
        dealer._socket.connect(str(door.router.endpoint))
        dealer.send([b"hello", b""])
        until(lambda: door.heard, door.step, dealer.flush)
        peer, _ = door.heard.pop()
        assert peer[:-32] == b"same"
        seen.add(peer)
        dealer.close()
        limit = time.monotonic() + PATIENCE_S
        while door.router.send(peer, [b"gone", b"yet?"]):
            assert time.monotonic() < limit
            door.step()
    assert len(seen) == 2


@pytest.mark.parametrize(
    "request_",
    [[], [b"1.0"], [b"1.0", b"7", b"brushcast", b"", b"", b"NULL"],
     [b"1.0", b"7", b"brushcast", b"", b"", b"PLAIN", b"u", b"p"],
     [b"2.0", b"7", b"brushcast", b"", b"", b"CURVE", FRIEND.public],
     [b"1.0", b"7", b"other", b"", b"", b"CURVE", FRIEND.public],
     [b"1.0", b"7", b"brushcast", b"", b"", b"CURVE", FRIEND.public[:31]],
     [b"1.0", b"7", b"brushcast", b"", b"", b"CURVE", FRIEND.public, b"x"]],
)  # fmt: skip
def test_only_whole_questions_about_curve_are_answered_with_yes(
    door: Door, request_: list[bytes]
) -> None:
    answer = door.guard._answer_to(request_)
    assert answer[2] == b"500"
    assert len(answer) == 6


def test_strangers_do_not_fill_the_log(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    question = [b"1.0", b"7", b"brushcast", b"", b"", b"CURVE", STRANGER.public]
    for _ in range(500):
        assert door.guard._answer_to(question)[2] == b"400"
    assert door.guard.refused["not_paired"] == 500
    assert len(caplog.records) == LOUD_REFUSALS
