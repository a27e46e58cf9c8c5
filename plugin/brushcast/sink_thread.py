"""SinkThread: one sink in a thread of its own, so that a stuck one never stops another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from brushcast.badge import Corner
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.metrics import Histogram
from brushcast.process import step_back
from brushcast.sink import Sink, SinkSpec
from brushcast.slot import Latest

log = logging.getLogger(__name__)

NS_PER_MS = 1e6
NS_PER_S = 1_000_000_000
RETRY_NS = 5 * NS_PER_S  # a camera that was lost is tried again that often
POLL_S = 0.2
# Pictures that wait for a file, which wants all of them; what shows them live wants the newest.
FILE_DEPTH = 8
JOIN_S = 3.0
# Of the distributions that are told outside, in ms: finer where a promise lies (docs/METRICS.md).
GAP_BOUNDS_MS = (10, 20, 35, 50, 75, 100, 150, 250, 500, 1000, 2000)
LATENCY_BOUNDS_MS = (50, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 5000)

SinkPhase = Literal["OFF", "OPENING", "LIVE", "FAILED"]


@dataclass(frozen=True, slots=True)
class OutputPicture:
    """What every sink gets at one tick. pixels_HWC: [H W 3] uint8 RGB, read-only, shared by all
    sinks; each brings it to the output size if it has to, in its own thread. The very same array
    as at the last tick is the same picture.

    tick: output periods since the camera process began. seq, captured_ns: of the styled picture, -1
    for the card. badge: where every sink lays "AI" on it; None for what no model painted.
    """

    pixels_HWC: Pixels
    tick: int
    seq: int
    captured_ns: int
    badge: Corner | None = None


class SinkThread:
    """Owns one sink. `offer`, `switch`, `stats` and `stop` may be called by any thread; the sink is
    touched by its own alone.
    """

    def __init__(
        self,
        spec: SinkSpec,
        sink: Sink,
        size: Size,
        rate_fps: float,
        clock_ns: Callable[[], int],
    ) -> None:
        self.spec = spec
        self._sink = sink
        self._size = size
        self._rate_fps = rate_fps
        self._clock_ns = clock_ns
        self._offers: Latest[OutputPicture] = Latest(FILE_DEPTH if spec.kind == "file" else 1)
        self._stop = threading.Event()
        self._settled = threading.Event()  # live, failed or off: no longer opening
        self._lock = threading.Lock()  # guards everything below
        self._on = True
        self._phase: SinkPhase = "OPENING"
        self._message = ""
        self._written = self._dropped = 0
        self._gap_ms, self._latency_ms = Histogram(), Histogram()
        # The sink's own thread only:
        self._first_tick = 0
        self._last_seq = -1
        self._last_write_ns: int | None = None
        self._retry_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink-{spec.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, picture: OutputPicture) -> None:
        """The picture of this tick. Never waits: one that is still waiting is replaced and counted;
        for a file, once eight are.
        """
        if self._offers.put(picture) is not None:
            with self._lock:
                self._dropped += self._phase == "LIVE"

    def switch(self, on: bool) -> None:
        """Open it (again, when it failed) or close it."""
        with self._lock:
            self._on = on
            if on and self._phase in ("OFF", "FAILED"):
                self._phase, self._message = "OPENING", ""
                self._settled.clear()

    def wait_until_settled(self, timeout_s: float) -> bool:
        """Until it is no longer opening."""
        return self._settled.wait(timeout_s)

    def stop(self) -> None:
        """Close the sink and end the thread; one that hangs is left behind after 3 s."""
        self._stop.set()
        self._offers.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
            if self._thread.is_alive():
                log.warning("the sink %s does not answer and is left behind", self.spec.id)

    @property
    def failure(self) -> str | None:
        """The message of a sink that failed."""
        with self._lock:
            return self._message if self._phase == "FAILED" else None

    def stats(self) -> dict[str, Any]:
        """For the events: id, kind, title, on, state, message, frames, dropped, gap_ms,
        capture_to_sink_ms.
        """
        with self._lock:
            return {
                "id": self.spec.id,
                "kind": self.spec.kind if self.spec.kind != "auto" else "camera",
                "title": self._sink.title,
                "on": self._on,
                "state": self._phase,
                "message": self._message,
                "frames": self._written,
                "dropped": self._dropped,
                "gap_ms": dict(self._gap_ms.summary()),
                "capture_to_sink_ms": dict(self._latency_ms.summary()),
            }

    def spreads(self) -> dict[str, Any]:
        """The same two distributions as buckets: see `Histogram.spread`."""
        with self._lock:
            return {
                "gap_ms": self._gap_ms.spread(GAP_BOUNDS_MS),
                "capture_to_sink_ms": self._latency_ms.spread(LATENCY_BOUNDS_MS),
            }

    # ------------------------------------------------------------------ its own thread

    def _run(self) -> None:
        if self.spec.kind == "file":
            step_back()  # encoding may wait a little; a camera may not
        try:
            while not self._stop.is_set():
                picture = self._offers.get(POLL_S)
                with self._lock:
                    on, phase = self._on, self._phase
                if not on:
                    if phase != "OFF":
                        self._sink.close()
                        self._settle("OFF", self._message if phase == "FAILED" else "")
                elif picture is not None:
                    self._take(picture, phase)
        # noqa: BLE001 (the thread's top: reported; the other sinks go on)
        except Exception as error:
            log.exception("the sink %s failed unexpectedly", self.spec.id)
            self._settle("FAILED", f"{type(error).__name__}: {error}")
        finally:
            self._sink.close()

    def _take(self, picture: OutputPicture, phase: SinkPhase) -> None:
        try:
            if phase == "LIVE":
                tick = picture.tick - self._first_tick
                self._sink.write(picture.pixels_HWC, tick, picture.badge)
                self._count(picture)
            elif phase == "OPENING" or self._retry_due():
                self._first_tick = picture.tick
                self._sink.open(self._size, self._rate_fps, picture.pixels_HWC, picture.badge)
                self._count(picture)
                self._last_write_ns = None  # the pace begins with the next tick
                self._retry_ns = self._clock_ns() + RETRY_NS
                self._settle("LIVE", "")
        except SinkError as error:
            self._sink.close()
            if phase != "FAILED":
                log.warning("sink %s: %s", self.spec.id, error)
            if self._retry_ns is not None:
                self._retry_ns = self._clock_ns() + RETRY_NS
            if self.spec.kind == "auto" and self._retry_ns is None:
                with self._lock:
                    self._on = False
                self._settle("OFF", str(error))
            else:
                self._settle("FAILED", str(error))

    def _retry_due(self) -> bool:
        """Only what has worked before is tried again by itself, and never a file: its disk is
        full.
        """
        due = self._retry_ns is not None and self._clock_ns() >= self._retry_ns
        return due and self.spec.kind != "file"

    def _count(self, picture: OutputPicture) -> None:
        now_ns = self._clock_ns()
        with self._lock:
            self._written += 1
            if self._last_write_ns is not None:
                self._gap_ms.add((now_ns - self._last_write_ns) / NS_PER_MS)
            if picture.seq >= 0 and picture.seq != self._last_seq:
                self._latency_ms.add((now_ns - picture.captured_ns) / NS_PER_MS)
        self._last_write_ns = now_ns
        self._last_seq = picture.seq

    def _settle(self, phase: SinkPhase, message: str) -> None:
        with self._lock:
            self._phase, self._message = phase, message
        self._settled.set()
