"""Real sockets on loopback: what dies is noticed, what comes back is found, errors are clear."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from brushcast.errors import ConfigError
from brushcast.wire import sockets
from brushcast.wire.link import (
    LOCAL_TIMES,
    ClientEvent,
    ClientLink,
    ClientState,
    Connected,
    Lost,
    Result,
)
from brushcast.wire.messages import Codec, Parts
from brushcast.wire.server_link import FrameArrived, ServerLink
from brushcast.wire.sockets import (
    Context,
    DealerSocket,
    Dialler,
    Endpoint,
    RouterSocket,
    Waker,
    open_context,
    parse_endpoint,
)
from tests.plugin.wire.samples import PICTURE, plain, state, welcome

ANY_PORT = Endpoint("tcp", "127.0.0.1", 0)


@pytest.fixture
def context() -> Iterator[Context]:
    made = open_context()
    yield made
    made.destroy(linger=0)


def until(done: Callable[[], bool], *steps: Callable[[], object]) -> None:
    """All `steps`, again and again, until `done`."""
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit, "it never happened"
        for step in steps:
            step()


class Worker:
    """Answers each frame with itself, in the test's own thread."""

    def __init__(self, router: RouterSocket) -> None:
        self.router = router
        self.links: dict[bytes, ServerLink] = {}

    def step(self) -> None:
        now_ns = time.monotonic_ns()
        while (received := self.router.receive()) is not None:
            peer, parts = received
            link = self.links.setdefault(peer, ServerLink(welcome(4), now_ns=now_ns))
            link.receive(parts, now_ns)
            for event in link.events():
                if isinstance(event, FrameArrived):
                    self.answer(link, event)
            for reply in link.outgoing():
                self.router.send(peer, reply)

    @staticmethod
    def answer(link: ServerLink, event: FrameArrived) -> None:
        header = event.header
        assert link.send_result(
            event.payload,
            epoch=header.epoch,
            seq=header.seq,
            revision=header.revision,
            width=header.width,
            height=header.height,
            codec=header.codec,
        )


