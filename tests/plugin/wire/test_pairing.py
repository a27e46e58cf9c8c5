"""Pairing: the pure rules of an offer, and both halves over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import ConfigError, PairError
from brushcast.wire import pairing
from brushcast.wire.curve import ClientKeys
from brushcast.wire.endpoint import Endpoint
from brushcast.wire.pairing import (
    MAX_MESSAGE_BYTES,
    MAX_TRIES,
    Offer,
    accept,
    new_invitation,
    offer,
    parse_invitation,
)
from brushcast.wire.sockets import Context, DealerSocket, open_context
from brushcast.wire.zap import new_keys

WORKER, BRIDGE, OTHER = (new_keys() for _ in range(3))
HERE = Endpoint("tcp", "127.0.0.1", 0)
SECRET = bytes(range(16))
S = 1_000_000_000


def asks(secret: bytes = SECRET, name: bytes = b"studio") -> list[bytes]:
    return [b"BRSHPAIR1", secret, name]


# The line


@pytest.mark.parametrize("host", ["192.168.1.5", "gpu.lan", "::1", "2001:db8::7"])
def test_a_line_says_all_and_no_shell_changes_it(host: str) -> None:
    made = new_invitation(Endpoint("tcp", host, 7172), 7171, WORKER.public)
    assert parse_invitation(made.line) == made
    assert parse_invitation(f"  {made.line}\n") == made
    assert made.worker == Endpoint("tcp", host, 7171)
    assert not set(made.line) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:./[]"
    )
    assert len(made.line) < 130


def test_secrets_are_fresh_and_in_no_representation() -> None:
    made = [new_invitation(HERE, 7171, WORKER.public) for _ in range(5)]
    assert len({one.secret for one in made}) == 5
    assert all(len(one.secret) == 16 for one in made)
    assert repr(made[0].secret) not in repr(made[0])
    assert "secret" not in repr(made[0])


def test_what_is_no_line_is_one_sentence_that_repeats_nothing_of_it() -> None:
    line = replace(new_invitation(HERE, 7171, WORKER.public), meets=Endpoint("tcp", "h", 1)).line
    secret = line.rpartition("/")[2]
    assert parse_invitation(line).secret
    broken = [line[:-1], line + "x", line.replace(":1/", ":99999/"), line.replace(":1/", ":0/"),
              line.replace("/7171/", "/0/"), line.replace("/7171/", "/77777/"), "", secret,
              line.replace("h:1", "*:1"), line.replace("brushcast-pair", "brushcast")]  # fmt: skip
    for text in broken:
        assert text != line
        with pytest.raises(ConfigError) as caught:
            parse_invitation(text)
        assert secret[:10] not in str(caught.value)
        assert "\n" not in str(caught.value)


@given(st.text(max_size=300))
def test_any_text_is_a_line_or_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_invitation(text)


# The rules


def test_the_right_secret_pairs_one_machine_and_no_second() -> None:
    state = Offer(SECRET, ends_ns=10 * S)
    assert state.judge(BRIDGE.public, asks(), S) == ""
    assert state.accepted == (BRIDGE.public, "studio")
    assert "used already" in state.judge(OTHER.public, asks(), S)
    assert state.accepted == (BRIDGE.public, "studio")


def test_guessing_ends_the_offer_even_for_the_right_secret() -> None:
    state = Offer(SECRET, ends_ns=10 * S)
    for number in range(MAX_TRIES):
        assert not state.over(S)
        assert "not the invitation's" in state.judge(OTHER.public, asks(bytes([number]) * 16), S)
    assert "guessing" in state.over(S)
    assert "too many" in state.judge(BRIDGE.public, asks(), S)
    assert state.accepted is None


def test_an_offer_ends_with_its_time() -> None:
    state = Offer(SECRET, ends_ns=10 * S)
    assert not state.over(10 * S - 1)
    assert "in time" in state.over(10 * S)
    assert "run out" in state.judge(BRIDGE.public, asks(), 10 * S)
    assert state.accepted is None


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_no_message_of_a_stranger_pairs_it(parts: list[bytes]) -> None:
    state = Offer(SECRET, ends_ns=10 * S)
    assert state.judge(OTHER.public, parts, S)
    assert state.accepted is None


@pytest.mark.parametrize("secret", [b"", SECRET[:-1], SECRET + b"\0", bytes(16)])
def test_nothing_but_the_whole_secret_counts(secret: bytes) -> None:
    assert Offer(SECRET, ends_ns=10 * S).judge(BRIDGE.public, asks(secret), S)


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"\x1b[31m", b"../..", b"x" * 900, b"a\nb"])
def test_a_name_from_afar_is_plain_text(name: bytes) -> None:
    state = Offer(SECRET, ends_ns=10 * S)
    assert state.judge(BRIDGE.public, asks(name=name), S) == ""
    assert state.accepted is not None
    kept = state.accepted[1]
    assert kept.isprintable()
    assert kept.isascii()
    assert 0 < len(kept) <= 64
    assert "/" not in kept


# Over sockets


class Waiting:
    """The worker's half in a thread of its own."""

    def __init__(self, seconds: float = 20) -> None:
        self.stop = threading.Event()
        self.admitted: list[tuple[bytes, str]] = []
        self._context = open_context()
        self._pool = ThreadPoolExecutor(1)
        bound: Future[Endpoint] = Future()
        self.invitation = new_invitation(HERE, 7171, WORKER.public)
        self.result = self._pool.submit(
            offer, self.invitation, context=self._context, bind=HERE, keys=WORKER,
            seconds=seconds, admit=self._admit, listening=bound.set_result, stop=self.stop,
        )  # fmt: skip
        self.invitation = replace(self.invitation, meets=bound.result(20))

    def _admit(self, key: bytes, name: str) -> str:
        self.admitted.append((key, name))
        return f"{name}-2"

    def close(self) -> None:
        self.stop.set()
        self._pool.shutdown()
        self._context.destroy(linger=0)


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.close()


