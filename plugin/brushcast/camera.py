"""Camera process: paces the output from its own clock and never stops. MAIN PATH: `run_camera` →
`_Camera.tick`.

It reads the newest picture of the ring at every tick and offers it to every sink. A ring that is
missing or has not been written for a second is answered with the card, and looked for again; a
bridge that comes back is shown at once.
"""

from __future__ import annotations

import collections
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2

from brushcast.badge import Corner, parse_badge
from brushcast.card import Composer
from brushcast.child import read_messages, say
from brushcast.errors import ConfigError, InputError, SinkError, SourceError
from brushcast.frame import Size
from brushcast.metrics import Histogram
from brushcast.playout import PAINTED, Kind, next_tick_ns
from brushcast.process import avoid_pauses, keep_freed_memory, raise_priority, stolen_s
from brushcast.provenance import Origin
from brushcast.ring import Ring, RingPicture
from brushcast.sink import make_sink, parse_sink
from brushcast.sink_thread import OutputPicture, SinkThread

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1e6
# The bridge writes at phase 0, and has written 8 ms later at p99 on two busy cores (measured live):
# later costs every picture its delay, earlier would find the last one more often.
TICK_PHASE = 0.3
STALE_NS = 1 * NS_PER_S  # design.md: held up to 1 s, then the card
HELD_AFTER_NS = NS_PER_S // 4  # a bridge writes every 200 ms at least: this one is silent
ATTACH_EVERY_NS = NS_PER_S // 4
REPORT_S = 1.0
OPEN_PATIENCE_S = 10.0

