"""Faults of the connection to a worker elsewhere: slow, narrow, cut, half-open, lossy, shared, and
clients and workers that say what makes no sense."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from brushcast.playout import Kind
from tests.faults.namespaces import Network, why_not
from tests.faults.oracle import Verdict
from tests.faults.processes import weight_of
from tests.faults.relay import Relay
from tests.faults.remote import OtherVersion, RemoteWorker, flood
from tests.faults.rig import Rig
from tests.faults.rows import Check, Made, Row, Scale, Scene, count, holds, ms, said, seen_checks

NOT_LIVE_MS = 1000.0  # design.md: noticed within 1 s while frames flow
GIVEN_UP_MS = 4000.0  # and by the heartbeat at the latest
BACK_MS = 9000.0  # design.md, "Wire": back-off to 8 s remote; and a second
RESTYLED_MS = 3000.0
NARROW_BYTES_PER_S = 10e6 / 8
FLOOD_RSS_BYTES = 50e6
OVERSIZE = 20

FAR = "latency of 60 ms and jitter of 20 ms, each way"
NARROW = "10 Mb/s and 100 ms there and back"
CUT = "connection reset"
HALF_OPEN = "half-open connection"
KERNEL = "half-open by dropped packets"
LOSS = "packets lost"
TWO = "two clients of one worker"
FLOOD = "malformed and oversize messages"
VERSION = "worker of another version"


def play(home: Path, scale: Scale) -> Iterator[Made]:
    with RemoteWorker(home) as worker, Relay(worker.address) as relay:
        with Rig(
            home / "one",
            "--worker",
            f"tcp://127.0.0.1:{relay.port}",
            remote=True,
            steps=worker.steps,
        ) as rig:
            yield FAR, lambda: _slow_link(rig, relay, scale, FAR, latency_s=0.06, jitter_s=0.02)
            yield (
                NARROW,
                lambda: _slow_link(
                    rig, relay, scale, NARROW, latency_s=0.05, bytes_per_s=NARROW_BYTES_PER_S
                ),
            )
            yield CUT, lambda: _cut(rig, relay)
            for outage_s in scale.outages_s:
                fault = f"{HALF_OPEN}, {outage_s:.0f} s"
                yield fault, partial(_half_open, rig, relay, outage_s, fault)
            yield TWO, lambda: _two(home / "two", worker, rig, scale)
            yield FLOOD, lambda: _flood(worker, rig, scale)
        yield from _kernel(home / "three", worker, scale)
    yield VERSION, lambda: another_version(home / "four")


def _rig(home: Path, port: int, worker: RemoteWorker, first: int = 0) -> Rig:
    """A product whose worker is that one, reached by that port."""
    address = f"tcp://127.0.0.1:{port}"
    return Rig(home, "--worker", address, remote=True, first=first, steps=worker.steps)


def _slow_link(
    rig: Rig,
    relay: Relay,
    scale: Scale,
    fault: str,
    *,
    latency_s: float,
    jitter_s: float = 0.0,
    bytes_per_s: float = float("inf"),
) -> Row:
    rig.live()
    with rig.watch() as seen:
        relay.set(latency_s=latency_s, jitter_s=jitter_s, bytes_per_s=bytes_per_s)
        time.sleep(2 * scale.watch_s)
        before, begun_s = relay.bytes_up + relay.bytes_down, time.monotonic()
        time.sleep(scale.watch_s)
        rate = (relay.bytes_up + relay.bytes_down - before) / (time.monotonic() - begun_s)
        worker = rig.state().get("worker", {})
    relay.set(latency_s=0.0, jitter_s=0.0, bytes_per_s=float("inf"))
    live = seen().shown.get("live", 0) / seen().pictures
    return Row(
        fault=fault,
        promise="the picture keeps coming; what is called live is not too old",
        checks=(
            *seen_checks(seen()),
            Check(figure="live", value=100 * live, bar=50.0, unit="% of the time", how="at least"),
            said("oldest live", seen().live_age_ms, "ms"),
            said("painted", float(worker.get("fps") or 0.0), "a second"),
            said("both ways", rate * 8 / 1e6, "Mb/s"),
        ),
        verdict=seen(),
    )


def _cut(rig: Rig, relay: Relay) -> Row:
    back_ms = []
    rig.live()
    with rig.watch() as seen:
        for _ in range(3):
            cut_ns = time.monotonic_ns()
            relay.cut()
            back_ms.append(rig.live_since(cut_ns))
            time.sleep(1.0)
    return Row(
        fault=f"{CUT}, x3",
        promise="a new connection, cross-faded back",
        checks=(*seen_checks(seen()), ms("painted again", max(back_ms), RESTYLED_MS)),
        verdict=seen(),
    )


def _half_open(rig: Rig, relay: Relay, outage_s: float, fault: str) -> Row:
    """Nothing passes and nothing says so. Seen from outside: no longer called live, then given
    up."""
    rig.settle(3)
    with rig.watch() as seen:
        begun_ns = time.monotonic_ns()
        relay.black_hole(True)
        try:
            given_up_ms = rig.noticed(begun_ns)
            time.sleep(max(0.0, outage_s - given_up_ms / 1000))
        finally:
            relay.black_hole(False)
        back_ms = rig.live_since(time.monotonic_ns())
        time.sleep(0.5)
    return _outage(rig, seen(), fault, begun_ns, given_up_ms, back_ms)


def _outage(
    rig: Rig, verdict: Verdict, fault: str, begun_ns: int, up_ms: float, back_ms: float
) -> Row:
    not_live_ns = next(
        one.at_ns for one in rig.seen if one.at_ns > begun_ns and one.kind is not Kind.LIVE
    )
    return Row(
        fault=fault,
        promise="held, the card; a new connection as soon as there is a way",
        checks=(
            *seen_checks(verdict),
            ms("no longer live after", (not_live_ns - begun_ns) / 1e6, NOT_LIVE_MS),
            ms("given up after", up_ms, GIVEN_UP_MS),
            ms("painted again", back_ms, BACK_MS),
        ),
        verdict=verdict,
    )


def _kernel(home: Path, worker: RemoteWorker, scale: Scale) -> Iterator[Made]:
    """The same with the kernel's own TCP between two network namespaces."""
    shares = {f"{LOSS}, 1 %": 0.01, f"{LOSS}, 5 %": 0.05}
    swallowed = f"{KERNEL}, 6 s"
    if reason := why_not():
        for fault in [*shares, swallowed]:
            yield fault, partial(Row, fault=fault, promise="as above", skipped=reason)
        return
    with Network(worker.address) as network, _rig(home, network.port, worker) as rig:
        for fault, share in shares.items():
            yield fault, partial(_loss, rig, network, share, fault, scale)
        yield swallowed, lambda: _swallowed(rig, network, swallowed)


