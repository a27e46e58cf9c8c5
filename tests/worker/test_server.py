"""The link thread over real sockets on loopback; the test plays the GPU thread."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brushcast.frame import Pixels
from brushcast.h264_chain import begins_chain
from brushcast.wire import events as wire
from brushcast.wire.bodies import MODES
from brushcast.wire.curve import BRIDGES, KeyList, Known
from brushcast.wire.messages import Codec, WorkerStatus
from brushcast.wire.sockets import (
    Context,
    DealerSocket,
)
from brushcast.wire.zap import new_keys
from brushcast_worker.mail import (
    Arrived,
    Changed,
    Closed,
    Opened,
    Painted,
    Problem,
    Refused,
    Status,
    Stream,
)
from brushcast_worker.server import MAX_PEERS, MAX_STREAMS
from tests.worker.server_rig import ONE, OTHER, STATE, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_how_old_a_picture_may_get_is_the_modes(rig: Rig) -> None:
    allowed_ms = []
    for count, mode in enumerate(MODES, 1):
        client = rig.client(dataclasses.replace(STATE, mode=mode))
        assert client.send(100)
        letter = rig.letters(Arrived, count)[-1]
        allowed_ms.append((letter.deadline_ns - letter.arrived_ns) // 1_000_000)
    assert allowed_ms == [400, 600, 1000]


@pytest.mark.parametrize("packed", [Codec.RAW, Codec.JPEG, Codec.H264])
def test_a_picture_goes_to_the_gpu_thread_and_its_result_back_as_it_came(
    rig: Rig, packed: Codec
) -> None:
    client = rig.client()
    assert client.send(100, packed=packed)
    assert rig.letters(Opened)[0].state == STATE
    (letter,) = rig.letters(Arrived)
    assert abs(int(letter.frame.pixels_HWC.mean()) - 100) <= 1
    assert (letter.frame.seq, letter.frame.captured_ns) == (100, 100)
    assert 400e6 < letter.deadline_ns - letter.arrived_ns < 1000e6
    rig.paint(letter, reused=True)
    rig.until(lambda: client.of(wire.Result))
    result = client.of(wire.Result)[0]
    assert result.header.codec is packed
    assert (result.header.seq, result.header.captured_ns) == (100, 100)
    seen: list[Pixels | None] = []
    rig.until(lambda: seen.extend(client.pictures()) or seen)
    assert seen[0] is not None
    assert abs(int(seen[0].mean()) - 155) <= 1
    assert client.link.credit == 8


def test_a_chain_that_cannot_be_followed_is_refused_until_a_keyframe_comes(rig: Rig) -> None:
    client = rig.client()
    client.send(1, packed=Codec.H264)
    rig.letters(Arrived)
    client.packer.pack(np.zeros((48, 64, 3), np.uint8), Codec.H264, picture_bytes=4000)  # unsent
    client.send(2, packed=Codec.H264)
    client.send(3, packed=Codec.H264)
    rig.until(lambda: len(client.of(wire.FrameRefused)) == 2)
    assert all(refused.key_wanted for refused in client.of(wire.FrameRefused))
    client.packer.restart()
    client.send(4, packed=Codec.H264)
    assert [letter.frame.seq for letter in rig.letters(Arrived, 2)] == [1, 4]
    assert client.link.credit == 6


def test_a_stream_that_ends_takes_its_decoder_with_it(rig: Rig) -> None:
    client = rig.client()
    client.send(1, packed=Codec.H264)
    rig.letters(Arrived)
    (peer,) = rig.server._peers.values()
    decoder = peer.unpacker.decoder
    assert decoder is not None
    assert decoder.pid is not None
    client.dialler.close(time.monotonic_ns())
    rig.letters(Closed)
    rig.until(lambda: decoder.pid is None)
    assert peer.unpacker.decoder is None


def test_results_begin_anew_when_the_bridge_asks_for_it(rig: Rig) -> None:
    client = rig.client()
    for seq in range(4):
        client.send(seq, packed=Codec.H264)
        rig.paint(rig.letters(Arrived, seq + 1)[-1])
        rig.until(lambda seq=seq: len(client.of(wire.Result)) == seq + 1)
        if seq == 1:
            asking = dataclasses.replace(client.link.stream_state, revision=2, result_keys=1)
            client.link.set_state(asking, time.monotonic_ns())
            rig.until(lambda: client.link.acknowledged_revision == 2)
    begun = [begins_chain(result.payload) for result in client.of(wire.Result)]
    assert begun == [True, False, True, False]


def test_results_are_as_good_as_the_bridge_wants_them(rig: Rig) -> None:
    lengths = []
    for number, quality in enumerate((90, 30)):
        client = rig.client(dataclasses.replace(STATE, result_quality=quality))
        client.send(1, packed=Codec.JPEG)
        letter = rig.letters(Arrived, number + 1)[-1]
        noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
        rig.outbox.post(
            Painted(stream=letter.stream, seq=1, revision=1, pixels_HWC=noise, reused=False)
        )
        rig.until(lambda client=client: client.of(wire.Result))
        lengths.append(len(client.of(wire.Result)[0].payload))
    assert lengths[1] < 0.6 * lengths[0]


def test_a_change_is_handed_over_before_the_pictures_that_follow(rig: Rig) -> None:
    client = rig.client()
    changed = dataclasses.replace(STATE, revision=2, prompt="neon")
    client.link.set_state(changed, time.monotonic_ns())
    client.send(5)
    rig.letters(Arrived)
    kinds = [type(letter) for letter in rig.mail]
    assert kinds == [Opened, Changed, Arrived]
    rig.until(lambda: client.link.acknowledged_revision == 2)


def test_refusals_problems_and_the_status_reach_the_bridge(rig: Rig) -> None:
    client = rig.client()
    client.send(1)
    (letter,) = rig.letters(Arrived)
    rig.outbox.post(Refused(letter.stream, 1, "stale"))
    rig.outbox.post(Problem(letter.stream, "prompt", "no style known in 'x'", fatal=False))
    rig.outbox.post(Status(letter.stream, WorkerStatus(engine_fps=21.0, rung="small picture")))
    rig.until(lambda: client.of(wire.FrameRefused) and client.of(wire.Faulted))
    assert client.of(wire.Faulted)[0].message == "no style known in 'x'"
    assert client.link.credit == 8
    assert client.link.ready
    rig.until(lambda: any(e.status.engine_fps == 21.0 for e in client.of(wire.StatusReceived)))


def test_a_fatal_problem_ends_that_stream(rig: Rig) -> None:
    client = rig.client()
    (opened,) = rig.letters(Opened)
    rig.outbox.post(Problem(opened.stream, "memory", "too large", fatal=True))
    rig.until(lambda: client.of(wire.Refused))
    assert "too large" in client.of(wire.Refused)[0].message


def test_two_clients_get_their_own_results(rig: Rig) -> None:
    one, two = rig.client(), rig.client()
    one.send(10)
    two.send(20)
    for letter in rig.letters(Arrived, 2):
        rig.paint(letter)
    rig.until(lambda: one.of(wire.Result) and two.of(wire.Result))
    assert [event.header.seq for event in one.of(wire.Result)] == [10]
    assert [event.header.seq for event in two.of(wire.Result)] == [20]


def test_nonsense_from_one_peer_costs_another_nothing(rig: Rig) -> None:
    client = rig.client()
    vandal = Context()
    socket = vandal.socket(5)  # DEALER
    socket.linger = 0
    socket.connect(str(rig.socket.endpoint))
    for seq in range(20):
        for junk in ([b""], [b"\0" * 58, b"x"], [b"BRSH\1\0" + b"\xff" * 52, b"x"], [b"a"] * 9):
            socket.send_multipart(junk)
        client.send(seq)
        rig.paint(rig.letters(Arrived, seq + 1)[seq])
    rig.until(lambda: len(client.of(wire.Result)) == 20)
    socket.close()
    vandal.term()


def test_a_picture_that_cannot_be_decoded_is_refused(rig: Rig) -> None:
    client = rig.client()
    client.link.send_frame(
        b"\xff\xd8 no picture \xff\xd9",
        seq=1,
        captured_ns=1,
        width=64,
        height=48,
        codec=Codec.JPEG,
        now_ns=time.monotonic_ns(),
    )
    client.dialler.flush()
    rig.until(lambda: client.of(wire.FrameRefused))
    assert not [letter for letter in rig.mail if isinstance(letter, Arrived)]


def test_a_client_that_leaves_is_forgotten_and_mail_for_it_is_dropped(rig: Rig) -> None:
    client = rig.client()
    client.send(1)
    (letter,) = rig.letters(Arrived)
    client.dialler.close(time.monotonic_ns())
    rig.letters(Closed)
    rig.paint(letter)
    again = rig.client()
    again.send(2)
    rig.paint(rig.letters(Arrived, 2)[1])
    rig.until(lambda: again.of(wire.Result))


def test_there_is_a_limit_to_the_streams(rig: Rig) -> None:
    for _ in range(MAX_STREAMS):
        assert rig.client().of(wire.Connected)
    too_many = rig.client()
    rig.until(lambda: too_many.of(wire.Refused))
    assert f"{MAX_STREAMS} streams" in too_many.of(wire.Refused)[0].message


def test_stopping_tells_the_bridges(rig: Rig) -> None:
    client = rig.client()
    rig.stop.set()
    rig.waker.wake()
    rig.until(lambda: client.of(wire.Lost))


def test_mail_of_another_epoch_goes_nowhere(rig: Rig) -> None:
    client = rig.client()
    client.send(1)
    (letter,) = rig.letters(Arrived)
    stale = Stream(letter.stream.session, letter.stream.epoch - 1)
    rig.outbox.post(Refused(stale, 1, "stale"))
    rig.paint(letter)
    rig.until(lambda: client.of(wire.Result))
    assert not client.of(wire.FrameRefused)


# Keys


@pytest.fixture
def bridges(tmp_path: Path) -> KeyList:
    """The file that `brushcast-worker pair` writes; here by another object than the server's."""
    made = KeyList(tmp_path / "keys" / BRIDGES)
    made.add(Known(name="one", key=ONE.public))
    made.add(Known(name="other", key=OTHER.public))
    return made


