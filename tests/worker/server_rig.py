"""A running server with clients, and the boxes of a GPU thread that is the test itself."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from brushcast.frame import Pixels
from brushcast.packing import Packer, Unpacker
from brushcast.wire import events as wire
from brushcast.wire.curve import ClientKeys, KeyPair
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, StreamState, Welcome
from brushcast.wire.sockets import (
    Context,
    Dialler,
    RouterSocket,
    Waker,
    parse_endpoint,
)
from brushcast.wire.zap import Guard, new_keys
from brushcast_worker.mail import (
    Arrived,
    Outbox,
    Painted,
    ToGpu,
    new_inbox,
)
from brushcast_worker.server import Server

WELCOME = Welcome(
    worker="w", version="0", engine="fake", device="cpu", device_name="a fake",
    chunk_frames=4, credit_frames=8,
)  # fmt: skip
STATE = StreamState(
    revision=1,
    preset="ink",
    prompt="ink",
    strength=0.6,
    seed=7,
    width=64,
    height=48,
    result_bytes=4000,
)
PATIENCE_S = 20
WORKER_KEYS, ONE, OTHER = new_keys(), new_keys(), new_keys()
Found = TypeVar("Found")


class Client:
    """A bridge's end: keeps what it hears."""

    def __init__(
        self,
        endpoint: str,
        state: StreamState = STATE,
        *,
        seed: int = 0,
        keys: ClientKeys | None = None,
    ) -> None:
        self.link = ClientLink(
            state, client="test", version="0", times=LOCAL_TIMES, rng=random.Random(seed)
        )
        self.context = Context()
        self.dialler = Dialler(self.context, parse_endpoint(endpoint), self.link, keys)
        self.heard: list[wire.ClientEvent] = []
        self.packer, self.unpacker, self.unpacked = Packer(), Unpacker(lambda: None), 0
        self.link.start(time.monotonic_ns())

    def serve(self, wait_ms: int = 5) -> None:
        self.dialler.wait(time.monotonic_ns(), None, wait_ms * 1_000_000)
        self.heard += self.dialler.service(time.monotonic_ns())

    def send(self, seq: int, *, packed: Codec = Codec.RAW) -> bool:
        pixels_HWC = np.full((48, 64, 3), seq, np.uint8)
        sent = self.link.send_frame(
            self.packer.pack(pixels_HWC, packed, picture_bytes=4000),
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

    def pictures(self) -> list[Pixels | None]:
        """Of all results that came since the last call."""
        for result in self.of(wire.Result)[self.unpacked :]:
            self.unpacked += 1
            self.unpacker.put(result.header, result.payload)
        time.sleep(0.01)
        return [picture for _, picture in self.unpacker.take(time.monotonic_ns())]

    def close(self) -> None:
        self.unpacker.close()
        self.dialler.close(time.monotonic_ns())
        self.context.term()


class Rig:
    """A running server, the GPU thread's two boxes, and clients."""

    def __init__(self, admits: Callable[[bytes], bool] | None = None) -> None:
        """admits: behind a guard with WORKER_KEYS."""
        self.stop, self.waker, self.context = threading.Event(), Waker(), Context()
        guard = None if admits is None else Guard(self.context, WORKER_KEYS, admits)
        self.socket = RouterSocket(self.context, parse_endpoint("tcp://127.0.0.1:0"), guard)
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

    def client(self, state: StreamState = STATE, own: KeyPair | None = None) -> Client:
        keys = None if own is None else ClientKeys(own, WORKER_KEYS.public)
        made = Client(str(self.socket.endpoint), state, seed=len(self.clients), keys=keys)
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