class Client:
    """A Dialler that keeps what happened."""

    def __init__(self, context: Context, endpoint: Endpoint) -> None:
        self.link = ClientLink(
            state(), client="test", version="1", times=LOCAL_TIMES, rng=Random(1)
        )
        self.dialler = Dialler(context, endpoint, self.link)
        self.happened: list[ClientEvent] = []
        self.seq = 0
        self.link.start(time.monotonic_ns())

    def step(self) -> None:
        self.dialler.wait(time.monotonic_ns(), limit_ns=5_000_000)
        self.happened += self.dialler.service(time.monotonic_ns())

    def frame(self) -> None:
        now_ns = time.monotonic_ns()
        sent = self.link.send_frame(
            PICTURE,
            seq=self.seq,
            captured_ns=now_ns,
            width=4,
            height=2,
            codec=Codec.RAW,
            now_ns=now_ns,
        )
        self.seq += sent
        self.dialler.flush()

    def count(self, kind: type[ClientEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.happened)


# Binding


def test_any_free_port_is_found_and_told(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    assert router.endpoint.port > 0
    with socket.create_connection(("127.0.0.1", router.endpoint.port), 5):
        pass
    router.close()


def test_a_port_in_use_is_one_clear_sentence(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    with pytest.raises(ConfigError, match=r"tcp://127\.0\.0\.1:\d+: the address is in use"):
        RouterSocket(context, router.endpoint)
    router.close()


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:7199", "tcp://*:7199", "tcp://[::]:7199"])
def test_listening_beyond_this_machine_is_refused(context: Context, text: str) -> None:
    with pytest.raises(
        ConfigError, match="beyond this machine, wanted a loopback address .* or keys"
    ):
        RouterSocket(context, parse_endpoint(text))


def test_an_ipc_path_wants_a_private_folder_and_cannot_be_stolen(
    context: Context, tmp_path: Path
) -> None:
    endpoint = parse_endpoint(f"ipc://{tmp_path}/w")
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="mode 0755 and owner .* wanted mode 0700"):
        RouterSocket(context, endpoint)
    tmp_path.chmod(0o700)
    router = RouterSocket(context, endpoint)
    with pytest.raises(ConfigError, match="the address is in use"):
        RouterSocket(context, endpoint)
    client = Client(context, endpoint)
    until(lambda: client.link.ready, client.step, Worker(router).step)
    client.dialler.close(time.monotonic_ns())
    router.close()
    RouterSocket(context, endpoint).close()
    with pytest.raises(ConfigError, match="No such file"):
        RouterSocket(context, parse_endpoint(f"ipc://{tmp_path}/none/w"))


def test_an_address_that_cannot_be_connected_to_is_said(context: Context) -> None:
    with pytest.raises(ConfigError, match="wanted a host and a port"):
        DealerSocket(context, ANY_PORT)


# Connections


def test_frames_come_back_and_a_killed_worker_is_noticed_at_once_and_found_again(
    context: Context,
) -> None:
    worker = Worker(RouterSocket(context, ANY_PORT))
    endpoint = worker.router.endpoint
    client = Client(context, endpoint)
    until(lambda: client.link.ready, client.step, worker.step)
    client.frame()
    until(lambda: client.count(Result) == 1, client.step, worker.step)
    result = next(event for event in client.happened if isinstance(event, Result))
    assert result.payload == PICTURE

    worker.router.close()
    until(lambda: client.count(Lost) > 2, client.step)
    reasons = [event.reason for event in client.happened if isinstance(event, Lost)]
    assert reasons[0] == "the connection to the worker was closed"  # not: silent for 3 s
    assert reasons[1] == "nothing listens at the worker's address"

    worker = Worker(RouterSocket(context, endpoint))
    until(lambda: client.link.ready, client.step, worker.step)
    assert client.link.epoch > 1
    client.frame()
    until(lambda: client.count(Result) == 2, client.step, worker.step)
    client.dialler.close(time.monotonic_ns())
    until(lambda: not any(link.open for link in worker.links.values()), worker.step)
    worker.router.close()


def test_a_worker_that_comes_later_is_found(context: Context) -> None:
    holder = RouterSocket(context, ANY_PORT)
    endpoint = holder.endpoint
    holder.close()
    client = Client(context, endpoint)
    until(lambda: client.count(Lost) > 1, client.step)
    worker = Worker(RouterSocket(context, endpoint))
    until(lambda: client.link.ready, client.step, worker.step)
    client.dialler.close(time.monotonic_ns())
    worker.router.close()


STOPPED_WORKER = """
import sys, time
from brushcast.wire.sockets import open_context, parse_endpoint
from tests.plugin.wire.test_sockets import ANY_PORT, RouterSocket, Worker
worker = Worker(RouterSocket(open_context(), ANY_PORT))
print(worker.router.endpoint, flush=True)
while True:
    worker.router.wait(10_000_000)
    worker.step()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this platform")
def test_a_stopped_worker_is_noticed_while_frames_flow_and_found_when_it_goes_on(
    context: Context,
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED_WORKER], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        client = Client(context, parse_endpoint(process.stdout.readline().strip()))

        until(lambda: client.count(Result) > 20, client.step, client.frame)
        process.send_signal(signal.SIGSTOP)
        until(lambda: client.count(Lost) > 0, client.step, client.frame)
        lost = next(event for event in client.happened if isinstance(event, Lost))
        assert lost.hung
        assert "no progress" in lost.reason  # long before the heartbeat
        process.send_signal(signal.SIGCONT)
        results = client.count(Result)
        until(lambda: client.count(Result) > results, client.step, client.frame)
        client.dialler.close(time.monotonic_ns())
    finally:
        process.kill()
        process.communicate()


def test_an_oversize_message_breaks_the_connection_and_is_not_hammered(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_PAYLOAD_BYTES", 1000)
    worker = Worker(RouterSocket(context, ANY_PORT))
    client = Client(context, worker.router.endpoint)
    client.link.set_state(state(2, width=64, height=64), time.monotonic_ns())
    started = time.monotonic()
    while time.monotonic() < started + 3:
        client.step()
        worker.step()
        if client.link.credit:
            client.link.send_frame(
                bytes(64 * 64 * 3),
                seq=client.seq,
                captured_ns=0,
                width=64,
                height=64,
                codec=Codec.RAW,
                now_ns=time.monotonic_ns(),
            )
            client.seq += 1
    assert 2 <= client.link.epoch <= 15  # libzmq alone: 21 and more
    assert client.count(Connected) >= 2
    client.dialler.close(time.monotonic_ns())
    worker.router.close()


def test_a_black_hole_is_left_after_the_handshakes_time(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # accepts, says nothing
        client = Client(context, Endpoint("tcp", "127.0.0.1", hole.getsockname()[1]))
        until(lambda: client.count(Lost) > 0, client.step)
        (lost,) = (event for event in client.happened if isinstance(event, Lost))
        assert lost.reason == "the worker does not answer" or "was closed" in lost.reason
        client.dialler.close(time.monotonic_ns())


def test_nothing_is_queued_for_a_peer_that_is_not_there(context: Context) -> None:
    holder = RouterSocket(context, ANY_PORT)
    endpoint = holder.endpoint
    holder.close()
    dealer = DealerSocket(context, endpoint)
    dealer.send([b"one", b""])
    assert dealer.pending == 1  # libzmq has taken nothing (IMMEDIATE)
    until(lambda: dealer.lost() is not None, lambda: time.sleep(0.01))
    dealer.close()


def test_a_peer_that_does_not_read_holds_few_messages(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    dealer = DealerSocket(context, router.endpoint)
    big: Parts = [b"head", bytes(4 << 20)]
    dealer.send([b"hi", b""])
    until(lambda: dealer.pending == 0, dealer.flush)
    for _ in range(100):
        dealer.send(big)
    time.sleep(0.2)
    dealer.flush()
    assert dealer.pending >= 100 - 2 * sockets.HIGH_WATER_MESSAGES - 4
    dealer.close()
    router.close()


def test_a_reply_to_a_peer_that_is_gone_is_dropped_and_counted(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    assert not router.send(b"nobody", [b"head", b""])
    assert router.dropped == {"peer_gone": 1}
    router.close()


def test_rubbish_from_the_network_does_no_harm(context: Context) -> None:
    worker = Worker(RouterSocket(context, ANY_PORT))
    client = Client(context, worker.router.endpoint)
    dealer = DealerSocket(context, worker.router.endpoint)
    for number in range(50):
        dealer.send([b"x" * number] * (number % 4 + 1))
    with socket.create_connection(("127.0.0.1", worker.router.endpoint.port), 5) as plain_tcp:
        plain_tcp.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)

        steps = (client.step, dealer.flush, worker.step)
        until(lambda: client.link.ready, *steps)
        client.frame()
        until(lambda: client.count(Result) == 1, *steps)
        until(lambda: any(link.banned for link in worker.links.values()), *steps)
    dealer.close()
    client.dialler.close(time.monotonic_ns())
    worker.router.close()


def test_a_worker_that_floods_us_does_not_hold_up_the_rest(context: Context) -> None:
    """Every turn takes a few messages, however many wait: then the pictures go on."""
    worker = Worker(RouterSocket(context, ANY_PORT))
    client = Client(context, worker.router.endpoint)
    until(lambda: client.link.ready, client.step, worker.step)
    dealer = client.dialler._socket
    assert dealer is not None
    flood, receive = [10_000], dealer.receive

    def flooded() -> list[bytes] | None:
        """As fast as we can take them, so that the box is never empty."""
        flood[0] -= 1
        return [b"nonsense", b""] if flood[0] > 0 else receive()

    dealer.receive = flooded  # type: ignore[method-assign]
    while flood[0] > 0:
        before = client.link.dropped["malformed"]
        client.dialler.service(time.monotonic_ns())
        assert client.link.dropped["malformed"] - before <= sockets.MESSAGES_PER_TURN
    client.frame()
    until(lambda: client.count(Result) == 1, client.step, worker.step)
    client.dialler.close(time.monotonic_ns())
    worker.router.close()


def test_a_worker_of_another_version_is_refused_at_its_first_message(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    client = Client(context, router.endpoint)

    def answer() -> None:
        if (received := router.receive()) is not None:
            router.send(received[0], [b"BRSH\x02\x00" + bytes(60), b""])

    until(lambda: client.link.state is ClientState.REFUSED, client.step, answer)
    assert client.link.epoch == 1
    assert "speaks protocol 2.0" in client.link.refusal
    client.dialler.close(time.monotonic_ns())
    router.close()


# Waking


def test_a_waker_ends_a_wait_from_another_thread(context: Context) -> None:
    router, waker = RouterSocket(context, ANY_PORT), Waker()
    threading.Timer(0.1, waker.wake).start()
    before = time.monotonic()
    router.wait(10_000_000_000, waker)
    assert time.monotonic() - before < 5
    for _ in range(100_000):
        waker.wake()  # never blocks
    router.wait(10_000_000_000, waker)
    before = time.monotonic()
    router.wait(50_000_000, waker)  # all of them were cleared together
    assert time.monotonic() - before >= 0.04
    waker.close()
    waker.wake()
    router.close()


def test_a_view_of_a_picture_can_be_sent(context: Context) -> None:
    router = RouterSocket(context, ANY_PORT)
    dealer = DealerSocket(context, router.endpoint)
    dealer.send([b"head", memoryview(PICTURE)])
    came: list[list[bytes]] = []

    def receive() -> None:
        if (received := router.receive()) is not None:
            came.append(received[1])

    until(lambda: bool(came), dealer.flush, receive)
    assert came == [plain([b"head", PICTURE])]
    dealer.close()
    router.close()


def test_an_endpoint_keeps_its_host_when_it_learns_its_port(context: Context) -> None:
    router = RouterSocket(context, parse_endpoint("tcp://localhost:*"))
    assert router.endpoint == replace(
        parse_endpoint("tcp://localhost:1"), port=router.endpoint.port
    )
    router.close()