@pytest.fixture
def guarded(bridges: KeyList) -> Iterator[Rig]:
    made = Rig(KeyList(bridges.path).admits)
    yield made
    made.close()


def test_revoking_a_key_closes_its_live_link_and_no_other(guarded: Rig, bridges: KeyList) -> None:
    one, other = guarded.client(own=ONE), guarded.client(own=OTHER)
    for seq, client in enumerate((one, other)):
        client.send(seq)
        guarded.paint(guarded.letters(Arrived, seq + 1)[seq])
        guarded.until(lambda client=client: client.of(wire.Result))
    bridges.remove("one")
    guarded.until(lambda: one.of(wire.Refused))
    assert "revoked" in one.of(wire.Refused)[0].message
    assert [letter.stream.session for letter in guarded.letters(Closed)] == [one.link.session]
    one.link.reconnect(time.monotonic_ns())  # it will not take no for an answer
    guarded.until(lambda: len(one.of(wire.Lost)) >= 2)
    assert "does not admit" in one.of(wire.Lost)[-1].reason
    assert len(one.of(wire.Connected)) == 1
    other.send(7)
    guarded.paint(guarded.letters(Arrived, 3)[2])
    guarded.until(lambda: len(other.of(wire.Result)) == 2)
    assert not other.of(wire.Lost)
    assert len(other.of(wire.Connected)) == 1


