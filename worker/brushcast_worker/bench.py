"""Bench: what this machine does with an engine, from host memory to host memory, uint8 both ways.

The engine says when a stage begins; the clock waits for the device at each boundary, so a
measurement with stages is a little slower than one without. Both are taken: `fps` without,
`stages_ms` with.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import brushcast
from brushcast.errors import ConfigError
from brushcast.frame import Frame, Pixels, Size
from brushcast.metrics import Histogram
from brushcast.presets import load_presets
from brushcast_worker.chunk import Chunk, chunk_from_frames, read_back
from brushcast_worker.config import BenchConfig, physical_cores
from brushcast_worker.engine import Engine, EngineState, Job, load_engine
from brushcast_worker.memory import peak_bytes

WARM_UP_CHUNKS = 10  # a transformer's cache is full then, and what is recorded or compiled is
STILL_CHUNKS = 20
STAGED_SHARE = 0.3  # of the time goes into the measurement by stages
PICTURES = 24  # a round of moving pictures, made before the clock runs


class StageClock:
    """A `StageTimer`: milliseconds by stage; waits for the device when a stage begins."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.on = False
        self.spent_ms: dict[str, float] = {}
        self.device = torch.device("cpu")
        self._clock_ns = clock_ns
        self._stage = ""
        self._begun_ns = 0

    def begin(self, stage: str) -> None:
        """From here on the time is this stage's."""
        if not self.on:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now_ns = self._clock_ns()
        if self._stage:
            spent_ms = (now_ns - self._begun_ns) / 1e6
            self.spent_ms[self._stage] = self.spent_ms.get(self._stage, 0.0) + spent_ms
        self._stage, self._begun_ns = stage, now_ns


def measure(config: BenchConfig) -> dict[str, Any]:
    """The figures of `brushcast bench --json`. Raises ConfigError, WeightsError, OutOfMemory."""
    torch.set_num_threads(config.threads or physical_cores())
    clock = StageClock(time.perf_counter_ns)
    begun_ns = time.perf_counter_ns()
    engine = load_engine(config.engine, config.device, clock, config.quirks, decoder=config.decoder)
    clock.device = torch.device(engine.info.device)
    load_ms = (time.perf_counter_ns() - begun_ns) / 1e6
    size = config.size or engine.info.default_size
    steps = config.steps or engine.info.default_steps
    if steps not in engine.info.steps:
        wanted = " or ".join(map(str, engine.info.steps))
        raise ConfigError(f"--steps {steps}: {engine.info.name} can do {wanted}")
    stream = _Stream(engine, clock, size, steps)
    first_ms = stream.first_picture_ms()
    stream.warm_up()
    first_warm_ms = stream.first_picture_ms()
    stream.warm_up()
    plain = _repeat(stream, config.seconds * (1 - STAGED_SHARE), ahead=True)
    clock.on = True
    clock.spent_ms.clear()
    staged = _repeat(stream, config.seconds * STAGED_SHARE, ahead=False)
    clock.begin("")
    clock.on = False
    still_ms, still_share = stream.still()
    info = engine.info
    return {
        "engine": info.name,
        "description": info.description,
        "device": info.device,
        "device_name": info.device_name,
        "dtype": info.dtype,
        "attention_ms": {name: round(ms, 4) for name, ms in info.attention_ms.items()},
        "size": str(size),
        "steps": steps,
        "threads": torch.get_num_threads(),
        "fps": round(info.chunk_frames * 1000 / plain.mean, 2),
        "chunk_ms": {key: plain.summary()[key] for key in ("p50", "p95", "max")},
        "stages_ms": {key: round(ms / staged.count, 2) for key, ms in clock.spent_ms.items()},
        "still": {"chunk_ms": still_ms, "share_not_computed": still_share},
        "chunk_frames": info.chunk_frames,
        "first_frame_ms": round(first_ms, 1),
        "first_frame_warm_ms": round(first_warm_ms, 1),
        "load_ms": round(load_ms, 1),
        "peak_memory_mb": round(peak_bytes(info.device) / 1e6, 1),
        "chunks": plain.count,
        "versions": {
            "brushcast": brushcast.__version__,
            "torch": torch.__version__,
            "cuda": torch.version.cuda or "",
            "python": platform.python_version(),
        },
    }


