"""History: the last ten minutes, one sample a second, for the panel's charts.

Written by the bridge's thread, read by the panel's.
"""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass, fields
from typing import Any

SAMPLES_MOST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One second. A figure is None where it is not known.

    at_s: since the bridge began. state: of the product; worker: of the worker; rung: of the ladder.
    latency_ms: mean age of the pictures that came on. fps_in, fps_styled, fps_out: of the source,
    from the worker, to the outputs. gpu_share, gpu_memory_share: 0..1. dropped: pictures given up
    in this second. ssim: of neighbours, motion taken out. alerts: how many are on.
    """

    at_s: int
    state: str
    worker: str
    rung: str
    latency_ms: float | None
    fps_in: float
    fps_styled: float
    fps_out: float | None
    gpu_share: float | None
    gpu_memory_share: float | None
    dropped: int
    ssim: float | None
    alerts: int


class History:
    """The newest `SAMPLES_MOST` samples; `at_s` rises."""

    def __init__(self) -> None:
        self._samples: collections.deque[Sample] = collections.deque(maxlen=SAMPLES_MOST)
        self._lock = threading.Lock()

    def add(self, sample: Sample) -> None:
        with self._lock:
            assert not self._samples or sample.at_s > self._samples[-1].at_s
            self._samples.append(sample)

    def since(self, after_s: int) -> dict[str, list[Any]]:
        """Column by column, what is newer than `after_s` (-1: everything), the oldest first."""
        with self._lock:
            rows = [sample for sample in self._samples if sample.at_s > after_s]
        return {
            field.name: [_short(getattr(row, field.name)) for row in rows]
            for field in fields(Sample)
        }


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
