"""How pictures are scaled up, beside cubic alone and beside the same model at the full size.

    python media/compare_upscaling.py OUT.jpg CLIP [LOOK@SIZE@X,Y ...]

Paints the clip's first two seconds with each look at each size (512x288, 384x384, ...) and again
so large that nothing is left to scale. The sheet has a row of crops at 1:1, their upper left corner
at X,Y of 1280x720, for each view: cubic, ours, native. Logged for each view, of luminance:

- edges: mean squared gradient, in parts of the native picture's;
- halo: mean and greatest excess over the range of the 3x3 pixels around, interpolated, in levels;
- still, moving: mean change from picture to picture, in levels, where the small picture stands
  still (mean change around below 3 levels) and where it does not;
- ms: a whole conversion to YCbCr 4:2:0 on one core, least and median of alternate runs.

The engine is driven directly: `brushcast restyle` paints no larger than 1024x576.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from render_gallery import write_jpeg

from brushcast.clip import Clip
from brushcast.frame import Frame, Pixels, Size, centre_crop, fit
from brushcast.presets import load_presets
from brushcast.yuv import BT601, YuvConverter
from brushcast_worker.chunk import chunk_from_frames, read_back
from brushcast_worker.config import physical_cores
from brushcast_worker.engine import Engine, Job, load_engine

log = logging.getLogger(__name__)

FULL = Size(1280, 720)
CROP = Size(310, 220)
PICTURES = 60
KEPT = 16  # the last ones: the stream's memory is then warm
STILL_LEVELS = 3
RUNS = 150
PAPER_RGB = (20, 22, 28)
GAP_PX = 4
VIEWS = (
    "ink@512x288@480,250",
    "comic@512x288@490,20",
    "watercolour@512x288@490,270",
    "pencil@384x384@420,340",
    "neon@512x288@440,270",
    "oil@512x288@480,0",
)

Planes = list[Pixels]
Convert = Callable[[Pixels, Planes], None]


class View(NamedTuple):
    look: str
    size: Size
    x: int
    y: int


class Figures(NamedTuple):
    edges: float
    halo: tuple[float, int]
    still: float
    moving: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("views", nargs="*", help="LOOK@SIZE@X,Y")
    chosen = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    torch.set_num_threads(physical_cores())
    engine = load_engine("pocket", "cpu", None)
    with Clip(chosen.clip) as clip:
        source = [picture.pixels_HWC for picture in islice(clip.pictures(), PICTURES)]
    ways: dict[str, Convert] = {"cubic": cubic, "ours": YuvConverter(FULL, BT601).convert}
    rows = []
    for view in map(parse, chosen.views or VIEWS):
        small = paint(engine, source, view.look, view.size)
        native = paint(engine, source, view.look, at_full_size(view.size))
        made = {name: [converted(way, p) for p in small] for name, way in ways.items()}
        made["native"] = [converted(ways["ours"], p) for p in native]
        rows.append(beside(view, {name: pictures[-1] for name, pictures in made.items()}))
        report(view, small, {name: [p[0] for p in pictures] for name, pictures in made.items()})
        cv2.setNumThreads(1)
        took_ms = timed(ways, small[-1])
        cv2.setNumThreads(physical_cores())
        for name, times in took_ms.items():
            log.info("  %-8s %.2f ms least, %.2f median", name, min(times), np.median(times))
    write_jpeg(chosen.target, np.concatenate(rows), quality=84)


def parse(text: str) -> View:
    look, size, place = text.split("@")
    x, _, y = place.partition(",")
    return View(look, Size.parse(size), int(x), int(y))


def at_full_size(size: Size) -> Size:
    """As wide as the output, of the same shape, in the model's multiples."""
    return Size(FULL.width, round(FULL.width * size.height / size.width / 16) * 16)


def paint(engine: Engine, source: list[Pixels], look: str, size: Size) -> list[Pixels]:
    """The last pictures of what the engine makes of the source."""
    preset = load_presets()[look]
    state = engine.open(preset, size)
    painted: list[Pixels] = []
    seq = 0
    while seq < len(source):
        frames = []
        for _ in range(engine.frames_wanted(state)):
            picture = np.array(fit(source[min(seq, len(source) - 1)], size))
            frames.append(Frame(picture, seq, 0))
            seq += 1
        chunk = chunk_from_frames(frames, torch.device("cpu"))
        job = Job(state=state, chunk=chunk, preset=preset, steps=engine.info.default_steps)
        engine.step([job], lambda _, done: painted.extend(read_back(done).pictures))
    return painted[-KEPT:]


