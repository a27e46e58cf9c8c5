"""A loop with its mail, a clock that is set by hand, and an engine: one that obeys the test, or a
real one."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from brushcast.errors import PromptError
from brushcast.frame import Frame, Pixels, Size
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState
from brushcast_worker.chunk import Arrival, Chunk, as_levels
from brushcast_worker.engine import Engine, EngineInfo, Job, Put
from brushcast_worker.loop import Loop
from brushcast_worker.mail import (
    Arrived,
    Opened,
    Painted,
    Problem,
    Refused,
    Stream,
    ToGpu,
    ToLink,
    new_inbox,
)
from tests.worker.conftest import Clock

STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=64, height=64
)
A, B = Stream(1, 1), Stream(2, 1)


class FakeEngine:
    """Gives every chunk back inverted; fails and takes time as the test says."""

    def __init__(self, clock: Clock, *, steps: tuple[int, ...] = (1,), late: int = 0) -> None:
        self.info = EngineInfo(
            name="fake",
            device="cpu",
            device_name="a fake",
            dtype="float32",
            chunk_frames=4,
            steps=steps,
            default_steps=steps[-1],
            default_size=Size(64, 64),
            size_multiple=16,
            description="",
            late_frames=late,
        )
        self.clock = clock
        self.takes_ms = 10.0
        self.parts = 1  # in which a chunk comes out
        self.part_takes_ms = 0.0
        self.fails: list[Exception] = []
        self.fails_to_open: list[Exception] = []
        self.fails_midway: list[Exception] = []  # with a part of the chunk put out already
        self.spoils = 0
        self.spoilt_seqs: set[int] = set()
        self.blank_seqs: set[int] = set()
        self.spoilt_prompt = ""
        self.later = False  # pictures are on their way when a step is over, as from a GPU
        self.waited = 0  # for how many parts
        self.opened: list[Size] = []
        self.batches: list[list[Job]] = []

    def check(self, preset: Preset) -> str:
        if "ink" not in preset.prompt:
            raise PromptError(f"no style known in {preset.prompt!r}; there is ink")
        return "the nearest is ink" if "inky" in preset.prompt else ""

    def open(self, preset: Preset, size: Size) -> list[tuple[torch.Tensor, int, int]]:
        """Pictures that came and did not go yet."""
        if self.fails_to_open:
            raise self.fails_to_open.pop(0)
        self.opened.append(size)
        return []

    def counts(self, state: list[Chunk]) -> dict[str, int]:
        return {"opened": len(self.opened)}

    def frames_wanted(self, state: object) -> int:
        return 4

    def step(self, jobs: Sequence[Job], put: Put) -> None:
        self.batches.append(list(jobs))
        self.clock.sleep_ms(self.takes_ms)
        if self.fails:
            raise self.fails.pop(0)
        for n, job in enumerate(jobs):
            chunk = self._one(job)
            if chunk is not None:
                self._put(chunk, partial(put, n))

    def _put(self, chunk: Chunk, put: Callable[[Chunk], None]) -> None:
        """In as many parts as asked; the last one may fail."""
        size = len(chunk.seqs) // self.parts
        for at in range(0, len(chunk.seqs), size):
            if at and self.fails_midway:
                raise self.fails_midway.pop(0)
            part = dataclasses.replace(
                chunk,
                x_TCHW=chunk.x_TCHW[at : at + size],
                seqs=chunk.seqs[at : at + size],
                captured_ns=chunk.captured_ns[at : at + size],
            )
            put(self._sent(part) if self.later else part)
            self.clock.sleep_ms(self.part_takes_ms)

    def _sent(self, chunk: Chunk) -> Chunk:
        """On its way; `synchronize` waits, and fails as the test says."""
        x_TCHW = chunk.x_TCHW
        extremes_2 = torch.stack([x_TCHW.min(), x_TCHW.max()])
        arrival = Arrival(as_levels(x_TCHW), extremes_2, self)
        return dataclasses.replace(chunk, arrival=arrival)

    def synchronize(self) -> None:
        self.waited += 1
        if self.fails_midway:
            raise self.fails_midway.pop(0)

    def _one(self, job: Job) -> Chunk | None:
        chunk = job.chunk
        job.state.extend(zip(chunk.x_TCHW, chunk.seqs, chunk.captured_ns, strict=True))
        count = len(job.state) - 4 * (job.steps - 1) - self.info.late_frames
        if count <= 0:
            return None
        out, job.state[:count] = job.state[:count], []
        x_TCHW, seqs, captured_ns = zip(*out, strict=True)
        chunk = Chunk(torch.stack(x_TCHW), seqs, captured_ns)
        x_TCHW = -chunk.x_TCHW
        if self.spoils or job.preset.prompt == self.spoilt_prompt:
            self.spoils = max(0, self.spoils - 1)
            x_TCHW = torch.full_like(x_TCHW, float("nan"))
        for i, seq in enumerate(chunk.seqs):
            if seq in self.spoilt_seqs:
                x_TCHW[i] = float("nan")
            if seq in self.blank_seqs:
                x_TCHW[i] = 0.1
        return dataclasses.replace(chunk, x_TCHW=x_TCHW)


class Rig:
    """A loop, its mail, and a hand on the clock."""

    def __init__(self, clock: Clock, *, real: Engine | None = None, **engine: object) -> None:
        """engine: what the fake one is like, where there is no real one."""
        self.clock = clock
        self.engine = FakeEngine(clock, **engine)
        self.inbox: queue.Queue[ToGpu] = new_inbox()
        self.posted: list[ToLink] = []
        self.stop = threading.Event()
        self.loop = Loop(
            real or self.engine,
            inbox=self.inbox,
            post=self.posted.append,
            clock_ns=clock,
            stop=self.stop,
        )

    def open(self, stream: Stream = A, **changes: object) -> Rig:
        state = dataclasses.replace(STATE, **changes)
        self.inbox.put(Opened(stream, state))
        return self

    def send(
        self,
        *seqs: int,
        stream: Stream = A,
        end: bool = False,
        allowed_ms: int = 500,
        pictures: Sequence[Pixels] = (),
    ) -> Rig:
        """pictures: by seq; others are made up."""
        for seq in seqs:
            pixels_HWC = pictures[seq] if pictures else made_up(seq)
            letter = Arrived(
                stream=stream,
                frame=Frame(pixels_HWC, seq, seq),
                arrived_ns=self.clock.now_ns,
                deadline_ns=self.clock.now_ns + allowed_ms * 1_000_000,
                end=end and seq == seqs[-1],
            )
            self.inbox.put(letter)
        return self

    def turn(self, times: int = 1) -> Rig:
        for _ in range(times):
            self.loop.turn(0)
        return self

    def painted(self, stream: Stream = A) -> list[int]:
        return [p.seq for p in self.posted if isinstance(p, Painted) and p.stream == stream]

    def refused(self) -> list[tuple[int, str]]:
        return [(p.seq, p.reason) for p in self.posted if isinstance(p, Refused)]

    def problems(self) -> list[tuple[str, bool]]:
        return [(p.code, p.fatal) for p in self.posted if isinstance(p, Problem)]


def made_up(seq: int) -> Pixels:
    """A picture that tells its seq."""
    pixels_HWC = np.full((64, 64, 3), 255 - seq, np.uint8)
    pixels_HWC[: seq + 1] = 0
    return pixels_HWC
