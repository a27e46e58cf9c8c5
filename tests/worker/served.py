"""`brushcast-worker serve` as a process, and a camera for it."""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from brushcast import codec
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, StreamState
from brushcast.wire.sockets import Context, Dialler, parse_endpoint
from tests.worker.conftest import moving

PATIENCE_S = 120
STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=96, height=64
)


class Worker:
    """The process; its events by name."""

    def __init__(
        self, *arguments: str, program: Sequence[str] = ("brushcast_worker",), **environment: str
    ) -> None:
        command = [sys.executable, "-m", *program, "serve", "--engine", "pocket-random"]
        self.process = subprocess.Popen(
            [*command, "--device", "cpu", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events), threading.Thread(target=self._read_errors)
        ]  # fmt: skip
        for reader in self._readers:
            reader.start()

    def event(self, name: str) -> dict[str, Any]:
        line = self._lines.get(timeout=PATIENCE_S)
        event: dict[str, Any] = json.loads(line)
        assert event["event"] == name, (event, self._errors)
        return event

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def says(self, line: str) -> bool:
        """Whether this line came on standard error, in time."""
        ends = time.monotonic() + PATIENCE_S
        while f"{line}\n" not in self._errors and time.monotonic() < ends:
            time.sleep(0.02)
        return f"{line}\n" in self._errors

    def hang_up(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)


HANGING = "tests.worker.hanging_worker"


def feed(endpoint: str, stop: threading.Event) -> threading.Thread:
    """A camera for this worker, in a thread of its own: pictures as credit allows, results
    forgotten."""

    def run() -> None:
        link = ClientLink(STATE, client="t", version="0", times=LOCAL_TIMES, rng=random.Random(0))
        context = Context()
        dialler = Dialler(context, parse_endpoint(endpoint), link)
        link.start(time.monotonic_ns())
        pictures, seq = moving(64), 0
        while not stop.is_set():
            dialler.wait(time.monotonic_ns(), None, 20_000_000)
            list(dialler.service(time.monotonic_ns()))
            while link.credit:
                link.send_frame(
                    codec.encode(pictures[seq % 64], Codec.RAW), seq=seq, captured_ns=seq,
                    width=STATE.width, height=STATE.height, codec=Codec.RAW,
                    now_ns=time.monotonic_ns(),
                )  # fmt: skip
                seq += 1
            dialler.flush()
        dialler.close(time.monotonic_ns())
        context.destroy(linger=0)

    thread = threading.Thread(target=run)
    thread.start()
    return thread
