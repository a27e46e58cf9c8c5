"""WorkerFigures: how the worker fares over all its streams; for PONG and for /metrics. Whether it
is alive and ready is the pulse's to say.

The GPU thread writes and publishes; the thread that answers scrapes reads what was published last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brushcast.metrics import Histogram
from brushcast.wire.messages import WorkerStatus
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.engine import Engine, EngineInfo
from brushcast_worker.flight import Turn
from brushcast_worker.gpu_gauge import GpuGauge, GpuReading
from brushcast_worker.session import Session

READ_GPU_EVERY_NS = 1_000_000_000
SMOOTHING = 0.3  # weight of the newest batch
STEP_BOUNDS_MS = (5, 10, 16.67, 25, 33.33, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000)
NO_STEPS = Histogram().spread(STEP_BOUNDS_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was true at the last status. Totals are since the process began.

    pictures: painted for a stream. padding: computed because a chunk must be full. steps: of a
    batch, as of `Histogram.spread` in ms. rungs: how many streams are at each.
    """

    streams: int = 0
    batches: int = 0
    pictures: int = 0
    padding: int = 0
    reused: int = 0
    steps: dict[str, Any] = dataclasses.field(default_factory=lambda: NO_STEPS)
    batch_share: float = -1.0
    cache_share: float = -1.0
    queue_frames: int = 0
    rungs: dict[str, int] = dataclasses.field(default_factory=dict)
    memory_bytes: int = 0
    gpu: GpuReading | None = None


class WorkerFigures:
    """One process. `published` is for any thread, the rest is the GPU thread's."""

    def __init__(self, *, gauge: Callable[[str], GpuGauge] = GpuGauge) -> None:
        """gauge: made of the device's name once the engine is there."""
        self._make_gauge = gauge
        self._gpu: GpuGauge | None = None
        self.info: EngineInfo | None = None
        self._reading: GpuReading | None = None
        self._read_ns: int | None = None
        self._batches = self._pictures = self._padding = self._reused = 0
        self._steps_ms = Histogram()
        self._batch_share = -1.0
        self.published = Published()

    # ------------------------------------------------------------------ what happened

    def loaded(self, info: EngineInfo) -> None:
        """The engine is there, and its device known."""
        self.info, self._gpu = info, self._make_gauge(info.device)

    def painted(self, seqs: Sequence[int], *, reused: bool) -> None:
        """These pictures went out, but for padding."""
        pictures = sum(seq != PADDING_SEQ for seq in seqs)
        self._pictures += pictures
        self._reused += pictures if reused else 0

    def ran(self, turns: Iterable[Turn], took_ns: int, best_rate: float) -> None:
        """A batch was computed. best_rate: pictures per second of the best one of this shape; 0
        while unknown."""
        seqs = [frame.seq for turn in turns for frame in turn.frames]
        wanted = sum(seq != PADDING_SEQ for seq in seqs)
        self._batches += 1
        self._padding += len(seqs) - wanted
        self._steps_ms.add(took_ns / 1e6)
        if best_rate <= 0 or took_ns <= 0:
            return
        share = min(1.0, wanted * 1e9 / took_ns / best_rate)
        if self._batch_share < 0:
            self._batch_share = share
        self._batch_share += SMOOTHING * (share - self._batch_share)

    # ------------------------------------------------------------------ what is said of it

    def tell(
        self, sessions: Iterable[Session], engine: Engine, memory_bytes: int, now_ns: int
    ) -> list[WorkerStatus]:
        """Each stream's status, with what is known of the device and of its caches; published for
        scrapes too."""
        statuses = []
        for session in sessions:
            state = session.engine_state
            counts = {} if state is None else engine.counts(state)
            statuses.append(self._filled(session.status(now_ns, memory_bytes), counts, now_ns))
        self._publish(statuses, memory_bytes, now_ns)
        return statuses

    def _filled(self, status: WorkerStatus, counts: Mapping[str, int], now_ns: int) -> WorkerStatus:
        gpu = self._reading_now(now_ns)
        chunks = counts.get("chunks", 0)
        return dataclasses.replace(
            status,
            gpu_share=gpu.share if gpu else -1.0,
            gpu_used_bytes=gpu.used_bytes if gpu else 0,
            gpu_total_bytes=gpu.total_bytes if gpu else 0,
            batch_share=round(self._batch_share, 4),
            cache_share=round(counts.get("remembered", 0) / chunks, 4) if chunks else -1.0,
        )

    def _publish(self, statuses: list[WorkerStatus], memory_bytes: int, now_ns: int) -> None:
        shares = [status.cache_share for status in statuses if status.cache_share >= 0]
        rungs: dict[str, int] = {}
        for status in statuses:
            rungs[status.rung] = rungs.get(status.rung, 0) + 1
        self.published = Published(
            streams=len(statuses),
            batches=self._batches,
            pictures=self._pictures,
            padding=self._padding,
            reused=self._reused,
            steps=self._steps_ms.spread(STEP_BOUNDS_MS),
            batch_share=self._batch_share,
            cache_share=sum(shares) / len(shares) if shares else -1.0,
            queue_frames=sum(status.queue_frames for status in statuses),
            rungs=rungs,
            memory_bytes=memory_bytes,
            gpu=self._reading_now(now_ns),
        )

    def _reading_now(self, now_ns: int) -> GpuReading | None:
        if self._gpu is None:
            return None
        if self._read_ns is None or now_ns - self._read_ns >= READ_GPU_EVERY_NS:
            self._read_ns, self._reading = now_ns, self._gpu.read()
        return self._reading