def test_nothing_of_a_revoked_key_is_painted_even_where_its_bridge_goes_on(
    guarded: Rig, bridges: KeyList
) -> None:
    one = guarded.client(own=ONE)
    one.link._on_fault = lambda *_: None  # a bridge that is not ours
    bridges.remove("one")
    guarded.letters(Closed)
    for seq in range(5):
        one.send(seq)
    ends_s = time.monotonic() + 1
    guarded.until(lambda: time.monotonic() > ends_s)
    assert not [letter for letter in guarded.mail if isinstance(letter, Arrived)]
    assert not one.of(wire.Result)
    assert guarded.socket.dropped["not_admitted"] >= 5


def test_a_key_that_was_paired_while_the_worker_runs_is_let_in(
    guarded: Rig, bridges: KeyList
) -> None:
    new = new_keys()
    bridges.add(Known(name="new", key=new.public))
    assert guarded.client(own=new).of(wire.Connected)


def test_who_connects_again_and_again_is_not_remembered_for_ever(rig: Rig) -> None:
    client = rig.client()
    context = Context()
    for number in range(3 * MAX_PEERS):
        dealer = DealerSocket(context, rig.socket.endpoint)
        dealer.send([b"nonsense", bytes([number])])
        rig.until(lambda dealer=dealer: dealer.flush() or dealer.pending == 0)
        dealer.close(1000)
    client.send(1)
    rig.paint(rig.letters(Arrived)[0])
    rig.until(lambda: client.of(wire.Result))
    assert len(rig.server._peers) <= MAX_PEERS
    assert not client.of(wire.Lost)
    context.destroy(linger=0)
