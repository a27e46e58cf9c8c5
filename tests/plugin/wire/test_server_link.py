"""The worker's side against a scripted bridge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from brushcast.wire.messages import (
    Codec,
    Control,
    Fault,
    Flags,
    Header,
    Hello,
    Kind,
    Message,
    PixelFormat,
    Pong,
    WorkerStatus,
    pack,
    pack_control,
    parse,
)
from brushcast.wire.server_link import Closed, FrameArrived, Opened, ServerLink, StateSet
from tests.plugin.wire.samples import PICTURE, messages, plain, state, welcome

MS = 1_000_000


class Peer:
    """A ServerLink, a clock, and a bridge that says what the test wants it to say."""

    def __init__(self, credit_frames: int = 2) -> None:
        self.now = 1_000 * MS
        self.link = ServerLink(welcome(credit_frames), now_ns=self.now)
        self.names: dict[str, Any] = {"session": 5, "epoch": 1, "revision": 1}

    def say(self, kind: Kind, body: Control | None = None, **fields: Any) -> None:
        header = Header(kind=kind, **{**self.names, **fields})
        self.link.receive(plain(pack_control(header, body)), self.now)

    def hello(self, revision: int = 1, **fields: Any) -> None:
        self.say(Kind.HELLO, Hello(client="t", version="1", state=state(revision)), **fields)

    def frame(self, seq: int, **fields: Any) -> None:
        values = {
            "width": 4,
            "height": 2,
            "stride": 12,
            "pixel_format": PixelFormat.RGB8,
            "codec": Codec.RAW,
            "captured_ns": 100 + seq,
            **self.names,
            **fields,
        }
        header = Header(kind=Kind.FRAME, seq=seq, **values)
        self.link.receive(plain(pack(header, bytes(values["stride"] * 2))), self.now)

    def result(self, seq: int, epoch: int = 1, *, reused: bool = False) -> bool:
        return self.link.send_result(
            PICTURE,
            epoch=epoch,
            seq=seq,
            revision=1,
            width=4,
            height=2,
            codec=Codec.RAW,
            reused=reused,
        )

    def sent(self) -> list[Message]:
        return [parse(plain(parts)) for parts in self.link.outgoing()]

    def kinds(self) -> list[Kind]:
        return [message.header.kind for message in self.sent()]


def opened(credit_frames: int = 2) -> Peer:
    peer = Peer(credit_frames)
    peer.hello()
    peer.link.events()
    peer.sent()
    return peer


def test_hello_is_welcomed_and_its_state_acknowledged() -> None:
    peer = Peer()
    peer.hello(revision=9)
    (event,) = peer.link.events()
    assert isinstance(event, Opened)
    assert (event.session, event.epoch, event.state) == (5, 1, state(9))
    (message,) = peer.sent()
    assert message.body == welcome(2, revision=9)
    assert (message.header.session, message.header.epoch) == (5, 1)


def test_a_frame_is_answered_once_and_its_capture_time_echoed() -> None:
    peer = opened()
    peer.frame(3)
    (event,) = peer.link.events()
    assert isinstance(event, FrameArrived)
    assert event.header.seq == 3
    assert peer.result(3, reused=True)
    assert not peer.result(3)
    assert not peer.link.refuse(epoch=1, seq=3, reason="late")
    (message,) = peer.sent()
    assert message.body == PICTURE
    assert message.header.captured_ns == 103
    assert message.header.flags == Flags.REUSED
    assert peer.link.dropped == {"late_result": 2}


def test_frames_over_credit_are_refused_and_counted() -> None:
    peer = opened(credit_frames=2)
    for seq in range(5):
        peer.frame(seq)
    assert peer.link.in_flight == 2
    assert len(peer.link.events()) == 2
    refused = peer.sent()
    assert [message.header.seq for message in refused] == [2, 3, 4]
    assert all(message.header.flags == Flags.REFUSED for message in refused)
    assert peer.link.dropped == {"over_credit": 3}
    peer.result(0)
    peer.frame(5)
    assert peer.link.in_flight == 2


def test_frames_that_do_not_fit_the_state_are_refused() -> None:
    peer = opened()
    peer.frame(0, revision=2)
    peer.frame(1, width=8, stride=24)
    assert peer.link.events() == []
    assert peer.link.dropped == {"wrong_revision": 1, "wrong_size": 1}
    assert peer.kinds() == [Kind.RESULT, Kind.RESULT]


def test_the_end_is_flagged_on_its_result_and_nothing_follows_it() -> None:
    peer = opened()
    peer.frame(0, flags=Flags.END)
    peer.frame(1)
    peer.result(0)
    flags = [message.header.flags for message in peer.sent()]
    assert flags == [Flags.REFUSED, Flags.END]
    assert peer.link.dropped == {"after_end": 1}


def test_a_refusal_of_the_workers_own_has_its_reason_counted() -> None:
    peer = opened()
    peer.frame(0)
    assert peer.link.refuse(epoch=1, seq=0, reason="too_late")
    assert peer.link.dropped == {"too_late": 1}
    assert peer.sent()[0].header.flags == Flags.REFUSED
    assert peer.link.in_flight == 0


def test_ping_is_answered_with_the_status_and_its_own_numbers() -> None:
    peer = opened()
    peer.link.set_status(WorkerStatus(engine_fps=20.5, rung="fewer steps"))
    peer.say(Kind.PING, seq=4, captured_ns=77)
    (message,) = peer.sent()
    assert message.body == Pong(
        revision=1, status=WorkerStatus(engine_fps=20.5, rung="fewer steps")
    )
    assert (message.header.seq, message.header.captured_ns) == (4, 77)


def test_what_changes_what_is_to_be_sent_is_told_unasked_and_nothing_else() -> None:
    peer = opened()
    peer.link.set_status(WorkerStatus(engine_fps=20.5))
    assert peer.sent() == []
    for changed in (WorkerStatus(takes=0), WorkerStatus(takes=0, chunk_frames=8)):
        peer.link.set_status(changed)
        (message,) = peer.sent()
        assert message.body == Pong(revision=1, status=changed)
        assert message.header.captured_ns == 0, "no round trip is measured by it"
    peer.link.set_status(WorkerStatus(takes=0, chunk_frames=8, engine_fps=1.0))
    assert peer.sent() == []


def test_a_longer_chunk_has_more_credit_and_gives_it_back_only_when_that_was_told() -> None:
    peer = opened(credit_frames=2)
    peer.link.set_status(WorkerStatus(chunk_frames=2))
    for seq in range(5):
        peer.frame(seq)
    assert peer.link.in_flight == 4
    for seq in range(4):
        peer.result(seq)
    peer.link.set_status(WorkerStatus(chunk_frames=1))
    for seq in range(5, 10):
        peer.frame(seq)
    assert peer.link.in_flight == 4, "the bridge cannot know yet"
    for seq in range(5, 9):
        peer.result(seq)
    peer.link.set_status(WorkerStatus(chunk_frames=1))
    for seq in range(10, 15):
        peer.frame(seq)
    assert peer.link.in_flight == 2


def test_set_is_acknowledged_at_once_and_an_old_one_changes_nothing() -> None:
    peer = opened()
    peer.say(Kind.SET, state(4, seed=1))
    peer.say(Kind.SET, state(3, seed=2))
    assert peer.link.events() == [StateSet(5, 1, state(4, seed=1))]
    bodies = [message.body for message in peer.sent()]
    assert bodies == [Pong(revision=4, status=WorkerStatus())] * 2
    assert peer.link.dropped == {"old_revision": 1}


def test_a_new_epoch_closes_the_old_one_and_nothing_old_gets_through() -> None:
    peer = opened()
    peer.frame(0)
    peer.link.events()
    peer.names["epoch"] = 2
    peer.hello(revision=3)
    closed, again = peer.link.events()
    assert closed == Closed(5, 1, "a new epoch")
    assert isinstance(again, Opened)
    peer.sent()
    assert not peer.result(0, epoch=1)
    assert not peer.result(0, epoch=2)
    peer.frame(0, revision=3)  # the same number as the old epoch's
    peer.link.events()
    assert not peer.result(0, epoch=1)
    assert peer.link.in_flight == 1
    peer.hello(epoch=1)
    peer.frame(1, epoch=1)
    assert peer.link.events() == []
    assert peer.sent() == []
    assert peer.link.dropped["old_epoch"] == 2


def test_goodbye_and_silence_close_the_stream() -> None:
    peer = opened()
    peer.say(Kind.BYE)
    assert peer.link.events() == [Closed(5, 1, "the bridge said goodbye")]
    peer.names["epoch"] = 2
    peer.hello()
    peer.link.events()
    peer.sent()
    peer.now = peer.link.next_wakeup_ns(peer.now) - 1
    peer.link.tick(peer.now)
    assert not peer.link.expired
    peer.link.tick(peer.now + 1)
    assert peer.link.events() == [Closed(5, 2, "nothing heard for 4000 ms")]
    assert peer.kinds() == [Kind.BYE]
    assert peer.link.expired


def test_a_bridge_that_was_forgotten_is_told_to_start_again() -> None:
    peer = Peer()
    peer.frame(0)
    peer.say(Kind.PING)
    assert peer.kinds() == [Kind.BYE, Kind.BYE]
    assert peer.link.dropped == {"no_session": 2}


def test_another_version_is_told_why() -> None:
    peer = Peer()
    peer.link.receive([b"BRSH\x02\x00\x01", b""], peer.now)
    (message,) = peer.sent()
    assert isinstance(message.body, Fault)
    assert message.body.fatal
    assert message.body.code == "version"
    assert "speaks protocol 2.0" in message.body.message


def test_a_little_rubbish_is_counted_and_much_of_it_ends_the_peer() -> None:
    peer = opened()
    for _ in range(19):
        peer.link.receive([b"rubbish"], peer.now)
    assert peer.sent() == []
    peer.link.receive([b"rubbish"], peer.now)
    (message,) = peer.sent()
    assert isinstance(message.body, Fault)
    assert message.body.code == "malformed"
    assert isinstance(peer.link.events()[0], Closed)
    for _ in range(100_000):
        peer.link.receive([b"rubbish"], peer.now)
    peer.hello(epoch=2)
    assert peer.sent() == []
    assert peer.link.dropped == {"malformed": 20, "banned": 100_001}


def test_rare_rubbish_is_forgiven() -> None:
    peer = opened()
    for _ in range(100):
        peer.now += 600 * MS
        peer.link.receive([b"rubbish"], peer.now)
    assert peer.link.open


def test_messages_that_only_a_worker_sends_and_repeated_seqs_are_malformed() -> None:
    peer = opened()
    peer.say(Kind.WELCOME, welcome(2))
    peer.frame(1)
    peer.frame(1)
    peer.frame(0)
    assert peer.link.dropped == {"malformed": 3}
    assert peer.link.in_flight == 1


def test_a_fault_of_many_lines_is_told_in_one() -> None:
    peer = opened()
    peer.link.fault("memory", "Traceback\n  x\ud800" + "y" * 5000, fatal=False, now_ns=peer.now)
    (message,) = peer.sent()
    assert isinstance(message.body, Fault)
    assert message.body.message.startswith("Traceback   x yy")
    assert peer.link.open


@given(st.lists(messages(), max_size=8))
def test_no_valid_message_of_any_stranger_breaks_it(
    samples: list[tuple[Header, Control | bytes | None, list[bytes]]],
) -> None:
    peer = opened()
    for _, _, parts in samples:
        peer.link.receive(parts, peer.now)
        assert 0 <= peer.link.in_flight <= 2


def test_a_refusal_asks_for_a_keyframe_only_where_it_is_wanted() -> None:
    peer = Peer()
    peer.hello()
    peer.frame(1)
    peer.frame(2)
    assert peer.link.refuse(epoch=1, seq=1, reason="undecodable", key_wanted=True)
    assert peer.link.refuse(epoch=1, seq=2, reason="stale")
    flags = [m.header.flags for m in peer.sent() if m.header.kind is Kind.RESULT]
    assert flags == [Flags.REFUSED | Flags.KEY_WANTED, Flags.REFUSED]


def test_a_pong_says_how_long_the_stream_was_open_when_it_was_asked() -> None:
    peer = Peer()
    peer.hello()
    peer.now += 1500 * MS
    peer.say(Kind.PING)
    peer.now += 70 * MS
    pongs = [m.body for m in peer.sent() if isinstance(m.body, Pong)]
    assert [pong.since_ms for pong in pongs] == [1500]
    peer.hello(epoch=2)
    peer.names["epoch"] = 2
    peer.now += 10 * MS
    peer.say(Kind.PING)
    (pong,) = [m.body for m in peer.sent() if isinstance(m.body, Pong)]
    assert pong.since_ms == 10, "a new epoch, a new clock"