Emit = Callable[..., None]
Messages = queue.Queue[dict[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """The process's first line. ring: the ring's path; sinks: as on the command line; off: names of
    those that are not opened until they are switched on.

    restarted: this process died before in the same run: files are continued in NAME-2, failing
    sinks no longer end it, and none is waited for. badge: where painted pictures say "AI"; None for
    nowhere. origin: what files say made their pictures.
    """

    ring: str
    size: Size
    rate_fps: float
    sinks: tuple[str, ...]
    off: tuple[str, ...] = ()
    restarted: bool = False
    badge: Corner | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.rate_fps <= 240:
            raise ConfigError(f"rate {self.rate_fps}: wanted 1 to 240 pictures per second")

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> CameraConfig:
        """Raises ConfigError for unknown, missing or malformed keys."""
        wanted = {"ring", "size", "rate_fps", "sinks", "off", "restarted", "badge", "origin"}
        if set(table) != wanted:
            raise ConfigError(f"camera configuration: wrong keys {sorted(set(table) ^ wanted)}")
        return cls(
            ring=str(table["ring"]),
            size=Size.parse(str(table["size"])),
            rate_fps=float(table["rate_fps"]),
            sinks=tuple(str(spec) for spec in table["sinks"]),
            off=tuple(str(name) for name in table["off"]),
            restarted=bool(table["restarted"]),
            badge=parse_badge(table["badge"]),
            origin=Origin.from_json(table["origin"]),
        )


def main() -> None:
    """The child's entry point: configuration and commands on standard input, events on standard
    output.

    Commands: `{"command": "sink", "id", "on"}`, `{"command": "badge", "badge"}` (a corner or null),
    `{"command": "stop"}`; the end of the input is a stop too.
    Events: ready, stats (once a second), stopped, error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor: it tells us
    keep_freed_memory()
    cv2.setNumThreads(1)  # its pool would wake at every tick for a millisecond of work
    messages = read_messages()
    raise_priority()
    avoid_pauses()
    first = messages.get()  # one that waits to replace a dead one waits here
    if first is None:
        return
    try:
        run_camera(CameraConfig.from_json(first), messages, say)
    except InputError as error:
        say("error", message=str(error))
        sys.exit(2)


def run_camera(
    config: CameraConfig,
    messages: Messages,
    emit: Emit,
    *,
    clock_ns: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Open the sinks, then tick until a stop or the end of the messages. The calling thread keeps
    the pace.

    Raises SinkError when a sink that was asked for cannot be opened at the start of a run.
    """
    camera = _Camera(config, clock_ns)
    reporter = _Reporter(camera, emit)
    try:
        camera.open_sinks()
        if not config.restarted:
            emit("ready", sinks=camera.ready_sinks())
        reporter.start()
        while camera.heed(messages) and not reporter.parent_gone:
            due_ns = next_tick_ns(clock_ns(), config.rate_fps, TICK_PHASE)
            while (wait_ns := due_ns - clock_ns()) > 0:
                sleep(min(wait_ns / NS_PER_S, 0.1))
            camera.tick(clock_ns())
    finally:
        reporter.stop()
        camera.close()
    emit("stopped", **camera.stats())


class _Camera:
    """Sinks, ring and counters. The pacing thread owns it; `stats` may be called by another one."""

    def __init__(self, config: CameraConfig, clock_ns: Callable[[], int]) -> None:
        self._config = config
        self._clock_ns = clock_ns
        self._period_ns = NS_PER_S / config.rate_fps
        self._composer = Composer(config.size)
        self._ring: Ring | None = None
        self._attach_ns = 0  # when the ring is looked for next
        self._newest: RingPicture | None = None
        self._output = OutputPicture(self._composer.card("starting"), -1, -1, -1)
        self._kind = Kind.CARD
        self._badge = config.badge
        self._started_ns = clock_ns()
        self._stolen_s = stolen_s()
        self._last_tick_ns: int | None = None
        self._pace_ms = Histogram()
        self._ticks = self._repeats = 0
        self._shown: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()  # guards the counters above, for `stats`
        # Parsed here, so that a wrong one is told before anything is opened.
        specs = list(dict.fromkeys(parse_sink(spec) for spec in config.sinks))
        taken: collections.Counter[str] = collections.Counter(spec.id for spec in specs)
        twice = [name for name, count in taken.items() if count > 1]
        if twice:
            raise ConfigError(f"two sinks are called {twice[0]}: wanted different names")
        self._sinks = [
            SinkThread(
                spec,
                make_sink(spec, keep_existing=config.restarted, origin=config.origin),
                config.size,
                config.rate_fps,
                clock_ns,
            )
            for spec in specs
        ]

    def open_sinks(self) -> None:
        """Open all of them, with what is to be seen now. Raises SinkError for the first that fails;
        restarted, they open while the picture goes on.
        """
        self._choose(self._clock_ns())
        for sink in self._sinks:
            if sink.spec.id in self._config.off:
                sink.switch(False)
            sink.offer(self._output)
            sink.start()
        if self._config.restarted:
            return
        for sink in self._sinks:
            settled = sink.wait_until_settled(OPEN_PATIENCE_S)
            failure = sink.failure if settled else f"{sink.spec}: does not open"
            if failure is not None:
                raise SinkError(failure)
        self._started_ns = self._clock_ns()

    def ready_sinks(self) -> list[dict[str, Any]]:
        """For the event: what was opened, in words."""
        stats = [sink.stats() for sink in self._sinks]
        return [{**row, "message": row["message"] or row["title"]} for row in stats]

    def heed(self, messages: Messages) -> bool:
        """Act on what has arrived. False: stop."""
        while True:
            try:
                message = messages.get_nowait()
            except queue.Empty:
                return True
            if message is None or message.get("command") == "stop":
                return False
            if message.get("command") == "sink":
                for sink in self._sinks:
                    if sink.spec.id == message.get("id"):
                        sink.switch(bool(message.get("on")))
            elif message.get("command") == "badge":
                try:
                    self._badge = parse_badge(message.get("badge"))
                except ConfigError as error:
                    log.warning("%s", error)
            else:
                log.warning("unknown command %s was ignored", message.get("command"))

    def tick(self, now_ns: int) -> None:
        """One output period: the newest picture, or the card, to every sink."""
        last = self._output
        self._choose(now_ns)
        for sink in self._sinks:
            sink.offer(self._output)
        with self._lock:
            if self._last_tick_ns is not None:
                self._pace_ms.add((now_ns - self._last_tick_ns) / NS_PER_MS)
            self._last_tick_ns = now_ns
            self._ticks += 1
            self._repeats += self._output.seq >= 0 and self._output.seq == last.seq
            self._shown[self._kind.name.lower()] += 1

    def _choose(self, now_ns: int) -> None:
        """What is shown at this tick, and as what."""
        self._read_ring(now_ns)
        fresh = self._newest is not None and now_ns - self._newest.written_ns < STALE_NS
        number = self._tick_number(now_ns)
        if fresh and self._newest is not None:
            picture, self._kind = self._newest, self._newest.kind
            if self._kind is Kind.LIVE and not _still_live(picture, now_ns):
                self._kind = Kind.HELD  # the bridge, who says it, is gone
            badge = self._badge if self._kind in PAINTED else None
            self._output = OutputPicture(
                picture.pixels_HWC, number, picture.seq, picture.captured_ns, badge
            )
        else:
            self._kind = Kind.CARD
            card = "starting" if self._newest is None else "reconnecting"
            self._output = OutputPicture(self._composer.card(card), number, -1, -1)

    def stats(self) -> dict[str, Any]:
        """Everything that the stats and stopped events hold. gap_ms, capture_to_sink_ms: of the
        sink that is worst in it. spreads: both of every sink, in buckets.
        """
        sinks = [sink.stats() for sink in self._sinks]
        measured = [row for row in sinks if row["frames"] > 1]
        with self._lock:
            seconds = (self._clock_ns() - self._started_ns) / NS_PER_S
            pace_ms = dict(self._pace_ms.summary())
            ticks, repeats, shown = self._ticks, self._repeats, dict(self._shown)
        gaps = [row["gap_ms"] for row in measured] or [pace_ms]
        latencies = [row["capture_to_sink_ms"] for row in measured]
        return {
            "seconds": round(seconds, 3),
            "frames_out": ticks,
            "fps": round(ticks / seconds, 2) if seconds > 0 else 0.0,
            "gap_ms": max(gaps, key=lambda row: row["max"]),
            "pace_ms": pace_ms,
            "capture_to_sink_ms": max(latencies, key=lambda row: row["p50"], default=None),
            "repeats": repeats,
            "stolen_ms": round(1000 * (stolen_s() - self._stolen_s)),
            "shown": shown,
            "sinks": sinks,
            "spreads": {sink.spec.id: sink.spreads() for sink in self._sinks},
        }

    def close(self) -> None:
        """Every sink closed, its file finished."""
        for sink in self._sinks:
            sink.stop()
        if self._ring is not None:
            self._ring.close()

    def _tick_number(self, now_ns: int) -> int:
        """Counted by the clock, so that a recording keeps time over ticks that were missed."""
        number = round((now_ns - self._started_ns) / self._period_ns)
        return max(number, self._output.tick + 1)

    def _read_ring(self, now_ns: int) -> None:
        stale = self._newest is None or now_ns - self._newest.written_ns >= STALE_NS // 2
        if stale and now_ns >= self._attach_ns:
            self._attach_ns = now_ns + ATTACH_EVERY_NS
            self._attach()
        if self._ring is not None:
            after = self._newest.number if self._newest is not None else 0
            if self._ring.written < after:
                after = 0  # another ring: its count began anew
            self._newest = self._ring.newest(after) or self._newest

    def _attach(self) -> None:
        if self._ring is not None:
            if not self._ring.replaced():
                return
            self._ring.close()
            self._ring = None
        try:
            self._ring = Ring.attach(self._config.ring)
        except SourceError as error:
            log.debug("%s", error)


def _still_live(picture: RingPicture, now_ns: int) -> bool:
    """Whether what was live as it was written is so now: without its bridge it only grows old."""
    silent = now_ns - picture.written_ns > HELD_AFTER_NS
    return not silent and not 0 < picture.live_until_ns < now_ns


class _Reporter:
    """Says the statistics once a second, in a thread of its own: a parent that does not listen must
    not stop the picture.
    """

    def __init__(self, camera: _Camera, emit: Emit) -> None:
        self._camera = camera
        self._emit = emit
        self._stop = threading.Event()
        self.parent_gone = False
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(REPORT_S)

    def _run(self) -> None:
        while not self._stop.wait(REPORT_S):
            try:
                self._emit("stats", **self._camera.stats())
            except OSError:
                self.parent_gone = True
                return


if __name__ == "__main__":
    main()
