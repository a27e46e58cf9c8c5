"""What a change of prompt looks like and costs, with sinks made anew and without:
PYTHONPATH=plugin:worker:. python tests/e2e/new_prompt.py [OUT.json] [--engine wan-1.3b-random]
[--device cuda] [--size 512x512] [--steps 2] [--looks watercolour,neon] [--clip FILE].

A stream whose prompt changes is held against one that always had the new prompt. Told: after how
many pictures the difference stays below a share of what lies between the two looks; how large it is
at the end; the largest step between two pictures beyond the other stream's own; and the time of
each tick around the change (the second change is timed: the first one records graphs).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brushcast.frame import Frame, Pixels, Size
from brushcast.presets import Preset, load_presets
from brushcast_worker.bench import moving_pictures
from brushcast_worker.chunk import Chunk, chunk_from_frames, read_back
from brushcast_worker.engine import Job, load_engine
from brushcast_worker.quality.clips import samples
from brushcast_worker.quirks import Quirks
from tests.e2e.tell import tell

BEFORE, AFTER = 12, 18  # chunks: caches are full; what is left at the end is there to stay
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)

Shown = NDArray[np.float32]  # T H W 3


class Stream:
    """One stream under a look for each chunk."""

    def __init__(self, engine: Any, pictures: Sequence[Pixels], steps: int, look: Preset) -> None:
        self.engine, self.pictures, self.steps = engine, pictures, steps
        width, height = pictures[0].shape[1], pictures[0].shape[0]
        self.state = engine.open(look, Size(width, height))
        self.at = 0
        self.shown: list[Shown] = []
        self.took_ms: list[float] = []

    def play(self, look: Preset, count: int) -> None:
        device = torch.device(self.engine.info.device)
        for _ in range(count):
            taken = [self.pictures[(self.at + n) % len(self.pictures)] for n in range(4)]
            frames = [Frame(picture, self.at + n, 0) for n, picture in enumerate(taken)]
            self.at += 4
            begun_s = time.perf_counter()
            chunk = chunk_from_frames(frames, device)
            job = Job(state=self.state, chunk=chunk, preset=look, steps=self.steps, lossless=True)
            self.engine.step([job], lambda _, painted: self._show(painted))
            self.took_ms.append(round(1000 * (time.perf_counter() - begun_s), 2))

    def _show(self, painted: Chunk) -> None:
        for picture in read_back(painted).pictures:
            self.shown.append(picture.astype(np.float32))


def held_against(got: list[Shown], wanted: list[Shown], between: float, at: int) -> dict[str, Any]:
    """``at``: the picture before which the prompt changed; ``between``: the two looks, levels."""
    off = np.array([np.abs(a - b).mean() for a, b in zip(got, wanted, strict=True)])[at:] / between
    below = {
        str(share): next((n for n in range(len(off)) if (off[n:] < share).all()), None)
        for share in SHARES
    }
    steps = [
        np.abs(got[n + 1] - got[n]).mean() - np.abs(wanted[n + 1] - wanted[n]).mean()
        for n in range(at, len(got) - 1)
    ]
    return {
        "pictures_until_below": below,
        "left_at_the_end": round(float(off[-16:].mean()), 5),
        "largest_step_levels": round(float(max(steps)), 2),
    }


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    size, presets = Size.parse(asked.size), load_presets()
    old, new = (presets[name] for name in asked.looks.split(","))
    pictures = moving_pictures(size)
    if asked.clip is not None:
        (clip,) = samples([asked.clip], size, 4 * (BEFORE + AFTER))
        levels = ((clip.video_TCHW + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        pictures = [np.ascontiguousarray(picture) for picture in levels]
    told: dict[str, Any] = {"asked": {k: str(v) for k, v in vars(asked).items()}}
    for name, recache in (("made anew", True), ("left", False)):
        engine = load_engine(asked.engine, asked.device, quirks=Quirks(recache=recache))
        streams = {}
        for which, first in (("always", new), ("old", old), ("changed", old), ("timed", old)):
            stream = streams[which] = Stream(engine, pictures, asked.steps, first)
            stream.play(first, BEFORE)
            stream.play(old if which == "old" else new, AFTER)
        shown = {which: stream.shown for which, stream in streams.items()}
        at = 4 * (BEFORE - asked.steps + 1)
        pairs = zip(shown["old"][at:], shown["always"][at:], strict=True)
        between = float(np.mean([np.abs(a - b).mean() for a, b in pairs]))
        told[name] = held_against(shown["changed"], shown["always"], between, at)
        told[name]["looks_levels"] = round(between, 2)
        told[name]["tick_ms"] = streams["timed"].took_ms[BEFORE - 4 : BEFORE + 10]
        told[name]["made_anew"] = engine.counts(streams["changed"].state)["made anew"]
    return told


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path, nargs="?")
    options.add_argument("--engine", default="pocket")
    options.add_argument("--device", default="cpu")
    options.add_argument("--size", default="256x144")
    options.add_argument("--steps", type=int, default=1)
    options.add_argument("--looks", default="ink,oil")
    options.add_argument("--clip", type=Path)
    asked = options.parse_args()
    tell(measured(asked), asked.out)


if __name__ == "__main__":
    main()
