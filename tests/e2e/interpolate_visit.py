"""What interpolated pictures are worth: PSNR against what the embedded model paints itself, and
their cost beside its own, on this machine.

    python tests/e2e/interpolate_visit.py [CLIP[:FIRST] ...] [--preset watercolour] [--size 384x384]

For each clip: every second picture interpolated, and every second chunk, each held against a run
that painted all of them; beside it the same pictures held and mixed. No test.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

import brushcast
from brushcast.clip import Clip
from brushcast.frame import Frame, Pixels, Size, fit
from brushcast.presets import load_presets
from brushcast_worker.chunk import Chunk, chunk_from_frames, read_back
from brushcast_worker.engine import Job, load_engine
from brushcast_worker.stages.interpolate import Follower

PICTURES = 64
BUNDLED = f"{Path(brushcast.__file__).parent / 'assets' / 'clip.mp4'}:100"


def paint(sources: Sequence[Pixels], chosen: Sequence[int], preset: str) -> dict[int, Pixels]:
    """Those of the pictures, by number, as one stream."""
    engine, look = load_engine("pocket", "cpu"), load_presets()[preset]
    height, width, _ = sources[0].shape
    state, out = engine.open(look, Size(width, height)), {}

    def put(_: int, chunk: Chunk) -> None:
        for seq, picture in zip(chunk.seqs, read_back(chunk).pictures, strict=True):
            out[seq] = np.array(picture)

    for first in range(0, len(chosen) - 3, 4):
        frames = [Frame(np.array(sources[n]), n, n) for n in chosen[first : first + 4]]
        chunk = chunk_from_frames(frames, torch.device("cpu"))
        engine.step([Job(state=state, chunk=chunk, preset=look, steps=1)], put)
    return out


def psnr(a: Pixels, b: Pixels) -> float:
    wrong = float(np.square(a.astype(np.float32) - b).mean())
    return 10 * float(np.log10(255**2 / max(wrong, 1e-3)))


def compare(sources: Sequence[Pixels], preset: str) -> str:
    every = list(range(len(sources)))
    began_s = time.perf_counter()
    wanted = paint(sources, every, preset)
    painting_ms = (time.perf_counter() - began_s) / len(every) * 1000
    lines = []
    for name, chosen in (
        ("pictures", every[1::2]),
        ("chunks", [n for n in every if n // 4 % 2]),
    ):
        painted = paint(sources, chosen, preset)
        found: dict[str, list[float]] = {k: [] for k in ("held", "mixed", "light", "full", "ms")}
        for n in every[8:-8]:
            if n in painted:
                continue
            a, b = max(k for k in painted if k < n), min(k for k in painted if k > n)
            moment = (n - a) / (b - a)
            found["held"].append(psnr(painted[a if moment <= 0.5 else b], wanted[n]))
            mixed = cv2.addWeighted(painted[a], 1 - moment, painted[b], moment, 0)
            found["mixed"].append(psnr(np.asarray(mixed, np.uint8), wanted[n]))
            for care in ("light", "full"):
                began_s = time.perf_counter()
                path = Follower().follow(
                    sources[a], sources[n], sources[b], care=care, moment=moment
                )
                picture = path.paint(painted[a], painted[b])
                found["ms"].append((time.perf_counter() - began_s) * 1000)
                found[care].append(psnr(picture, wanted[n]))
        itself = np.mean([psnr(painted[n], wanted[n]) for n in painted if n >= 8])
        figures = ", ".join(f"{k} {np.mean(v):.1f}" for k, v in found.items() if k != "ms")
        ratio = np.median(found["ms"]) / painting_ms
        lines.append(
            f"  every second of the {name}: {figures} dB; those painted {itself:.1f} dB; "
            f"an interpolated picture takes {ratio:.2f} of a painted one"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", default=[BUNDLED])
    parser.add_argument("--preset", default="watercolour")
    parser.add_argument("--size", type=Size.parse, default=Size(384, 384))
    options = parser.parse_args()
    for name in options.clips:
        path, _, first = name.partition(":")
        with Clip(path) as clip:
            scenes = (fit(picture.pixels_HWC, options.size) for picture in clip.pictures())
            begin = int(first or 8)
            sources = [np.array(p) for p in islice(scenes, begin, begin + PICTURES)]
        sys.stdout.write(f"{Path(path).stem}\n{compare(sources, options.preset)}\n")


if __name__ == "__main__":
    main()