def cubic(pixels_HWC: Pixels, planes: Planes) -> None:
    """Every plane by cubic alone."""
    packed_HWC = cv2.transform(centre_crop(pixels_HWC, FULL), BT601)
    for channel, plane_HW in enumerate(planes):
        where = (plane_HW.shape[1], plane_HW.shape[0])
        source_HW = cv2.extractChannel(packed_HWC, channel)
        cv2.resize(source_HW, where, dst=plane_HW, interpolation=cv2.INTER_CUBIC)


def converted(way: Convert, pixels_HWC: Pixels) -> Planes:
    planes = empty_planes()
    way(pixels_HWC, planes)
    return planes


def empty_planes() -> Planes:
    """Pages touched: a fresh one costs as much as the work."""
    half = (FULL.height // 2, FULL.width // 2)
    return [np.zeros(shape, np.uint8) for shape in ((FULL.height, FULL.width), half, half)]


def timed(ways: dict[str, Convert], pixels_HWC: Pixels) -> dict[str, list[float]]:
    """Milliseconds of each run, one way after the other, so that noise hits all alike."""
    planes = empty_planes()
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, way in ways.items():
            begun_ns = time.perf_counter_ns()
            way(pixels_HWC, planes)
            took_ms[name].append((time.perf_counter_ns() - begun_ns) / 1e6)
    return took_ms


def report(view: View, small: list[Pixels], made: dict[str, Planes]) -> None:
    """One line for each way. made: luminance of consecutive pictures."""
    cropped = [centre_crop(picture, FULL) for picture in small]
    lumas = [np.ascontiguousarray(cv2.transform(p, BT601)[..., 0]) for p in cropped]
    stands = [still(before, after) for before, after in zip(lumas, lumas[1:], strict=False)]
    whole = figures(made["native"], lumas, stands)
    log.info("%s %s -> %s", view.look, view.size, FULL)
    for name, pictures in made.items():
        one = figures(pictures, lumas, stands)
        edges, halo = one.edges / whole.edges, one.halo if name != "native" else (0.0, 0)
        text = "  %-8s edges %.2f, still %.2f, moving %.2f, halo %.2f (at most %d)"
        log.info(text, name, edges, one.still, one.moving, *halo)


def figures(pictures: Planes, lumas: Planes, stands: list[NDArray[np.bool_]]) -> Figures:
    excess = halo(pictures[-1], lumas[-1])
    pairs = zip(pictures, pictures[1:], stands, strict=False)
    changes = [(cv2.absdiff(before, after), at) for before, after, at in pairs]
    return Figures(
        edges=float(np.mean([gradient(picture) for picture in pictures[::4]])),
        halo=(float(excess.mean()), int(excess.max())),
        still=float(np.mean([change[at].mean() for change, at in changes if at.any()])),
        moving=float(np.mean([change[~at].mean() for change, at in changes if not at.all()])),
    )


def gradient(plane_HW: Pixels) -> float:
    levels = plane_HW.astype(np.float32)
    return float(sum((np.diff(levels, axis=axis) ** 2).mean() for axis in (0, 1)))


def halo(plane_HW: Pixels, luma_HW: Pixels) -> NDArray[np.int16]:
    """By how many levels each pixel leaves the range of the small picture around it."""
    where, around = (FULL.width, FULL.height), np.ones((3, 3), np.uint8)
    low = cv2.resize(cv2.erode(luma_HW, around), where).astype(np.int16)
    high = cv2.resize(cv2.dilate(luma_HW, around), where).astype(np.int16)
    return np.maximum(np.maximum(low - plane_HW, plane_HW - high), 0).astype(np.int16)


def still(before_HW: Pixels, after_HW: Pixels) -> NDArray[np.bool_]:
    """Where a small picture stands still, at the full size."""
    change = cv2.GaussianBlur(cv2.absdiff(before_HW, after_HW), (9, 9), 0)
    mask = (change < STILL_LEVELS).astype(np.uint8)
    full = cv2.resize(mask, (FULL.width, FULL.height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full, np.uint8) > 0


def beside(view: View, made: dict[str, Planes]) -> Pixels:
    """Crops of one view in a row, with their names."""
    tiles = []
    for name, planes in made.items():
        i420 = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, FULL.width)
        whole = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
        tile = whole[view.y : view.y + CROP.height, view.x : view.x + CROP.width].copy()
        text = f"{view.look} {view.size} {name}" if name != "native" else f"{view.look} {name}"
        for colour, thickness in ((PAPER_RGB, 3), ((255, 255, 255), 1)):
            at, font = (5, 14), cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(tile, text, at, font, 0.42, colour, thickness, cv2.LINE_AA)
        border = cv2.BORDER_CONSTANT
        tiles.append(cv2.copyMakeBorder(tile, 0, GAP_PX, 0, GAP_PX, border, value=PAPER_RGB))
    return np.concatenate([np.asarray(tile, np.uint8) for tile in tiles], axis=1)


if __name__ == "__main__":
    main()
