"""How long a picture takes into the product from a real OBS, and from the product into OBS:
PYTHONPATH=. python tests/e2e/obs_hops.py [OUT.json] [--fps 30] [--seconds 15].

Pictures that carry the time they were made at (`tests/system/obs_clock.py`). Way in: pushed into an
async source at 60 a second, until it lies in obs-in. Way out: written into obs-out (by us, there is
no product), until OBS draws it into its program, and until that leaves OBS. Without us: pushed into
the source, until drawn and until it leaves. What we add to a picture's age is in + out - without.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from brushcast.frame import Size
from brushcast.playout import Kind
from brushcast.ring import Form, Ring
from tests.e2e.tell import tell
from tests.system import obs_studio
from tests.system.obs_studio import SCENE, ObsStudio, brushcast, until

BITS, SIZE = 24, Size(640, 360)
MASK = (1 << BITS) - 1


def now() -> int:
    return time.monotonic_ns() // 64000 & MASK


def value_of(luma_W: Any) -> int:
    block = SIZE.width // BITS
    return sum(int(luma_W[bit * block + block // 2] > 128) << bit for bit in range(BITS))


def show_clock(ring: Ring, fps: int, stop: threading.Event) -> None:
    """As the camera process does: at its own rate, into obs-out."""
    planes = np.full(SIZE.area_px * 3 // 2, 128, np.uint8)
    luma = planes[: SIZE.area_px].reshape(SIZE.height, SIZE.width)
    block = SIZE.width // BITS
    while not stop.wait(1 / fps):
        value = now()
        for bit in range(BITS):
            luma[:, bit * block : (bit + 1) * block] = 235 if value >> bit & 1 else 16
        ring.write(planes, Kind.LIVE, seq=0, captured_ns=-1, size=SIZE)


def read_clock(path: Path, found_ms: list[float], stop: threading.Event) -> None:
    """As the bridge does: every 2 ms a look at obs-in."""
    ring, after = Ring.attach(path, Form.BGRA), 0
    while not stop.wait(0.002):
        picture = ring.newest(after)
        if picture is not None:
            after = picture.number
            value = value_of(picture.pixels_HWC[SIZE.height // 2, :, 1])
            found_ms.append((now() - value & MASK) * 0.064)
    ring.close()


def summary(values_ms: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values_ms, (50, 95, 99)).round(1).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "pictures": len(values_ms)}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path, nargs="?")
    options.add_argument("--fps", type=int, default=30)
    options.add_argument("--seconds", type=float, default=15)
    asked = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="brushcast-hops-"))
    told: dict[str, Any] = {"asked": {key: str(value) for key, value in vars(asked).items()}}
    os.environ["OBS_CLOCK_LOG"] = str(home / "clock.log")
    os.environ["OBS_CLOCK_SCRIPTS"] = str(obs_studio.SCRIPT.parent)
    obs = ObsStudio(home, fps=asked.fps)
    clock = {"name": "clock", "id": "brushcast_clock", "versioned_id": "brushcast_clock"}
    try:
        obs.write_profile()
        scripts = [obs_studio.ROOT / "tests" / "system" / "obs_clock.py"]
        obs.write_collection("one", [clock, brushcast()], {"source": "clock"}, scripts)
        obs.start()
        until((obs.runtime / "obs-in").exists, 30, "the capture")
        ring, stop = Ring.create(SIZE, obs.runtime / "obs-out", Form.I420), threading.Event()
        into_ms: list[float] = []
        threads = [
            threading.Thread(target=show_clock, args=(ring, asked.fps, stop)),
            threading.Thread(target=read_clock, args=(obs.runtime / "obs-in", into_ms, stop)),
        ]
        for thread in threads:
            thread.start()
        ours = obs.ask("get_scene_item_id", SCENE, "Brushcast").scene_item_id
        for name, on in (("without us", False), ("way out", True)):
            obs.ask("set_scene_item_enabled", SCENE, ours, on)
            time.sleep(3)
            before = obs.ask("get_stats")
            heard = len((home / "clock.log").read_text().splitlines())
            into_ms.clear()
            time.sleep(asked.seconds)
            after = obs.ask("get_stats")
            lines = (home / "clock.log").read_text().splitlines()[heard:]
            pairs = [tuple(map(float, line.split())) for line in lines]
            told[f"{name}, until drawn, ms"] = summary([drawn for drawn, _ in pairs])
            told[f"{name}, until it leaves OBS, ms"] = summary([left for _, left in pairs])
            told["way in, ms"] = summary(into_ms)
        frames = after.render_total_frames - before.render_total_frames
        lagged = after.render_skipped_frames - before.render_skipped_frames
        told["OBS"] = {"frames": frames, "lagged": lagged, "fps": round(after.active_fps, 2)}
        stop.set()
        for thread in threads:
            thread.join()
        ring.close()
        obs.stop()
    finally:
        obs.close()
        shutil.rmtree(home, ignore_errors=True)
    tell(json.loads(json.dumps(told)), asked.out)


if __name__ == "__main__":
    main()
