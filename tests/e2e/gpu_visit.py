"""All that a machine with a CUDA device is asked in one visit:
PYTHONPATH=plugin:worker:. python tests/e2e/gpu_visit.py OUT [DEVICE]  (from the repository's root).

Lent machines are dear and bare, so: the tests marked `gpu`, the bench at every size and number of
steps, the picture held against the CPU's, and a profile of one chunk, each on its own, so that one
failure does not cost the others. Everything goes to OUT as text and JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from brushcast.frame import Frame, Size
from brushcast.presets import load_presets
from brushcast_worker.bench import _moving_pictures, measure
from brushcast_worker.chunk import chunk_from_frames, read_back
from brushcast_worker.config import BenchConfig
from brushcast_worker.engine import Engine, Job, load_engine

log = logging.getLogger(__name__)

SIZES = (Size(384, 384), Size(512, 288), Size(640, 352), Size(1280, 720))
DEVICE = sys.argv[2] if len(sys.argv) > 2 else "cuda"
SECONDS = 6.0
CHUNKS = 12


def gpu_tests(out: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-v",
        "tests/worker",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


def profile(out: Path) -> None:
    engine = load_engine("pocket", DEVICE)
    _painted(engine, "watercolour")
    with torch.profiler.profile() as seen:
        _painted(engine, "watercolour")
    table = seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
    if DEVICE != "cpu":
        table += seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40)
    (out / "profile.txt").write_text(table)


def _painted(engine: Engine, look: str) -> list[torch.Tensor]:
    preset, size = load_presets()[look], Size(512, 288)
    state, pictures = engine.open(preset, size), _moving_pictures(size)
    painted: list[torch.Tensor] = []
    for n in range(0, 4 * CHUNKS, 4):
        frames = [Frame(pictures[(n + i) % len(pictures)], n + i, 0) for i in range(4)]
        chunk = chunk_from_frames(frames, torch.device(engine.info.device))
        job = Job(state=state, chunk=chunk, preset=preset, steps=1)
        engine.step(
            [job], lambda _, part: painted.extend(map(torch.from_numpy, read_back(part).pictures))
        )
    return painted


def main() -> None:
    """Each part, whatever became of the one before."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = Path(sys.argv[1])
    parts: tuple[Callable[[Path], None], ...] = (gpu_tests, benches, against_the_cpu, profile)
    for part in parts:
        log.info("== %s", part.__name__)
        try:
            part(out)
        except Exception:  # noqa: BLE001 - the next part is worth its time
            log.exception("failed")


if __name__ == "__main__":
    main()
