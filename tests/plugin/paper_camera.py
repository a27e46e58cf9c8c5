"""run_camera with a clock of numbers and sinks that only write down."""

from __future__ import annotations

import collections
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brushcast.camera as module
from brushcast.camera import CameraConfig, run_camera
from brushcast.frame import Size
from brushcast.playout import Kind
from brushcast.ring import Ring

SIZE = Size(64, 48)
S = 1_000_000_000


class Clock:
    """A clock that sleeping moves on, with something to do at certain times."""

    def __init__(self) -> None:
        self.now_ns = 1000 * S
        self.script: collections.deque[tuple[int, Callable[[], None]]] = collections.deque()
        self.late_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        self.script.append((1000 * S + round(seconds * S), what))

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * S) + self.late_ns
        while self.script and self.script[0][0] <= self.now_ns:
            self.script.popleft()[1]()


class Recorder:
    """Stands for the sinks: keeps what it was offered, with the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offers: list[tuple[int, Any]] = []

    def offer(self, picture: Any) -> None:
        self.offers.append((self._clock.now_ns, picture))

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def switch(self, on: bool) -> None:
        self.offers.append((self._clock.now_ns, on))

    def wait_until_settled(self, timeout_s: float) -> bool:
        return True

    failure = None

    def stats(self) -> dict[str, Any]:
        return {"id": "null", "title": "null", "message": "", "frames": 0}

    def spreads(self) -> dict[str, Any]:
        return {"gap_ms": "of the sink"}


class Rig:
    """run_camera with a clock of numbers, one recording sink and a ring in a folder of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.clock = Clock()
        self.recorder = Recorder(self.clock)
        self.path = folder / "ring"
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ring: Ring | None = None
        self.written = 0
        recorder = self.recorder

        def sink_thread(spec: Any, *_: Any) -> Recorder:
            recorder.spec = spec  # type: ignore[attr-defined]
            return recorder

        monkeypatch.setattr(module, "SinkThread", sink_thread)
        monkeypatch.setattr(module, "raise_priority", lambda: None)
        monkeypatch.setattr(module, "avoid_pauses", lambda: None)

    def make_ring(self, size: Size = SIZE) -> None:
        self.ring = Ring.create(size, self.path)

    def write(
        self, value: int, *, kind: Kind = Kind.LIVE, size: Size = SIZE, live_for_s: float = 0.0
    ) -> None:
        assert self.ring is not None
        self.written += 1
        pixels = np.full((size.height, size.width, 3), value, np.uint8)
        now_ns = self.clock.now_ns
        self.ring.write(
            pixels, kind, seq=self.written, captured_ns=now_ns, now_ns=now_ns,
            live_until_ns=now_ns + round(live_for_s * S) if live_for_s else 0,
        )  # fmt: skip

    def run(self, seconds: float) -> list[tuple[float, Any]]:
        """What was offered: (seconds since the start, picture)."""
        self.clock.script = collections.deque(sorted(self.clock.script, key=lambda item: item[0]))
        self.clock.at(seconds, lambda: self.messages.put({"command": "stop"}))
        config = CameraConfig(
            ring=str(self.path), size=SIZE, rate_fps=30, sinks=("null",), badge="top-left"
        )
        run_camera(
            config,
            self.messages,
            lambda event, **data: self.events.append((event, data)),
            clock_ns=self.clock,
            sleep=self.clock.sleep,
        )
        if self.ring is not None:
            self.ring.close()
        return [((now - 1000 * S) / S, picture) for now, picture in self.recorder.offers[1:]]
