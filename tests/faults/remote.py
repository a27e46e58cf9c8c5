"""Remote: a worker as on another machine, started beside the product, and clients of our own.

The only file of the tests that speaks ZeroMQ by itself: what it says is meant to be wrong.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import zmq

from brushcast.wire.messages import MAX_PAYLOAD_BYTES, PROTOCOL
from tests.faults.faulty_worker import ENGINE_VARIABLE, FAULT_VARIABLE, STEPS_VARIABLE
from tests.faults.rig import ROOT

START_S = 90.0
SEND_MS = 2000


class RemoteWorker:
    """`brushcast-worker serve` with the echo engine, entered and left. Clients connect to
    `address`."""

    def __init__(self, home: Path) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        environment = {
            **os.environ, "PYTHONPATH": path, ENGINE_VARIABLE: "echo",
            FAULT_VARIABLE: str(home / "order"), "XDG_CONFIG_HOME": str(home),
            STEPS_VARIABLE: str(home / "steps"),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.faults.faulty_worker", "serve", "--json"]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.address = ("127.0.0.1", 0)
        self.steps = home / "steps"

    def __enter__(self) -> RemoteWorker:
        watch = threading.Timer(START_S, self.process.kill)
        watch.start()
        try:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                event = json.loads(line)
                if event["event"] == "listening":
                    self.address = ("127.0.0.1", int(event["endpoint"].rpartition(":")[2]))
                if event["event"] == "ready":
                    return self
            raise AssertionError("the worker did not start")
        finally:
            watch.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def rubbish(seed: int) -> Iterator[list[bytes]]:
    """Messages that are none, for ever: no message at all, half of one, lengths that are not
    kept, numbers out of range, bodies of other formats, many parts, and true headers bent."""
    rng = random.Random(seed)
    major, minor = PROTOCOL
    while True:
        head = bytearray(struct.pack("!4sBB", b"BRSH", major, minor) + rng.randbytes(52))
        head[6] = rng.choice([0, 1, 2, 3, 5, 6, 9, 77, 255])  # the kind
        shape = rng.randrange(7)
        if shape == 0:
            yield [rng.randbytes(rng.randrange(80))]
        elif shape == 1:
            yield [bytes(head[: rng.randrange(58)]), b""]
        elif shape == 2:
            yield [bytes(head), rng.randbytes(rng.randrange(4000))]
        elif shape == 3:
            yield [bytes(head)] + [b"x"] * rng.randrange(2, 30)
        elif shape == 4:
            yield [bytes(head), b"\x81" * rng.randrange(1, 200)]  # maps in maps in maps
        elif shape == 5:
            yield [bytes(head[:54]) + struct.pack("!I", 2**32 - 1), b"short"]
        else:
            yield [b"", b""]


def flood(address: tuple[str, int], messages: int, oversize: int) -> tuple[int, int]:
    """So many rubbish messages from one client after the other, 5000 each, and `oversize` ones of
    more than a message may have. How many were taken, and how often a client was cut off."""
    context = zmq.Context()
    taken = cut = 0
    try:
        stream = rubbish(1)
        while taken < messages:
            dealer = _dealer(context, address)
            try:
                for _ in range(min(5000, messages - taken)):
                    dealer.send_multipart(next(stream))
                    taken += 1
            except zmq.Again:
                cut += 1  # it no longer reads us
            finally:
                dealer.close(500)
        large = bytes(MAX_PAYLOAD_BYTES + 1)
        for _ in range(oversize):
            dealer = _dealer(context, address)
            try:
                dealer.send_multipart([b"BRSH", large], copy=False)
                time.sleep(0.2)
            except zmq.Again:
                pass
            finally:
                cut += 1
                dealer.close(0)
    finally:
        context.destroy(linger=0)
    return taken, cut


def _dealer(context: zmq.Context[zmq.Socket[bytes]], address: tuple[str, int]) -> zmq.Socket[bytes]:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.SNDTIMEO, SEND_MS)
    dealer.connect(f"tcp://{address[0]}:{address[1]}")
    return dealer


class OtherVersion:
    """A worker of another major version, entered and left. greeted_ns: when each client came."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self.address = ("127.0.0.1", port)
        self.greeted_ns: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="other-version")

    def __enter__(self) -> OtherVersion:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._router.close(0)
        self._context.destroy(linger=0)

    def _serve(self) -> None:
        while not self._stop.is_set():
            if not self._router.poll(50):
                continue
            peer, *_ = self._router.recv_multipart()
            self.greeted_ns.append(time.monotonic_ns())
            answer = struct.pack("!4sBB", b"BRSH", PROTOCOL[0] + 1, 0) + b" of the future"
            self._router.send_multipart([peer, answer, b""])
