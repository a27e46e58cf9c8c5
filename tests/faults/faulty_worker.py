"""The worker with an engine that fails when it is told to.

`python -m tests.faults.faulty_worker serve ...` is `brushcast-worker serve ...`: loop, link and
sessions are the product's own. Each step first reads the file that BRUSHCAST_TEST_FAULT names:

    once KIND     the next step with a real picture does it, and takes the order away
    KIND          every step does it, warming up too, for as long as the file says so

loop: never comes back. slow N: takes N times as long. crash: dies of a segmentation fault.
raise: RuntimeError. memory: OutOfMemory. nan, constant: pictures that nobody must see.
What each step with real pictures took is appended to BRUSHCAST_TEST_STEPS: the engine's own delay.
BRUSHCAST_TEST_ENGINE=echo takes `Echo` instead of the model that --engine names.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FAULT_VARIABLE = "BRUSHCAST_TEST_FAULT"
ENGINE_VARIABLE = "BRUSHCAST_TEST_ENGINE"
STEPS_VARIABLE = "BRUSHCAST_TEST_STEPS"
ECHO_PICTURE_S = 0.02  # what the embedded model takes for one on two cores: docs/BENCHMARKS.md
ECHO_CHUNK = 4


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the worker's own main, before torch
    from unittest.mock import patch

    from brushcast_worker import engine
    from brushcast_worker.__main__ import main as worker_main

    real = engine.load_engine

    def load(*given: Any, **named: Any) -> Any:
        echo = os.environ.get(ENGINE_VARIABLE) == "echo"
        return Faulty(Echo() if echo else real(*given, **named), _order_file(), _steps_file())

    with patch.object(engine, "load_engine", load):
        worker_main()


def _order_file() -> Path:
    return Path(os.environ.get(FAULT_VARIABLE, os.devnull))


def _steps_file() -> int | None:
    """Open for appending: a line is written whole or not at all."""
    path = os.environ.get(STEPS_VARIABLE)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None


class Order:
    """What the file says at this moment. is_real: there is a picture that somebody waits for."""

    def __init__(self, path: Path, *, is_real: bool) -> None:
        self.kind, self.factor = "", 1.0
        try:
            words = path.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return
        if words[:1] == ["once"]:
            if not is_real:
                return
            try:
                path.rename(path.with_suffix(".taken"))
            except OSError:
                return  # another worker took it
            words = words[1:]
        if words:
            self.kind = words[0]
            self.factor = float(words[1]) if len(words) > 1 else 1.0


class Faulty:
    """Implements `brushcast_worker.engine.Engine`: `inner`, until there is an order."""

    def __init__(self, inner: Any, order_file: Path, steps_file: int | None = None) -> None:
        self._inner = inner
        self._steps_file = steps_file
        self._order_file = order_file
        self.info = inner.info

    def check(self, preset: Any) -> str:
        return str(self._inner.check(preset))

    def open(self, preset: Any, size: Any) -> Any:
        return self._inner.open(preset, size)

    def frames_wanted(self, state: Any) -> int:
        return int(self._inner.frames_wanted(state))

    def counts(self, state: Any) -> Mapping[str, int]:
        counts: Mapping[str, int] = self._inner.counts(state)
        return counts

    def step(self, jobs: Sequence[Any], put: Callable[[int, Any], None]) -> None:
        from brushcast.errors import OutOfMemory

        is_real = any(seq >= 0 for job in jobs for seq in job.chunk.seqs)
        order = Order(self._order_file, is_real=is_real)
        begun_s = time.monotonic()
        if order.kind == "loop":
            while True:
                pass
        elif order.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order.kind == "raise":
            raise RuntimeError("the test engine was told to raise")
        elif order.kind == "memory":
            raise OutOfMemory("the test engine was told that there is none")
        elif order.kind in ("nan", "constant"):
            self._inner.step(jobs, lambda number, chunk: put(number, _spoilt(chunk, order.kind)))
        else:
            self._inner.step(jobs, put)
            time.sleep((order.factor - 1) * (time.monotonic() - begun_s))
        if is_real and self._steps_file is not None:
            now_ns = time.monotonic_ns()
            line = f"{now_ns} {1000 * (time.monotonic() - begun_s):.1f}\n"
            os.write(self._steps_file, line.encode())


def _spoilt(chunk: Any, kind: str) -> Any:
    import dataclasses

    import torch

    value = float("nan") if kind == "nan" else 0.2
    return dataclasses.replace(
        chunk, x_TCHW=torch.full_like(chunk.x_TCHW, value), arrival=None, reused=False
    )


class Echo:
    """Implements `brushcast_worker.engine.Engine`: takes the colour out, and time as the embedded
    model does, but no processor. So no raw picture is among its own, the source's number is, and
    what is late is late for another reason than a busy machine.
    """

    def __init__(self) -> None:
        from brushcast.frame import Size
        from brushcast_worker.engine import EngineInfo

        self.info = EngineInfo(
            name="echo", device="cpu", device_name="a test", dtype="float32",
            chunk_frames=ECHO_CHUNK, steps=(1, 2), default_steps=1, default_size=Size(512, 288),
            size_multiple=16, description="takes the colour out",
        )  # fmt: skip

    def check(self, preset: Any) -> str:
        return ""

    def open(self, preset: Any, size: Any) -> Any:
        return object()

    def frames_wanted(self, state: Any) -> int:
        return ECHO_CHUNK

    def counts(self, state: Any) -> Mapping[str, int]:
        return {}

    def step(self, jobs: Sequence[Any], put: Callable[[int, Any], None]) -> None:
        import torch

        from brushcast_worker.chunk import Chunk

        luma_C = torch.tensor([0.2126, 0.7152, 0.0722])  # BT.709
        for number, job in enumerate(jobs):
            chunk = job.chunk
            for at, (seq, captured_ns) in enumerate(
                zip(chunk.seqs, chunk.captured_ns, strict=True)
            ):
                time.sleep(ECHO_PICTURE_S)
                grey_HW = torch.einsum("c,chw->hw", luma_C, chunk.x_TCHW[at])
                x_TCHW = grey_HW.clamp(-1, 1).expand(1, 3, *grey_HW.shape).contiguous()
                put(number, Chunk(x_TCHW, (seq,), (captured_ns,)))


if __name__ == "__main__":
    main()
