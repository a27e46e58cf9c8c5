"""Ten minutes that never were: what the panel's charts and /metrics show without a bridge."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from brushcast.bridge_metrics import FRAMES_IN, LATENCY
from brushcast.exposition import Point, Spread
from brushcast.health import Health
from brushcast.history import SAMPLES_MOST, History, Sample

OUTAGE_S = range(300, 308)  # the worker is gone
LOAD_S = range(420, 520)  # and the machine is busy


class FakeTelemetry:
    """A `PanelTelemetry`. `seconds` samples are there from the start; `pass_second` adds one."""

    def __init__(self, seconds: int = SAMPLES_MOST) -> None:
        self.health = Health(time.monotonic_ns())
        self.frames_in = 5402
        self._history, self._second = History(), 0
        for _ in range(seconds):
            self.pass_second()

    def pass_second(self) -> None:
        self._second += 1
        self._history.add(sample(self._second))

    def points(self) -> Iterable[Point]:
        yield Point(FRAMES_IN, self.frames_in)
        yield Point(LATENCY, Spread([(0.2, 30), (0.5, 59)], 11.5, 60), ("camera",))

    def history(self, after_s: int) -> dict[str, list[Any]]:
        return self._history.since(after_s)


def sample(second: int) -> Sample:
    """An even stream with an outage and a time of load."""
    wave = math.sin(second / 9) + 0.5 * math.sin(second / 2.3)
    gone = second in OUTAGE_S
    busy = second in LOAD_S
    styled_fps = 0.0 if gone else (22 + wave if busy else 29.8 + 0.1 * wave)
    return Sample(
        at_s=second,
        state="RECONNECTING" if gone else "STARTING" if second < 6 else "LIVE",
        worker="reconnecting" if gone else "loading" if second < 6 else "ready",
        rung="" if second < 6 else "fewer steps" if busy else "full",
        latency_ms=None if gone or second < 6 else 184 + 9 * wave + (140 if busy else 0),
        fps_in=30.0,
        fps_styled=0.0 if second < 6 else styled_fps,
        fps_out=30.0,
        gpu_share=None if gone or second < 6 else min(1.0, 0.62 + 0.04 * wave + 0.3 * busy),
        gpu_memory_share=None if gone or second < 6 else 0.41,
        dropped=30 if gone else max(0, round(6 + 2 * wave)) if busy else 0,
        ssim=None if gone or second < 6 else 0.94 + 0.01 * wave,
        alerts=int(gone or busy),
    )
