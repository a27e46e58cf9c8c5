"""Renders the panel's thumbnails and the README's picture by running the product itself.

    python media/render_gallery.py thumbnails
    python media/render_gallery.py sheet OUT.jpg CLIP@SECONDS CLIP@SECONDS CLIP@SECONDS
    python media/render_gallery.py gallery FOLDER CLIP@SECONDS CLIP@SECONDS CLIP@SECONDS

Each picture is a frame of what `brushcast restyle` wrote, nothing retouched. A sheet has the
sources and every preset; a gallery has for each preset a strip of all clips and a loop of the
first one. Clips that the model was trained on have no place in either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from brushcast.clip import Clip
from brushcast.frame import Pixels, Size, fit
from brushcast.presets import Preset, load_presets
from brushcast.recording import Recording
from brushcast.restyle import RestyleConfig, restyle_file

ROOT = Path(__file__).resolve().parent.parent
THUMBNAILS = ROOT / "plugin" / "brushcast" / "panel" / "static" / "thumbnails"
BUNDLED_CLIP = ROOT / "plugin" / "brushcast" / "assets" / "clip.mp4"
THUMBNAIL = Size(320, 180)
THUMBNAIL_AT_S = 2.0
RUN_UP_S = 1.2  # pictures before the one that is kept: the stream's memory is then warm
TILE = Size(288, 216)
SHEET_COLUMNS = 5
GALLERY_TILE = Size(400, 300)
LOOP = Size(320, 240)
LOOP_S = 1.6
LABEL_PX = 26
GAP_PX = 4
PAPER_RGB = (20, 22, 28)
INK_RGB = (233, 229, 220)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("thumbnails")
    sheet = commands.add_parser("sheet")
    sheet.add_argument("target", type=Path)
    sheet.add_argument("moments", nargs="+", help="CLIP@SECONDS")
    gallery = commands.add_parser("gallery")
    gallery.add_argument("folder", type=Path)
    gallery.add_argument("moments", nargs="+", help="CLIP@SECONDS")
    chosen = parser.parse_args()
    if chosen.command == "thumbnails":
        render_thumbnails()
    elif chosen.command == "sheet":
        render_sheet(chosen.target, chosen.moments)
    else:
        render_gallery(chosen.folder, chosen.moments)


def render_thumbnails() -> None:
    """One JPEG a preset, from the bundled clip."""
    THUMBNAILS.mkdir(exist_ok=True)
    for preset in load_presets().values():
        _, painted = moment(BUNDLED_CLIP, THUMBNAIL_AT_S, preset, Size(960, 540))
        height, width, _ = painted.shape
        closer = painted[: height * 3 // 4, width // 8 : width * 7 // 8]  # head and shoulders
        write_jpeg(THUMBNAILS / f"{preset.name}.jpg", fit(closer, THUMBNAIL), quality=86)


def render_sheet(target: Path, moments: list[str]) -> None:
    """For each moment the source and every preset, in lines of ``SHEET_COLUMNS``."""
    presets = list(load_presets().values())
    rows = []
    for text in moments:
        tiles: list[Pixels] = []
        for preset in presets:
            source, painted = _at(text, preset)
            if not tiles:
                tiles.append(fit(source, TILE))
            tiles.append(fit(painted, TILE))
        names = ["source", *(preset.title for preset in presets)]
        for start in range(0, len(tiles), SHEET_COLUMNS):
            part = slice(start, start + SHEET_COLUMNS)
            empty = SHEET_COLUMNS - len(tiles[part])
            blank = [np.full((TILE.height, TILE.width, 3), PAPER_RGB, np.uint8)] * empty
            rows += [labels([*names[part], *[""] * empty]), beside([*tiles[part], *blank])]
    write_jpeg(target, np.concatenate(rows), quality=86)


def render_gallery(folder: Path, moments: list[str]) -> None:
    """For each preset NAME.jpg, a strip of all moments, and NAME.webp, a loop up to the first;
    ``source.jpg`` is the strip without paint."""
    folder.mkdir(parents=True, exist_ok=True)
    sources: list[Pixels] = []
    for preset in load_presets().values():
        strip = []
        for number, text in enumerate(moments):
            path, _, seconds = text.rpartition("@")
            long_s = 0.0 if number else LOOP_S
            source, painted, rate = stretch(Path(path), float(seconds), preset, None, long_s)
            strip.append(fit(painted[-1], GALLERY_TILE))
            if len(sources) < len(moments):
                sources.append(fit(source, GALLERY_TILE))
            if not number:
                write_loop(folder / f"{preset.name}.webp", [fit(p, LOOP) for p in painted], rate)
        write_jpeg(folder / f"{preset.name}.jpg", beside(strip), quality=84)
    write_jpeg(folder / "source.jpg", beside(sources), quality=84)


def _at(text: str, preset: Preset) -> tuple[Pixels, Pixels]:
    path, _, seconds = text.rpartition("@")
    return moment(Path(path), float(seconds), preset, None)


def moment(path: Path, seconds: float, preset: Preset, size: Size | None) -> tuple[Pixels, Pixels]:
    """(source, painted) at that time, painted by a stream that was already running."""
    source, painted, _ = stretch(path, seconds, preset, size, 0)
    return source, painted[-1]


def stretch(
    path: Path, seconds: float, preset: Preset, size: Size | None, long_s: float
) -> tuple[Pixels, list[Pixels], Fraction]:
    """(last source picture, the painted ones of the last ``long_s``, their rate) up to that
    time, painted by a stream that was already running."""
    with tempfile.TemporaryDirectory() as folder, Clip(path) as clip:
        rate = clip.info.rate
        kept = max(1, round(long_s * rate))
        first = max(0, round((seconds - RUN_UP_S - long_s) * rate))
        last = round(seconds * rate)
        size = size or clip.info.size
        excerpt, painted = Path(folder) / "excerpt.mp4", Path(folder) / "painted.mp4"
        source = None
        with Recording(excerpt, clip.info.size, rate) as recording:
            for number, picture in enumerate(islice(clip.pictures(), first, last + 1)):
                recording.write(picture.pixels_HWC, Fraction(number) / rate)
                source = picture.pixels_HWC
        if source is None:
            sys.exit(f"{path}: is shorter than {seconds} s")
        restyle_file(
            RestyleConfig(source=excerpt, target=painted, look=preset, size=size), quiet=True
        )
        with Clip(painted) as result:
            pictures = [picture.pixels_HWC for picture in result.pictures()]
    return source, pictures[-kept:], rate


def labels(names: list[str]) -> Pixels:
    """The sheet's head: one name over each column."""
    tiles = []
    for name in names:
        tile = np.full((LABEL_PX, TILE.width, 3), PAPER_RGB, np.uint8)
        at = (6, LABEL_PX - 9)
        cv2.putText(tile, name, at, cv2.FONT_HERSHEY_DUPLEX, 0.55, INK_RGB, 1, cv2.LINE_AA)
        tiles.append(tile)
    return beside(tiles)


def beside(tiles: list[Pixels]) -> Pixels:
    """Tiles in a row, with a gap below and between."""
    padded = [
        cv2.copyMakeBorder(tile, 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT, value=PAPER_RGB)
        for tile in tiles
    ]
    return np.concatenate([np.asarray(tile, np.uint8) for tile in padded], axis=1)


def write_jpeg(path: Path, pixels_HWC: Pixels, *, quality: int) -> None:
    """RGB in, file out."""
    bgr_HWC = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        sys.exit(f"{path}: cannot be written")


def write_loop(path: Path, pictures: list[Pixels], rate: Fraction) -> None:
    """Every second of the RGB pictures, there and back again, for ever."""
    few = [cv2.cvtColor(p, cv2.COLOR_RGB2BGR) for p in pictures[::2]]
    animation = cv2.Animation()
    animation.frames = [*few, *few[-2:0:-1]]
    animation.durations = np.full(len(animation.frames), round(2000 / rate), np.int32)
    if not cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, 62]):
        sys.exit(f"{path}: cannot be written")


if __name__ == "__main__":
    main()
