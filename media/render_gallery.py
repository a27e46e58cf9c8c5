"""Renders the panel's thumbnails and the README's picture by running the product itself.

    python media/render_gallery.py thumbnails
    python media/render_gallery.py sheet OUT.jpg CLIP@SECONDS CLIP@SECONDS CLIP@SECONDS

Each picture is a frame of what `brushcast restyle` wrote, nothing retouched. A sheet has a row for
each clip: the source, then each preset. Clips that the model was trained on have no place in it.
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
    chosen = parser.parse_args()
    if chosen.command == "thumbnails":
        render_thumbnails()
    else:
        render_sheet(chosen.target, chosen.moments)


def render_thumbnails() -> None:
    """One JPEG a preset, from the bundled clip."""
    THUMBNAILS.mkdir(exist_ok=True)
    for preset in load_presets().values():
        _, painted = moment(BUNDLED_CLIP, THUMBNAIL_AT_S, preset, Size(960, 540))
        height, width, _ = painted.shape
        closer = painted[: height * 3 // 4, width // 8 : width * 7 // 8]  # head and shoulders
        write_jpeg(THUMBNAILS / f"{preset.name}.jpg", fit(closer, THUMBNAIL), quality=86)


def render_sheet(target: Path, moments: list[str]) -> None:
    """A row for each moment: source, then each preset."""
    presets = list(load_presets().values())
    rows = [labels(["source", *(preset.title for preset in presets)])]
    for text in moments:
        path, _, seconds = text.rpartition("@")
        tiles: list[Pixels] = []
        for preset in presets:
            source, painted = moment(Path(path), float(seconds), preset, None)
            if not tiles:
                tiles.append(fit(source, TILE))
            tiles.append(fit(painted, TILE))
        rows.append(beside(tiles))
    write_jpeg(target, np.concatenate(rows), quality=88)


def moment(path: Path, seconds: float, preset: Preset, size: Size | None) -> tuple[Pixels, Pixels]:
    """(source, painted) at that time, painted by a stream that was already running."""
    with tempfile.TemporaryDirectory() as folder, Clip(path) as clip:
        rate = clip.info.rate
        first = max(0, round((seconds - RUN_UP_S) * rate))
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
            *_, final = result.pictures()
    return source, final.pixels_HWC


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


if __name__ == "__main__":
    main()
