"""What a CUDA device makes of the Wan engines with random weights:
PYTHONPATH=plugin:worker:. python tests/e2e/wan_visit.py OUT [--engine wan-1.3b-tiny]
[--size 512x512] [--steps 2] [--streams 1,4] [--plain] [--profile].

Frames a second from host memory to host memory with the cache full, the stages, and the kernels.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType  # what a profile's events say

from brushcast.frame import Size
from brushcast.presets import load_presets
from brushcast_worker.bench import StageClock, moving_pictures
from brushcast_worker.engines.wan import random_wan
from tests.e2e import gpu_visit
from tests.e2e.gpu_visit import Stream, stages, ticks

log = logging.getLogger(__name__)
PROFILED = 6  # ticks
FULL = 12  # ticks until the caches are full and everything is recorded


def measured(engine: Any, clock: StageClock, size: Size, count: int, steps: int) -> dict[str, Any]:
    looks, pictures = list(load_presets().values()), moving_pictures(size)
    streams = [Stream(engine, looks[n], size, pictures[n:] + pictures[:n]) for n in range(count)]
    for stream in streams:
        stream.steps = steps
    begun_s = time.perf_counter()
    ticks(streams, number=1, warm_up=0)
    first_s = time.perf_counter() - begun_s
    found: dict[str, Any] = ticks(streams, number=20, warm_up=FULL)
    found["first_s"] = round(first_s, 2)
    found["stages_ms"] = stages(streams, clock, torch.device("cuda"))
    found["host_ms"] = stages(streams, clock, torch.device("cpu"))
    found["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found


def kernels(engine: Any, size: Size, steps: int) -> dict[str, Any]:
    """The kernels that a tick of one stream spends its time in (ms, calls, name), and how much of
    the time the device does nothing."""
    stream = Stream(engine, load_presets()["ink"], size, moving_pictures(size))
    stream.steps = steps
    ticks([stream], number=1, warm_up=FULL)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        ticks([stream], number=PROFILED, warm_up=0)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type is DeviceType.CUDA
    )
    busy_us, at = 0.0, spans[0][0]
    for begin, end in spans:  # some run side by side
        busy_us += max(0, end - max(at, begin))
        at = max(at, end)
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_device_time_total)[:45]
    return {
        "busy_share": round(busy_us / (at - spans[0][0]), 4),
        "kernels": [
            f"{row.self_device_time_total / PROFILED / 1000:.3f} {row.count / PROFILED:.0f} "
            f"{row.key[:110]}"
            for row in rows
        ],
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path)
    options.add_argument("--engine", default="wan-1.3b")
    options.add_argument("--size", default="512x512")
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--streams", default="1")
    options.add_argument("--plain", action="store_true", help="nothing compiled")
    options.add_argument("--profile", action="store_true", help="the kernels of a tick")
    asked = options.parse_args()
    size = Size(*map(int, asked.size.split("x")))
    clock = StageClock(time.perf_counter_ns)
    begun_s = time.perf_counter()
    engine = random_wan(asked.engine, "cuda", timer=clock, fused=not asked.plain)
    found: dict[str, Any] = {"asked": vars(asked) | {"out": str(asked.out)}}
    found["load_s"] = round(time.perf_counter() - begun_s, 1)
    gpu_visit.SIZE = size
    for count in map(int, asked.streams.split(",")):
        found[str(count)] = measured(engine, clock, size, count, asked.steps)
        log.info({count: found[str(count)]})
    if asked.profile:
        found |= kernels(engine, size, asked.steps)
    name = f"{asked.engine}-{asked.size}-{asked.steps}{'-plain' if asked.plain else ''}.json"
    (asked.out / name).write_text(json.dumps(found, indent=1))
    log.info(found)


if __name__ == "__main__":
    main()
