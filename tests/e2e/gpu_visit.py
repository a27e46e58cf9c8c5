"""All that a machine with a CUDA device is asked in one visit:
PYTHONPATH=plugin:worker:. python tests/e2e/gpu_visit.py OUT [--only together,graphs] [--device cpu]
(from the repository's root).

Lent machines are dear and bare, so each part is on its own, and one failure does not cost the
others: the tests marked `gpu`, the bench at every size and number of steps, the picture held
against the CPU's, several streams together, with CUDA graphs and operator by operator, and where
the time goes. Everything goes to OUT as text and JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brushcast.frame import Frame, Pixels, Size
from brushcast.presets import Preset, load_presets
from brushcast_worker.bench import StageClock, measure, moving_pictures
from brushcast_worker.chunk import Chunk, chunks_from_frames, read_back
from brushcast_worker.config import BenchConfig, physical_cores
from brushcast_worker.engine import Engine, Job, load_engine
from brushcast_worker.stages import motion
from brushcast_worker.stages.eager import Eager

log = logging.getLogger(__name__)

SIZES = (Size(384, 384), Size(512, 288), Size(512, 512), Size(640, 352), Size(1280, 720))
SIZE = Size(512, 512)  # of what is not asked at every size
STREAMS = (1, 2, 4, 8, 16)
SECONDS = 1.5
WARM_UP_TICKS, TICKS, CHUNKS = 6, 30, 6


class Visit:
    """Parts by name, in the order in which they are asked."""

    def __init__(self, out: Path, device: str, engine: str) -> None:
        self.out, self.device, self.engine = out, device, engine

    def load(self, device: str, clock: StageClock | None = None) -> Engine:
        return load_engine(self.engine, device, clock)

    def tests(self) -> None:
        options = "-m pytest -m gpu -p no:cacheprovider -v --durations=5 tests/worker".split()
        options.append("--continue-on-collection-errors")  # a bare machine lacks a library or two
        done = subprocess.run(
            [sys.executable, *options], capture_output=True, text=True, check=False
        )
        (self.out / "pytest.txt").write_text(done.stdout + done.stderr)
        log.info(done.stdout[-1500:])

    def together(self) -> None:
        """Several streams in one forward, each with a look of its own, from and to host memory."""
        engine, found = self.load(self.device), {}
        for count in STREAMS:
            found[count] = ticks(_streams(engine, count))
            log.info({count: found[count]})
        self._write("together", found)

    def graphs(self) -> None:
        """Where a tick's time goes, with CUDA graphs and without."""
        clock = StageClock(time.perf_counter_ns)
        engine = self.load(self.device, clock)
        found: dict[str, Any] = {"host": host(self.device)}
        log.info(found)
        for count in (1, 16):
            streams = _streams(engine, count)
            one: dict[str, Any] = {"graphs": ticks(streams)}
            one["stages_ms"] = stages(streams, clock, torch.device(self.device))
            one["host_ms"] = stages(streams, clock, torch.device("cpu"))
            with operator_by_operator(engine):
                one["eager"] = ticks(_streams(engine, count), number=6, warm_up=3)
            one["ratio"] = round(one["graphs"]["fps"] / one["eager"]["fps"], 2)
            one["off_by_levels"] = difference(engine, count)
            found[str(count)] = one
            log.info({count: one})
        if self.device != "cpu":
            torch.backends.cudnn.benchmark = True
            tried = self.load(self.device, clock)
            for count in (1, 16):
                streams = _streams(tried, count)
                one = {"graphs": ticks(streams)}
                one["stages_ms"] = stages(streams, clock, torch.device(self.device))
                found[f"{count}, kernels tried out"] = one
            torch.backends.cudnn.benchmark = False
        self._write("graphs", found)
        log.info(found)

    def profile(self) -> None:
        """The kernels of a tick, of one stream and of sixteen."""
        engine, text = self.load(self.device), ""
        for count in (1, 16):
            streams = _streams(engine, count)
            ticks(streams, number=3)
            with torch.profiler.profile() as seen:
                ticks(streams, number=5, warm_up=0)
            for by in ("self_cpu_time_total", "self_cuda_time_total"):
                if self.device != "cpu" or "cpu" in by:
                    averages = seen.key_averages()
                    table = averages.table(sort_by=by, row_limit=60, max_name_column_width=110)
                    text += f"== {count} streams, 5 ticks, by {by}\n{table}\n"
            (self.out / "profile.txt").write_text(text)

    def benches(self) -> None:
        found = []
        for size in SIZES:
            for steps in (1, 2):
                config = BenchConfig(
                    engine=self.engine, device=self.device, size=size, steps=steps, seconds=SECONDS
                )
                found.append(measure(config))
                self._write("bench", found)
                keys = "size", "steps", "fps", "chunk_ms", "stages_ms"
                log.info({key: found[-1][key] for key in keys})

    def against_the_cpu(self) -> None:
        """Worst picture's PSNR of one device to the other, by look."""
        engines, found = [self.load(device) for device in ("cpu", self.device)], {}
        for name in load_presets():
            both = [_painted(engine, name) for engine in engines]
            error = np.square(both[0].astype(float) - both[1]).mean((1, 2, 3))
            found[name] = round(float(10 * np.log10(255**2 / error).min()), 2)
        self._write("cpu", found)
        log.info(found)

    def _write(self, name: str, found: object) -> None:
        (self.out / f"{name}.json").write_text(json.dumps(found, indent=1))


