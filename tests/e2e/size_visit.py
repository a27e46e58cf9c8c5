"""What another size costs a stream on a CUDA device, as the ladder changes it:
PYTHONPATH=plugin:worker:. python -m tests.e2e.size_visit OUT.json [--engine wan-1.3b-tiny,pocket]
[--device cuda].

A chunk's time from host memory to host memory: of the first chunks at each size, the first time
and the second, and the usual one. 4 pictures at 24 a second leave 167 ms for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from brushcast.frame import Size, model_size
from brushcast.presets import load_presets
from brushcast_worker.bench import moving_pictures
from brushcast_worker.engine import Engine, load_engine
from brushcast_worker.engines.wan import random_wan
from brushcast_worker.ladder import AREAS
from brushcast_worker.warm_up import warm_up
from tests.e2e.gpu_visit import Stream, tick

log = logging.getLogger(__name__)
FIRST, USUAL = 8, 12  # chunks


def ms_of_chunks(stream: Stream, count: int) -> list[float]:
    """Each one's time."""
    took_ms = []
    for _ in range(count):
        begun_s = time.perf_counter()
        tick([stream])
        took_ms.append(round(1000 * (time.perf_counter() - begun_s), 1))
    return took_ms


def changes(engine: Engine) -> list[dict[str, Any]]:
    """Down the ladder's sizes and up again, twice."""
    full, multiple = engine.info.default_size, engine.info.size_multiple
    sizes = [full] + [model_size(full, round(full.area_px * area), multiple) for area in AREAS[1:]]
    look, found = load_presets()["ink"], []
    for size in [*sizes, *sizes[-2::-1], *sizes[1:], full]:
        pictures = moving_pictures(size)
        begun_s = time.perf_counter()
        stream = Stream(engine, look, size, pictures)
        opened_ms = round(1000 * (time.perf_counter() - begun_s), 1)
        stream.steps = engine.info.default_steps
        first, usual = ms_of_chunks(stream, FIRST), ms_of_chunks(stream, USUAL)
        found.append(
            {"size": str(size), "open_ms": opened_ms, "first_ms": first,
             "usual_ms": sorted(usual)[USUAL // 2]}
        )  # fmt: skip
        log.info(found[-1])
    return found


def measured(name: str, device: str) -> dict[str, Any]:
    """From a process that has only warmed up, as a worker's."""
    engine = random_wan(name, device) if name.startswith("wan") else load_engine(name, device)
    begun_s = time.perf_counter()
    size: Size = engine.info.default_size
    warm_up(engine, load_presets()["ink"], size, time.monotonic_ns)
    warm_s = round(time.perf_counter() - begun_s, 1)
    found = {"warm_up_s": warm_s, "changes": changes(engine)}
    if device != "cpu":
        found["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--engine", default="wan-1.3b-tiny,pocket")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    found = {name: measured(name, options.device) for name in options.engine.split(",")}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
