"""The link thread over real sockets on loopback; the test plays the GPU thread."""

from __future__ import annotations

import dataclasses
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pytest

from brushcast import codec
from brushcast.wire import events as wire
from brushcast.wire.bodies import MODES
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, StreamState, Welcome, WorkerStatus
from brushcast.wire.sockets import Context, Dialler, RouterSocket, Waker, parse_endpoint
from brushcast_worker.mail import (
    Arrived,
    Changed,
    Closed,
    Opened,
    Outbox,
    Painted,
    Problem,
    Refused,
    Status,
    Stream,
    ToGpu,
    new_inbox,
)
from brushcast_worker.server import MAX_STREAMS, Server

WELCOME = Welcome(
    worker="w", version="0", engine="fake", device="cpu", device_name="a fake",
    chunk_frames=4, credit_frames=8,
)  # fmt: skip
STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=64, height=48
)
PATIENCE_S = 20
Found = TypeVar("Found")


class Client:
    """A bridge's end: keeps what it hears."""

    def __init__(self, endpoint: str, state: StreamState = STATE, *, seed: int = 0) -> None:
        self.link = ClientLink(
            state, client="test", version="0", times=LOCAL_TIMES, rng=random.Random(seed)
        )
        self.context = Context()
        self.dialler = Dialler(self.context, parse_endpoint(endpoint), self.link)
        self.heard: list[wire.ClientEvent] = []
        self.link.start(time.monotonic_ns())

    def serve(self, wait_ms: int = 5) -> None:
        self.dialler.wait(time.monotonic_ns(), None, wait_ms * 1_000_000)
        self.heard += self.dialler.service(time.monotonic_ns())

    def send(self, seq: int, *, packed: Codec = Codec.RAW) -> bool:
        pixels_HWC = np.full((48, 64, 3), seq, np.uint8)
        sent = self.link.send_frame(
            codec.encode(pixels_HWC, packed),
            seq=seq,
            captured_ns=seq,
            width=64,
            height=48,
            codec=packed,
            now_ns=time.monotonic_ns(),
        )
        self.dialler.flush()
        return sent

    def of(self, kind: type[Found]) -> list[Found]:
        return [event for event in self.heard if isinstance(event, kind)]

    def close(self) -> None:
        self.dialler.close(time.monotonic_ns())
        self.context.term()


class Rig:
    """A running server, the GPU thread's two boxes, and clients."""

    def __init__(self) -> None:
        self.stop, self.waker, self.context = threading.Event(), Waker(), Context()
        self.socket = RouterSocket(self.context, parse_endpoint("tcp://127.0.0.1:0"))
        self.inbox: queue.Queue[ToGpu] = new_inbox()
        self.outbox = Outbox(self.waker.wake, self.stop)
        self.server = Server(
            self.socket,
            self.waker,
            welcome=WELCOME,
            to_gpu=self.inbox,
            mail=self.outbox,
            clock_ns=time.monotonic_ns,
            stop=self.stop,
        )
        self.clients: list[Client] = []
        self.mail: list[ToGpu] = []
        self.thread = threading.Thread(target=self.server.run, name="link")
        self.thread.start()

    def client(self, state: StreamState = STATE) -> Client:
        made = Client(str(self.socket.endpoint), state, seed=len(self.clients))
        self.clients.append(made)
        self.until(lambda: made.of(wire.Connected) or made.of(wire.Refused))
        return made

    def until(self, true: Callable[[], object]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end_s, (self.mail, [c.heard for c in self.clients])
            for client in self.clients:
                client.serve()
            while not self.inbox.empty():
                self.mail.append(self.inbox.get())

    def letters(self, kind: type[Found], count: int = 1) -> list[Found]:
        def found() -> list[Found]:
            return [letter for letter in self.mail if isinstance(letter, kind)]

        self.until(lambda: len(found()) >= count)
        return found()

    def paint(self, letter: Arrived, *, reused: bool = False) -> None:
        self.outbox.post(
            Painted(
                stream=letter.stream,
                seq=letter.frame.seq,
                revision=1,
                pixels_HWC=255 - letter.frame.pixels_HWC,
                reused=reused,
            )
        )

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.stop.set()
        self.waker.wake()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.socket.close()
        self.waker.close()
        self.context.term()


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


@pytest.mark.parametrize("packed", [Codec.RAW, Codec.JPEG])
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
    assert abs(int(codec.decode(result.header, result.payload).mean()) - 155) <= 1
    assert client.link.credit == 8


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