def _loss(rig: Rig, network: Network, share: float, fault: str, scale: Scale) -> Row:
    rig.settle(2)
    with rig.watch() as seen:
        network.drop(share)
        time.sleep(2 * scale.watch_s)
        network.drop(0)
        rig.live()
    return Row(
        fault=fault,
        promise="the picture keeps coming; what is called live is not too old",
        checks=(
            *seen_checks(seen()),
            said("oldest live", seen().live_age_ms, "ms"),
            said("shown", seen().shown),
        ),
        verdict=seen(),
    )


def _swallowed(rig: Rig, network: Network, fault: str) -> Row:
    rig.settle(2)
    with rig.watch() as seen:
        begun_ns = time.monotonic_ns()
        network.drop(1)
        try:
            given_up_ms = rig.noticed(begun_ns)
            time.sleep(max(0.0, 6 - given_up_ms / 1000))
        finally:
            network.drop(0)
        back_ms = rig.live_since(time.monotonic_ns())
    return _outage(rig, seen(), fault, begun_ns, given_up_ms, back_ms)


def _two(home: Path, worker: RemoteWorker, one: Rig, scale: Scale) -> Row:
    """The other one's pictures have other numbers: none of them may come to us."""
    with _rig(home, worker.address[1], worker, first=500_000) as two:
        two.settle(2)
        # The echo engine takes them one after the other.
        for rig in (one, two):
            rig.streams = 2
        with one.watch() as seen_one, two.watch() as seen_two:
            time.sleep(scale.watch_s)
        other = seen_two()
    one.streams = 1
    return Row(
        fault=TWO,
        promise="both are painted, each with its own pictures",
        checks=(
            *seen_checks(seen_one()),
            Check(figure="the other's gap", value=other.gap_most_ms, bar=100.0, unit="ms"),
            count("raw, the other", other.raw, 0),
            count("of another source, the other", other.foreign, 0),
            holds("both live", min(seen.shown.get("live", 0) for seen in (seen_one(), other)) > 0),
        ),
        verdict=seen_one(),
    )


def _flood(worker: RemoteWorker, rig: Rig, scale: Scale) -> Row:
    rig.settle(2)
    before = weight_of(worker.process.pid)
    done: list[tuple[int, int]] = []
    lost = len(rig.lost_ns())
    with rig.watch() as seen:
        flooding = threading.Thread(
            target=lambda: done.append(flood(worker.address, scale.messages, OVERSIZE)),
            name="flood",
        )
        flooding.start()
        flooding.join()
        time.sleep(1.0)
        rig.live()
    after = weight_of(worker.process.pid)
    assert before is not None
    assert after is not None
    taken, cut = done[0]
    return Row(
        fault=f"{FLOOD}, x{taken}, and {OVERSIZE} above 64 MiB",
        promise="rejected and counted; memory flat, another client undisturbed",
        checks=(
            *seen_checks(seen()),
            Check(
                figure="memory of the worker", value=(after.rss_bytes - before.rss_bytes) / 1e6,
                bar=FLOOD_RSS_BYTES / 1e6, unit="MB more",
            ),
            count("connections lost by the other client", len(rig.lost_ns()) - lost, 0),
            said("senders cut off", cut),
        ),
        verdict=seen(),
    )  # fmt: skip


def another_version(home: Path) -> Row:
    with OtherVersion() as worker:
        address = f"tcp://{worker.address[0]}:{worker.address[1]}"
        with Rig(home, "--worker", address, remote=True) as rig:
            rig.until(lambda: bool(worker.greeted_ns), why="a greeting")
            greeted_ns = worker.greeted_ns[0]
            rig.until(lambda: rig.state().get("state") == "FAILED", 20, "FAILED")
            told_ms = (time.monotonic_ns() - greeted_ns) / 1e6
            message = str(rig.state().get("message", ""))
            time.sleep(4.0)
            tries = len(worker.greeted_ns)
            rig.read()
            raw = rig.judged(rig.seen).raw
    return Row(
        fault=VERSION,
        promise="one clear sentence within 1 s, no retry loop",
        checks=(
            ms("told after", told_ms, 1000.0),
            holds("the sentence names both versions", "speaks protocol" in message),
            count("greetings in 4 s", tries, 1),
            count("raw", raw, 0),
        ),
        note=message,
    )


SCENE = Scene(
    name="link",
    faults=(FAR, NARROW, CUT, HALF_OPEN, TWO, FLOOD, LOSS, KERNEL, VERSION),
    play=play,
)
