"""What the audience sees when the ladder makes the picture smaller, and larger again: the embedded
model on the bundled clip, playout and composition as in the bridge, and a clock of its own."""

from __future__ import annotations

from importlib import resources
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from brushcast.card import Composer
from brushcast.clip import Clip
from brushcast.frame import Frame, Pixels, Size, fit, model_size, resize
from brushcast.playout import Kind, Playout, PlayoutConfig, Styled
from brushcast.presets import load_presets
from brushcast_worker.chunk import Chunk, chunk_from_frames, read_back
from brushcast_worker.engine import Engine, Job, load_engine
from brushcast_worker.ladder import AREAS

FULL = Size(512, 288)
OUTPUT = Size(1280, 720)
PERIOD_NS = 33_333_333
DELAY_NS = 200_000_000
PART = 24  # pictures at one size
SETTLED = 12  # ticks after which a switch is over


def painted(engine: Engine, pictures: list[Pixels], sizes: list[Size]) -> list[Pixels]:
    """Every picture in the watercolour look; a new size is a new state, as in the worker."""
    look = load_presets()["watercolour"]
    out: list[Pixels] = []

    def put(_: int, chunk: Chunk) -> None:
        out.extend(np.array(picture) for picture in read_back(chunk).pictures)

    state = None
    for first in range(0, len(pictures), 4):
        size = sizes[first]
        if state is None or size != sizes[first - 1]:
            state = engine.open(look, size)
        frames = [Frame(np.array(resize(pictures[n], size)), n, n) for n in range(first, first + 4)]
        chunk = chunk_from_frames(frames, torch.device("cpu"))
        engine.step([Job(state=state, chunk=chunk, preset=look, steps=1)], put)
    return out


def steps(pictures: list[Pixels], sizes: list[Size], *, fades: bool) -> list[float]:
    """Mean absolute difference of each tick's output picture to the one before, in levels."""
    playout: Playout[Pixels] = Playout(PlayoutConfig(rate_fps=30))
    composer = Composer(OUTPUT)
    shown: list[Pixels] = []
    for n, picture in enumerate(pictures):
        now_ns = n * PERIOD_NS + DELAY_NS
        size = (sizes[n].width, sizes[n].height) if fades else (0, 0)
        playout.put(Styled(picture, n, n * PERIOD_NS, 1, size), now_ns)
        answer = playout.pick(now_ns + 5_000_000)
        if answer.kind is not Kind.CARD:
            shown.append(fit(composer.compose(answer), OUTPUT))
    return [
        float(np.abs(a[::2, ::2].astype(np.int16) - b[::2, ::2]).mean()) for a, b in pairwise(shown)
    ]


@pytest.mark.parametrize("area", AREAS[-1:])
def test_no_jump_is_seen_where_the_size_changes(area: float) -> None:
    small = model_size(FULL, round(area * FULL.area_px))
    sizes = [FULL] * PART + [small] * PART + [FULL] * PART
    with Clip(str(resources.files("brushcast").joinpath("assets", "clip.mp4"))) as clip:
        scenes = (fit(picture.pixels_HWC, FULL) for picture in clip.pictures())
        sources = [np.array(picture) for picture in islice(scenes, 100, 100 + 3 * PART)]
    engine = load_engine("pocket", "cpu")
    pictures = painted(engine, sources, sizes)
    with_fade, without = (steps(pictures, sizes, fades=fades) for fades in (True, False))
    one_size = [FULL] * len(sizes)
    unswitched = steps(painted(engine, sources, one_size), one_size, fades=True)
    for at in (PART, 2 * PART):
        window = slice(at - 3, at + SETTLED)
        ordinary, switched = max(unswitched[window]), max(with_fade[window])
        figures = f"{switched:.1f} levels, {max(without[window]):.1f} without a fade"
        assert switched < 1.25 * ordinary, f"{figures}, {ordinary:.1f} where nothing changes"
        assert switched < max(without[window]), figures