class Stream:
    """Moving pictures under one look, four at a time."""

    def __init__(self, engine: Engine, look: Preset, size: Size, pictures: list[Pixels]) -> None:
        self.engine, self.look, self.pictures, self.sent = engine, look, pictures, 0
        self.steps = 1
        self.state, self.device = engine.open(look, size), torch.device(engine.info.device)

    def frames(self) -> list[Frame]:
        seqs = range(self.sent, self.sent + 4)
        self.sent += 4
        return [Frame(self.pictures[n % len(self.pictures)], n, 0) for n in seqs]

    def job(self, chunk: Chunk) -> Job:
        return Job(state=self.state, chunk=chunk, preset=self.look, steps=self.steps)


def tick(
    streams: Sequence[Stream],
    clock: StageClock | None = None,
    coming: list[Chunk] | None = None,
) -> list[list[Pixels]]:
    """One forward of all, and what came out of each; not what is `coming`, where that is asked
    for."""
    painted: list[list[Pixels]] = [[] for _ in streams]

    def put(n: int, pictures: Chunk) -> None:
        if coming is not None and pictures.coming:
            coming.append(pictures)
            return
        if clock is not None:
            clock.begin("transfer_out")
        painted[n] += read_back(pictures).pictures

    if clock is not None:
        clock.begin("transfer_in")
    chunks = chunks_from_frames([stream.frames() for stream in streams], streams[0].device)
    jobs = [stream.job(chunk) for stream, chunk in zip(streams, chunks, strict=True)]
    streams[0].engine.step(jobs, put)
    return painted


def ticks(
    streams: Sequence[Stream], number: int = TICKS, warm_up: int = WARM_UP_TICKS
) -> dict[str, float]:
    for _ in range(warm_up):
        tick(streams)
    took_ms, before = [], list[Chunk]()
    for _ in range(number):
        begun_s = time.perf_counter()
        coming: list[Chunk] = []
        tick(streams, coming=coming)
        for pictures in before:  # as loop.Loop does while there is more to do
            read_back(pictures)
        before = coming
        took_ms.append(1000 * (time.perf_counter() - begun_s))
    for pictures in before:
        read_back(pictures)
    fps = 4000 * len(streams) / float(np.mean(took_ms[1:]))
    p50, worst = float(np.median(took_ms)), max(took_ms)
    return {"fps": round(fps, 1), "tick_ms": round(p50, 2), "tick_ms_max": round(worst, 2)}