@pytest.fixture
def context() -> Iterator[Context]:
    made = open_context()
    yield made
    made.destroy(linger=0)


def test_two_machines_pair(context: Context, waiting: Waiting) -> None:
    line = waiting.invitation.line
    name = accept(parse_invitation(line), context=context, keys=BRIDGE, name="studio")
    assert name == "studio-2", "what the worker calls it"
    assert waiting.result.result(20) == "studio-2"
    assert waiting.admitted == [(BRIDGE.public, "studio")]


def test_the_line_is_good_once(context: Context, waiting: Waiting) -> None:
    accept(waiting.invitation, context=context, keys=BRIDGE, name="a")
    waiting.result.result(20)
    with pytest.raises(PairError, match="newest line"):
        accept(waiting.invitation, context=context, keys=OTHER, name="b")
    assert len(waiting.admitted) == 1


def test_a_wrong_secret_is_refused_five_times_and_then_nobody_is_paired(
    context: Context, waiting: Waiting
) -> None:
    for number in range(MAX_TRIES):
        guess = replace(waiting.invitation, secret=bytes([number]) * 16)
        with pytest.raises(PairError, match="refused: the secret is not"):
            accept(guess, context=context, keys=OTHER, name="guesser")
    with pytest.raises(PairError, match="somebody may be guessing"):
        waiting.result.result(20)
    assert not waiting.admitted


def test_a_line_with_another_key_meets_nobody(
    context: Context, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine in the middle that answers at the worker's address: it never sees the secret."""
    monkeypatch.setattr(pairing, "ANSWER_PATIENCE_S", 2.0)
    forged = replace(waiting.invitation, key=OTHER.public)
    with pytest.raises(PairError):
        accept(forged, context=context, keys=BRIDGE, name="studio")
    assert not waiting.admitted
    assert not waiting.result.done(), "it cost the real one nothing, not even a try"


def test_an_offer_that_nobody_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(seconds=0.3)
    with pytest.raises(PairError, match="nobody used the invitation in time"):
        waiting.result.result(20)
    waiting.close()


def test_an_address_where_nobody_pairs_is_said(context: Context) -> None:
    made = new_invitation(Endpoint("tcp", "127.0.0.1", 9), 7171, WORKER.public)
    with pytest.raises(PairError, match="nothing listens"):
        accept(made, context=context, keys=BRIDGE, name="studio")


def test_rubbish_and_large_messages_do_not_end_an_offer(context: Context, waiting: Waiting) -> None:
    keys = ClientKeys(OTHER, WORKER.public)
    for parts in ([b"x"], [b"BRSHPAIR1"], [b"BRSHPAIR1", SECRET], [b"x" * (MAX_MESSAGE_BYTES + 1)]):
        dealer = DealerSocket(context, waiting.invitation.meets, keys)
        dealer.send(list(parts))
        limit = time.monotonic() + 10
        while dealer.receive() is None and dealer.lost() is None:
            assert time.monotonic() < limit
            dealer.wait(20_000_000)
            dealer.flush()
        dealer.close()
    assert accept(waiting.invitation, context=context, keys=BRIDGE, name="a") == "a-2"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [([b"BRSHPAIR2", b"yes", b"a"], "another version"), ([b"BRSHPAIR1", b"yes"], "another version"),
     ([b"BRSHPAIR1", b"maybe", b"a"], "another version"),
     ([b"BRSHPAIR1", b"no", b"\x1b[2Jno\nway"], r"refused:  \[2Jno way")],
)  # fmt: skip
def test_an_answer_from_afar_is_plain_text_too(answer: list[bytes], complaint: str) -> None:
    with pytest.raises(PairError, match=complaint):
        pairing._answer(answer)