class _Stream:
    """A stream of moving pictures through the engine."""

    def __init__(self, engine: Engine, clock: StageClock, size: Size, steps: int) -> None:
        self._engine, self._clock, self._size, self._steps = engine, clock, size, steps
        self._preset = next(iter(load_presets().values()))
        self._pictures = moving_pictures(size)
        self._seq = 0
        self._state: EngineState = None
        self._coming: list[Chunk] = []
        self.reused = 0  # chunks for which nothing was computed

    def first_picture_ms(self) -> float:
        """Of a stream that opens now; the source's own rate is not counted. The first time: from
        nothing but loaded weights."""
        self._state = None  # its memory is the next stream's
        begun_ns = time.perf_counter_ns()
        self._state = self._engine.open(self._preset, self._size)
        while not self.chunk():
            pass
        return (time.perf_counter_ns() - begun_ns) / 1e6

    def warm_up(self) -> None:
        for _ in range(WARM_UP_CHUNKS):
            self.chunk()

    def still(self) -> tuple[float, float]:
        """The scene stands still from here on: milliseconds of a chunk at the end, and the share of
        the chunks for which nothing was computed."""
        self._pictures, self.reused = [self._pictures[self._seq % PICTURES]], 0
        took_ms = Histogram()
        for _ in range(STILL_CHUNKS):
            begun_ns = time.perf_counter_ns()
            self.chunk()
            took_ms.add((time.perf_counter_ns() - begun_ns) / 1e6)
        return took_ms.summary()["p50"], round(self.reused / STILL_CHUNKS, 2)

    def chunk(self, *, ahead: bool = False) -> int:
        """One chunk in; how many pictures came out: its own, or, `ahead`, those of the one before,
        as `loop.Loop` reads them back while there is more to do."""
        frames = []
        for _ in range(self._engine.frames_wanted(self._state)):
            frames.append(Frame(self._pictures[self._seq % len(self._pictures)], self._seq, 0))
            self._seq += 1
        self._clock.begin("transfer_in")
        job = Job(
            state=self._state,
            chunk=chunk_from_frames(frames, self._clock.device),
            preset=self._preset,
            steps=self._steps,
        )
        count, before = 0, self._coming
        self._coming = []

        def put(_: int, pictures: Chunk) -> None:
            nonlocal count
            if ahead and pictures.coming:
                self._coming.append(pictures)
                return
            self._clock.begin("transfer_out")
            count += len(read_back(pictures).pictures)
            self.reused += pictures.reused

        self._engine.step([job], put)
        return count + sum(len(read_back(pictures).pictures) for pictures in before)


def _repeat(stream: _Stream, seconds: float, *, ahead: bool) -> Histogram:
    took_ms = Histogram()
    stream.chunk(ahead=ahead)
    end_ns = time.perf_counter_ns() + int(seconds * 1e9)
    while time.perf_counter_ns() < end_ns or not took_ms.count:
        begun_ns = time.perf_counter_ns()
        stream.chunk(ahead=ahead)
        took_ms.add((time.perf_counter_ns() - begun_ns) / 1e6)
    return took_ms


def moving_pictures(size: Size) -> list[Pixels]:
    """Smooth blobs that move all over the picture: nothing is still, nothing is a cut."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : size.height, 0 : size.width].astype(np.float32)
    waves = rng.uniform(0.02, 0.12, (3, 2))
    pictures = []
    for number in range(PICTURES):
        turn = 2 * np.pi * number / PICTURES
        planes = [np.sin(a * x + b * y + turn + i) for i, (a, b) in enumerate(waves)]
        pixels_HWC = (127.5 + 110 * np.stack(planes, -1)).astype(np.uint8)
        pictures.append(np.ascontiguousarray(pixels_HWC))
    return pictures