def stages(streams: Sequence[Stream], clock: StageClock, device: torch.device) -> dict[str, float]:
    """Milliseconds of a tick; of the host alone where `device` is the CPU: then what a stage only
    launches is waited for in `transfer_out`."""
    clock.on, clock.device = True, device
    clock.spent_ms.clear()
    for _ in range(TICKS):
        tick(streams, clock)
    clock.begin("")
    clock.on = False
    return {stage: round(ms / TICKS, 3) for stage, ms in clock.spent_ms.items()}


def difference(engine: Engine, count: int) -> dict[str, float]:
    """How far graphs are from operators, in levels 0..255."""
    by_graphs, by_operators = _streams(engine, count), _streams(engine, count)
    means, squares, most = [], [], 0
    for _ in range(CHUNKS):
        painted = np.array(tick(by_graphs), np.int16)
        with operator_by_operator(engine):
            painted -= np.array(tick(by_operators))
        means.append(float(np.abs(painted).mean()))
        squares.append(float(np.square(painted.astype(np.float32)).mean()))
        most = max(most, int(np.abs(painted).max()))
    db = 10 * math.log10(255**2 / max(*squares, 1e-9))
    return {"mean": round(max(means), 4), "max": most, "db": round(db, 1)}


@contextmanager
def operator_by_operator(engine: Any) -> Iterator[None]:
    graphed = engine._networks
    engine._networks = Eager(graphed._transformer, graphed._autoencoder, graphed._dtype)
    yield
    engine._networks = graphed


def host(device: str) -> dict[str, float]:
    """What the host does for one chunk, in ms."""
    pictures = moving_pictures(SIZE)
    frames = [Frame(picture, n, 0) for n, picture in enumerate(pictures[:4])]
    seen, still = (motion.Seen(x, x) for x in map(motion.Picture, (pictures[-1], pictures[0])))

    def to_device(streams: int) -> None:
        chunks_from_frames([frames] * streams, torch.device(device))
        if device != "cpu":
            torch.cuda.synchronize()

    return {
        **{f"to_device_{n}": _median_ms(functools.partial(to_device, n)) for n in (1, 16)},
        "stack": _median_ms(lambda: np.stack(pictures[:4])),
        "motion": _median_ms(lambda: motion.measure(pictures[:4], seen)),
        "motion_of_still": _median_ms(lambda: motion.measure([pictures[0]] * 4, still)),
        "threads": torch.get_num_threads(),
    }


def _median_ms(task: Callable[[], object]) -> float:
    took = []
    for _ in range(20):
        begun_s = time.perf_counter()
        task()
        took.append(time.perf_counter() - begun_s)
    return round(1000 * float(np.median(took)), 3)


def _streams(engine: Engine, count: int) -> list[Stream]:
    looks, pictures = list(load_presets().values()), moving_pictures(SIZE)
    return [
        Stream(engine, looks[n % len(looks)], SIZE, pictures[n:] + pictures[:n])
        for n in range(count)
    ]


def _painted(engine: Engine, look: str) -> np.ndarray:
    size = Size(512, 288)
    stream = Stream(engine, load_presets()[look], size, moving_pictures(size))
    return np.array([picture for _ in range(CHUNKS) for picture in tick([stream])[0]])


def main() -> None:
    """Each part, whatever became of the one before."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parts = ("tests", "together", "graphs", "profile", "benches", "against_the_cpu")
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path)
    options.add_argument("--device", default="cuda")
    options.add_argument("--engine", default="pocket", help="or pocket-random")
    options.add_argument("--only", default=",".join(parts), help="parts, with commas between")
    asked = options.parse_args()
    torch.set_num_threads(physical_cores())
    visit = Visit(asked.out, asked.device, asked.engine)
    for part in asked.only.split(","):
        assert part in parts, f"{part}: wanted some of {parts}"
        log.info("== %s", part)
        try:
            getattr(visit, part)()
        except Exception:  # noqa: BLE001 - the next part is worth its time
            log.exception("failed")


if __name__ == "__main__":
    main()
