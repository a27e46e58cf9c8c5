"""Warming up: an engine runs on made-up pictures, so that no chunk of the first real stream is a
slow one. GPU thread."""

from __future__ import annotations

from collections.abc import Callable

import torch

from brushcast.frame import Frame, Size
from brushcast.presets import Preset
from brushcast_worker.chunk import PADDING_SEQ, Chunk, chunk_from_frames, read_back
from brushcast_worker.engine import Engine, Job

LEVELS = 8  # of 255 apart: not still, so everything is computed, and no cut


def warm_up(engine: Engine, preset: Preset, size: Size, clock_ns: Callable[[], int]) -> list[int]:
    """One grey scene that moves, as long as the engine's info says. The cost of each chunk in ns:
    the last one's is the usual one. Raises as Engine.open and Engine.step do."""
    info = engine.info
    grey = torch.full((size.height, size.width, 3), 127, dtype=torch.uint8).numpy()
    state = engine.open(preset, size)
    took_ns: list[int] = []
    for number in range(info.warm_up_chunks):
        wanted = engine.frames_wanted(state)
        shade = grey + LEVELS * (number % 2)
        frames = [Frame(shade.copy(), PADDING_SEQ, 0) for _ in range(wanted)]
        begun_ns = clock_ns()
        chunk = chunk_from_frames(frames, torch.device(info.device))
        job = Job(state=state, chunk=chunk, preset=preset, steps=info.default_steps)
        engine.step([job], _discard)
        took_ns.append(clock_ns() - begun_ns)
    return took_ns


def _discard(_: int, pictures: Chunk) -> None:
    """Takes what nobody waits for, at the cost of what somebody does."""
    read_back(pictures)
