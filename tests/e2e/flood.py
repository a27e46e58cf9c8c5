"""What a vandal on the worker's address costs: `python -m tests.e2e.flood [--messages 100000]`.

A real worker, an honest bridge's link that has pictures painted all the time, and a process of its
own that sends malformed messages, messages over the size limit, and bytes that are no ZeroMQ at
all, over many connections. Told: the worker's resident memory before, at most and after, and what
the honest one noticed.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from brushcast import codec
from brushcast.wire.events import Connected, Lost, Refused, Result
from brushcast.wire.link import REMOTE_TIMES, ClientLink
from brushcast.wire.messages import MAX_PAYLOAD_BYTES, Codec, StreamState
from brushcast.wire.sockets import DealerSocket, Dialler, open_context, parse_endpoint
from tests.e2e.machines import Machine, Serving, free_port
from tests.e2e.tell import tell

STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=96, height=64
)
A_CONNECTION = 500  # malformed messages over one connection, then a new one
OVERSIZE_EVERY = 1000  # messages
WARM_RESULTS = 40
CALM_S = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """What the flood did. rss: of the worker, in MB. round_trip: of the honest one, in ms."""

    messages: int
    seconds: float
    rss_before_mb: float
    rss_peak_mb: float
    rss_after_mb: float
    honest_results: int
    honest_lost: int
    round_trip_p50_ms: dict[str, float]
    round_trip_p99_ms: dict[str, float]


def vandalise(endpoint: str, messages: int, done: Any) -> None:
    """The vandal's process."""
    where, context, rng = parse_endpoint(endpoint), open_context(), random.Random(1)
    junk = [
        [b""],
        [b"\0" * 58, b"x"],
        [b"BRSH\1\0" + b"\xff" * 52, b"x"],
        [b"a"] * 9,
        [b"BRSH\x09\x00" + bytes(52), b""],
        [rng.randbytes(58), rng.randbytes(3000)],
    ]
    oversize = bytes(MAX_PAYLOAD_BYTES + 1)
    sent = 0
    while sent < messages:
        dealer = DealerSocket(context, where)
        for number in range(min(A_CONNECTION, messages - sent)):
            dealer.send(list(junk[number % len(junk)]))
            sent += 1
            while dealer.pending and dealer.lost() is None:
                dealer.wait(2_000_000)
                dealer.flush()
        dealer.close(200)
        if sent % OVERSIZE_EVERY == 0:
            large = DealerSocket(context, where)
            large.send([b"BRSH", oversize])
            ends = time.monotonic() + 2
            while large.lost() is None and time.monotonic() < ends:
                large.wait(50_000_000)
                large.flush()
            large.close()
        with socket.create_connection((where.host, where.port), 5) as plain:
            plain.sendall(rng.randbytes(200))
    context.destroy(linger=0)
    done.set()


class Honest:
    """A link that keeps as many pictures on their way as it may."""

    def __init__(self, endpoint: str) -> None:
        self.link = ClientLink(
            STATE, client="honest", version="0", times=REMOTE_TIMES, rng=random.Random(0)
        )
        self._context = open_context()
        self._dialler = Dialler(self._context, parse_endpoint(endpoint), self.link)
        self._payload = codec.encode(np.full((64, 96, 3), 90, np.uint8), Codec.RAW)
        self._seq = 0
        self.lost = 0
        self.round_trips_ms: list[float] = []
        self.link.start(time.monotonic_ns())

    def step(self) -> None:
        self._dialler.wait(time.monotonic_ns(), None, 5_000_000)
        now_ns = time.monotonic_ns()
        for event in self._dialler.service(now_ns):
            if isinstance(event, Result):
                self.round_trips_ms.append((now_ns - event.header.captured_ns) / 1e6)
            elif isinstance(event, Lost | Refused):
                self.lost += 1
            elif isinstance(event, Connected):
                self._seq += 1000
        while self.link.credit and self.link.send_frame(
            self._payload, seq=self._seq, captured_ns=now_ns, width=96, height=64,
            codec=Codec.RAW, now_ns=now_ns,
        ):  # fmt: skip
            self._seq += 1
        self._dialler.flush()

    def close(self) -> None:
        self._dialler.close(time.monotonic_ns())
        self._context.destroy(linger=0)


def flood(folder: Path, messages: int) -> Damage:
    """Linux only."""
    endpoint = f"tcp://127.0.0.1:{free_port('127.0.0.1')}"
    serving = Serving(Machine(folder / "worker"), endpoint)
    honest, processes = Honest(endpoint), multiprocessing.get_context("spawn")
    try:
        while len(honest.round_trips_ms) < WARM_RESULTS:
            honest.step()
        calm_from, ends = len(honest.round_trips_ms), time.monotonic() + CALM_S
        while time.monotonic() < ends:
            honest.step()
        calm = honest.round_trips_ms[calm_from:]
        pid, lost_before = serving.process.pid, honest.lost
        before_mb = peak_mb = rss_mb(pid)
        done = processes.Event()
        vandal = processes.Process(target=vandalise, args=(endpoint, messages, done))
        begun, from_ = time.monotonic(), len(honest.round_trips_ms)
        vandal.start()
        while not done.is_set() and vandal.is_alive():
            honest.step()
            peak_mb = max(peak_mb, rss_mb(pid))
        seconds = time.monotonic() - begun
        flooded = honest.round_trips_ms[from_:]
        vandal.join(30)
        assert vandal.exitcode == 0, "the vandal itself failed"
        ends = time.monotonic() + 5  # past the time after which a silent peer is forgotten
        while time.monotonic() < ends:
            honest.step()
        after_mb = rss_mb(pid)
        assert serving.process.poll() is None, "the worker is gone"
    finally:
        honest.close()
        serving.close()
    return Damage(
        messages=messages,
        seconds=round(seconds, 1),
        rss_before_mb=before_mb,
        rss_peak_mb=peak_mb,
        rss_after_mb=after_mb,
        honest_results=len(flooded),
        honest_lost=honest.lost - lost_before,
        round_trip_p50_ms={"calm": centile(calm, 50), "flood": centile(flooded, 50)},
        round_trip_p99_ms={"calm": centile(calm, 99), "flood": centile(flooded, 99)},
    )


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise AssertionError("no VmRSS")


def centile(values: list[float], q: float) -> float:
    return round(float(np.percentile(values, q)), 1) if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        damage = flood(Path(folder), asked.messages)
    tell(dataclasses.asdict(damage), None)


if __name__ == "__main__":
    main()
