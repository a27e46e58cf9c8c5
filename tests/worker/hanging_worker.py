"""A worker whose model never comes back from some chunk, as a program of its own.

`python -m tests.worker.hanging_worker CHUNK HOW OPTIONS...`: chunk 0 is a stream's first; HOW is
`loop` (in Python: other threads run), `held` (in C, with the interpreter's lock: none does) or
`load` (while it is loaded); the options are those of `brushcast-worker`. The engine beneath is a
real one.
"""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker import serve
from brushcast_worker.__main__ import main
from brushcast_worker.engine import Engine, EngineState, Job, Put, load_engine


class Hanging:
    """Another engine, until so many chunks are done."""

    def __init__(self, engine: Engine, at_chunk: int, how: str) -> None:
        self._engine, self._how = engine, how
        self._left = at_chunk + engine.info.warm_up_chunks
        self.info = dataclasses.replace(engine.info, slow_start_s=600.0)

    def check(self, preset: Preset) -> str:
        return self._engine.check(preset)

    def open(self, preset: Preset, size: Size) -> EngineState:
        return self._engine.open(preset, size)

    def frames_wanted(self, state: EngineState) -> int:
        return self._engine.frames_wanted(state)

    def counts(self, state: EngineState) -> Mapping[str, int]:
        return self._engine.counts(state)

    def step(self, jobs: Sequence[Job], put: Put) -> None:
        if self._left == 0:
            hang(self._how)
        self._left -= 1
        self._engine.step(jobs, put)


def hang(how: str) -> NoReturn:
    sys.stderr.write("stuck\n")
    sys.stderr.flush()
    while True:
        if how == "held":
            ctypes.PyDLL(None).sleep(3600)
        sum(range(1000))


if __name__ == "__main__":
    at_chunk, how = int(sys.argv[1]), sys.argv[2]

    def load(name: str, device: str, **options: object) -> Engine:
        if how == "load":
            hang(how)
        engine = load_engine(name, device, **options)
        return Hanging(engine, at_chunk, how)

    serve.load_engine = load  # type: ignore[attr-defined]
    main(sys.argv[3:])
