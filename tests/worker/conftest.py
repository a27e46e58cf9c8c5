"""What the worker's tests share: engines with random weights, moving pictures, a clock that is set
by hand."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

# Before torch: its waiting threads must not spin on cores that other tests use (see __main__).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch

from brushcast.frame import Frame, Pixels, Size
from brushcast.presets import Preset, load_presets
from brushcast_worker.chunk import Chunk, chunk_from_frames
from brushcast_worker.engine import Engine, Job, load_engine
from brushcast_worker.stages.cache import Cache, RollingCache
from brushcast_worker.vectors import Vectors, read_vectors

SIZE = Size(96, 64)
SMALL = (  # engines
    *("pocket-random", "wan-small-random", "wan-small-tiny-random", "wan-small-fp8-random"),
)
SHARED = Path(__file__).resolve().parents[3] / "shared"  # beside the repository
REFERENCE = "reference/wan_causal_small.safetensors"


@pytest.fixture(
    scope="session",
    params=[
        pytest.param((name, device), id=f"{name}-{device}", marks=marks)
        for name in SMALL
        for device, marks in (("cpu", ()), ("cuda", pytest.mark.gpu))
    ],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine there is, with random weights, on every device there is."""
    name, device = request.param
    return load_engine(name, device)


@pytest.fixture(scope="session")
def presets() -> dict[str, Preset]:
    return load_presets()


@pytest.fixture(scope="session")
def reference_file() -> Path:
    """Numbers of the published causal Wan, where they lie beside the repository."""
    path = SHARED / REFERENCE
    if not path.is_file():
        pytest.skip(f"no reference numbers at {path}")
    return path


@pytest.fixture(scope="session")
def reference(reference_file: Path) -> Vectors:
    """The same, read."""
    return read_vectors(reference_file)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class AtOnce(Executor):
    """Hands that are done before they are asked for it."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future[object] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Clock:
    """Nanoseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def sleep_ms(self, milliseconds: float) -> None:
        self.now_ns += int(milliseconds * 1e6)


def outcome(engine: Engine, jobs: Sequence[Job]) -> list[Chunk | None]:
    """One step: what comes out of it for each job, put together."""
    parts: list[list[Chunk]] = [[] for _ in jobs]
    engine.step(jobs, lambda n, pictures: parts[n].append(pictures))
    return [_whole(chunk) if chunk else None for chunk in parts]


def _whole(parts: Sequence[Chunk]) -> Chunk:
    for part in parts:
        if part.arrival is not None and part.arrival.done is not None:
            part.arrival.done.synchronize()  # painted on a CUDA stream of their own
    return Chunk(
        torch.cat([part.x_TCHW for part in parts]),
        tuple(seq for part in parts for seq in part.seqs),
        tuple(ns for part in parts for ns in part.captured_ns),
        reused=all(part.reused for part in parts),
    )


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """Every graph that a compiler would have had to build."""
    seen: list[torch.fx.GraphModule] = []

    def compiled(graph: torch.fx.GraphModule, _: object) -> object:
        seen.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=compiled))
    yield seen
    torch.compiler.reset()


def rolling(cache: Cache) -> RollingCache:
    """What engines on a CPU keep, with all that it can be asked."""
    assert isinstance(cache, RollingCache)
    return cache


def moving(count: int, size: Size = SIZE, *, seed: int = 0, speed_px: int = 5) -> list[Pixels]:
    """A blurred random scene that is pushed sideways; speed 0 is a still one."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size.height // 8, size.width // 8, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    return [np.ascontiguousarray(np.roll(scene, speed_px * i, 1)) for i in range(count)]


def frames(pictures: Sequence[Pixels], first_seq: int = 0) -> list[Frame]:
    return [Frame(p, first_seq + i, 1000 + first_seq + i) for i, p in enumerate(pictures)]


def chunks(pictures: Sequence[Pixels], device: str = "cpu", wanted: int = 4) -> list[Chunk]:
    """Whole chunks of consecutive pictures."""
    whole = frames(pictures)
    return [
        chunk_from_frames(whole[at : at + wanted], torch.device(device))
        for at in range(0, len(whole) - wanted + 1, wanted)
    ]


Moving = Callable[..., list[Pixels]]
