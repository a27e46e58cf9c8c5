"""All that a machine with a CUDA device is asked in one visit:
PYTHONPATH=plugin:worker:. python tests/e2e/gpu_visit.py OUT [DEVICE]  (from the repository's root).

Lent machines are dear and bare, so: the tests marked `gpu`, the bench at every size and number of
steps, the picture held against the CPU's, several streams together, and a profile, each on its own,
so that one failure does not cost the others. Everything goes to OUT as text and JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from brushcast.frame import Frame, Size
from brushcast.presets import Preset, load_presets
from brushcast_worker.bench import measure, moving_pictures
from brushcast_worker.chunk import Chunk, chunk_from_frames, read_back
from brushcast_worker.config import BenchConfig
from brushcast_worker.engine import Engine, Job, load_engine

log = logging.getLogger(__name__)

SIZES = (Size(384, 384), Size(512, 288), Size(640, 352), Size(1280, 720))
DEVICE = sys.argv[2] if len(sys.argv) > 2 else "cuda"
SIZE, STREAMS = Size(512, 288), (1, 4, 8)  # of what is not asked at every size
SECONDS = 6.0
CHUNKS = 12


def gpu_tests(out: Path) -> None:
    options = "-m pytest -m gpu -p no:cacheprovider -v tests/worker".split()
    done = subprocess.run([sys.executable, *options], capture_output=True, text=True, check=False)
    (out / "pytest.txt").write_text(done.stdout + done.stderr)
    log.info(done.stdout[-1500:])


def benches(out: Path) -> None:
    found = []
    for size in SIZES:
        for steps in (1, 2):
            config = BenchConfig(device=DEVICE, size=size, steps=steps, seconds=SECONDS)
            found.append(measure(config))
            (out / "bench.json").write_text(json.dumps(found, indent=1))
            log.info({k: found[-1][k] for k in ("size", "steps", "fps", "chunk_ms", "stages_ms")})


def against_the_cpu(out: Path) -> None:
    """Worst picture's PSNR of one device to the other, by look."""
    found = {}
    for name in load_presets():
        both = [_painted(load_engine("pocket", device), name) for device in ("cpu", DEVICE)]
        error = (torch.stack(both[0]).double() - torch.stack(both[1]).double()).square()
        found[name] = round(float(10 * torch.log10(255**2 / error.mean((1, 2, 3))).min()), 2)
    (out / "cpu.json").write_text(json.dumps(found, indent=1))
    log.info(found)


def together(out: Path) -> None:
    """Several streams in one forward, each with a look of its own."""
    engine, looks, found = load_engine("pocket", DEVICE), list(load_presets().values()), {}
    for count in STREAMS:
        streams = [_Stream(engine, looks[n % len(looks)]) for n in range(count)]
        for _ in range(CHUNKS):
            _tick(engine, streams)
        begun_s = time.perf_counter()
        for _ in range(4 * CHUNKS):
            _tick(engine, streams)
        tick_s = (time.perf_counter() - begun_s) / (4 * CHUNKS)
        found[count] = {"tick_ms": round(1000 * tick_s, 2), "fps": round(4 * count / tick_s, 1)}
        log.info({count: found[count]})
    (out / "together.json").write_text(json.dumps(found, indent=1))


def profile(out: Path) -> None:
    engine = load_engine("pocket", DEVICE)
    _painted(engine, "watercolour")
    with torch.profiler.profile() as seen:
        _painted(engine, "watercolour")
    table = seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
    if DEVICE != "cpu":
        table += seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40)
    (out / "profile.txt").write_text(table)


class _Stream:
    """Moving pictures under one look, four at a time."""

    def __init__(self, engine: Engine, look: Preset) -> None:
        self.look, self.pictures, self.sent = look, moving_pictures(SIZE), 0
        self.state, self.device = engine.open(look, SIZE), torch.device(engine.info.device)

    def job(self) -> Job:
        seqs = range(self.sent, self.sent + 4)
        self.sent += 4
        frames = [Frame(self.pictures[n % len(self.pictures)], n, 0) for n in seqs]
        chunk = chunk_from_frames(frames, self.device)
        return Job(state=self.state, chunk=chunk, preset=self.look, steps=1)


def _tick(engine: Engine, streams: Sequence[_Stream]) -> list[torch.Tensor]:
    """One forward of all, and what came out."""
    painted: list[torch.Tensor] = []

    def put(_: int, pictures: Chunk) -> None:
        painted.extend(map(torch.from_numpy, read_back(pictures).pictures))

    engine.step([stream.job() for stream in streams], put)
    return painted


def _painted(engine: Engine, look: str) -> list[torch.Tensor]:
    stream = _Stream(engine, load_presets()[look])
    return [picture for _ in range(CHUNKS) for picture in _tick(engine, [stream])]


def main() -> None:
    """Each part, whatever became of the one before."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = Path(sys.argv[1])
    parts: tuple[Callable[[Path], None], ...] = (
        gpu_tests,
        benches,
        against_the_cpu,
        together,
        profile,
    )
    for part in parts:
        log.info("== %s", part.__name__)
        try:
            part(out)
        except Exception:  # noqa: BLE001 - the next part is worth its time
            log.exception("failed")


if __name__ == "__main__":
    main()
