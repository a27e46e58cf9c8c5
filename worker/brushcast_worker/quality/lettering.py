"""Lettering: whether text that is held before the camera can still be read. Letters on a board,
past which the camera pans; each painted letter is held against every letter of the alphabet, as
tones, as outlines and as lights along its outlines, so that no look's colours matter.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brushcast.frame import Pixels
from brushcast_worker.quality.metrics import edges, luminance

ALPHABET = "ABCDEFGHJKLMNPRSTUVXYZ2346789"  # without those that look like another
LINES = ("BRUSHCAT24", "KLEVPDGM97")
PAN_PX = 2  # a picture
LETTER = 1 / 11  # of the picture's height: a name on a badge held up to a webcam
PAPER, INK = (232, 228, 216), (28, 30, 44)
FONT = cv2.FONT_HERSHEY_DUPLEX
GLOW = 1 / 20  # of a cell: how far a lit outline shines, by eye
SLACK_PX = 2  # a painted letter may sit this much beside the written one


@dataclass(frozen=True, slots=True)
class Board:
    """A panned board ``[T 3 H W]`` in [-1, 1] and where its letters are in the first picture."""

    video_TCHW: Tensor
    cell_px: int
    letters: tuple[tuple[str, int, int], ...]  # letter, left, top


@dataclass(frozen=True, slots=True)
class Reading:
    """``recognised``: share of the letters that are most like themselves, 0..1. ``likeness``: mean
    correlation of a letter's outlines with the written one's.
    """

    recognised: float
    likeness: float


class View(NamedTuple):
    """A picture, or one letter of it, as tones and as outlines, ``[H W]``."""

    tones: NDArray[np.float32]
    outlines: NDArray[np.float32]


def board(background_HWC: Pixels, pictures: int) -> Board:
    """The lettering over a picture of the clip, panned for so many pictures."""
    height, width, _ = background_HWC.shape
    over = PAN_PX * (pictures - 1)
    canvas = cv2.copyMakeBorder(background_HWC, 0, 0, 0, over, cv2.BORDER_REFLECT_101)
    cell = max(12, round(height * LETTER * 1.5))
    columns = max(1, min(len(LINES[0]), (width - over) // cell - 1))
    left, top = over + cell // 2, height - (len(LINES) + 1) * cell
    rim = cell // 4
    right, bottom = left + columns * cell + rim, top + len(LINES) * cell + rim
    cv2.rectangle(canvas, (left - rim, top - rim), (right, bottom), PAPER, -1)
    letters = []
    for row, line in enumerate(LINES):
        for column, letter in enumerate(line[:columns]):
            x, y = left + column * cell, top + row * cell
            canvas[y : y + cell, x : x + cell] = _letter(letter, cell)
            letters.append((letter, x, y))
    views = [canvas[:, PAN_PX * n : PAN_PX * n + width] for n in range(pictures)]
    video = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Board(video, cell, tuple(letters))


def read(written: Board, painted_TCHW: Tensor, first: int = 0) -> Reading:
    """Reads pictures that show the board from its picture ``first`` on."""
    cell = written.cell_px
    blanks = np.stack([_letter(letter, cell) for letter in ALPHABET])
    alphabet = _views(torch.from_numpy(blanks).permute(0, 3, 1, 2).float() / 127.5 - 1)
    glowing = [_glow(known.outlines, cell * GLOW) for known in alphabet]
    right, likeness = [], []
    for n, views in enumerate(_views(painted_TCHW), first):
        for letter, x, y in written.letters:
            x = x - PAN_PX * n
            seen = View(*(view[y : y + cell, x : x + cell] for view in views))
            drawn = [_correlation(seen.outlines, known.outlines).max() for known in alphabet]
            # The same letter may be painted light or dark, or as a tube that glows along its rim.
            tones = [abs(_correlation(seen.tones, known.tones)).max() for known in alphabet]
            tubes = [abs(_correlation(seen.tones, glow)).max() for glow in glowing]
            best = int(np.max([drawn, tones, tubes], 0).argmax())
            right.append(ALPHABET[best] == letter)
            likeness.append(drawn[ALPHABET.index(letter)])
    return Reading(float(np.mean(right)), float(np.mean(likeness)))


def _letter(letter: str, cell: int) -> Pixels:
    """``[cell cell 3]``: one letter in the middle of its paper."""
    paper = np.full((cell, cell, 3), PAPER, np.uint8)
    (width, height), _ = cv2.getTextSize(letter, FONT, 1.0, 1)
    scale = cell / 1.5 / height
    thick = max(1, round(cell / 16))
    (width, height), _ = cv2.getTextSize(letter, FONT, scale, thick)
    at = ((cell - width) // 2, (cell + height) // 2)
    cv2.putText(paper, letter, at, FONT, scale, INK, thick, cv2.LINE_AA)
    return paper


def _views(video_TCHW: Tensor) -> list[View]:
    video = video_TCHW.float().cpu()
    tones, outlines = luminance(video)[:, 0].numpy(), edges(video)[:, 0].numpy()
    return [View(*pair) for pair in zip(tones, outlines, strict=True)]


def _glow(outlines: NDArray[np.float32], reach_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(outlines, (0, 0), reach_px), np.float32)


def _correlation(seen: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = np.ascontiguousarray(known[SLACK_PX:-SLACK_PX, SLACK_PX:-SLACK_PX])
    found = cv2.matchTemplate(np.ascontiguousarray(seen), inner, cv2.TM_CCOEFF_NORMED)
    return np.asarray(found, np.float32)
