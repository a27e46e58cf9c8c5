"""Interpolate: a picture that the model did not paint, made of its painted neighbours.

Where things went is asked of the source's pictures: they exist for every moment and are crisp,
while the flow of paint follows the strokes. So nothing is guessed about the moment in between, as
motion-guided interpolation (MoG) must with an intermediate flow: the flow leads from the very
picture that is missing to both neighbours, and paint is fetched from there. Flow is DIS (Kroeger,
Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016).

A light estimate, at half the size, is always made; above FULL_ABOVE_PX it is the first guess of a
full one. A flow is followed only where it explains the source clearly better than standing still:
noise has flow, too, and would make still ink soft. Paint counts as far as there and back lead to
the same place (forward-backward consistency) and the source looks the same at both ends; what
neither neighbour shows is the nearer one's, and a picture that is mostly so is the nearer one,
held. Nothing is mixed over a cut.

No torch: `follow` needs the source alone and may run while the model paints; `Path.paint` needs the
painted neighbours.

Letters: H height, W width, C channels (3, RGB), 2 x and y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.frame import Pixels
from brushcast_worker.stages.motion import CUT_ABOVE, Picture, Seen, measure

Care = Literal["light", "full"]  # the most that is spent on finding where things went
Field = NDArray[np.float32]
Kind = TypeVar("Kind", np.uint8, np.float32)

FULL_ABOVE_PX = 5.0  # between two pictures: requirements.md, "Interpolation" (after MoG)
# Tuned for PSNR against what the model paints itself, five clips in two looks.
FAST_QUANTILE = 0.98  # of the flow: what moves may be small
LIGHT = 2  # the light estimate is made at 1 / LIGHT of each side
CELL = 3  # pixels of the light estimate, each side, that are compared together
BETTER = 1.2  # standing still must be so many times as wrong as the flow,
NOISE = 8.0  # and by so much more (levels squared)
ASTRAY_PX = 0.5  # there and back may miss by so much (light estimate) before paint counts half
UNLIKE_LEVELS = 12.0  # the source may differ by so much before paint counts half
NEARER = 0.02  # of a full weight: what the nearer neighbour always has
LOST_BELOW = 0.12  # of a full weight: a place that so little is known of is shown by neither
HOLD_ABOVE = 0.35  # part of the picture that is lost, above which all of it is held


@dataclass(frozen=True, slots=True)
class Way:
    """To one painted neighbour: where each pixel of the missing picture is in it.

    places_HW2: pixels. weight_HW: above 0, how far that may be trusted.
    """

    places_HW2: Field
    weight_HW: Field

    def fetch(self, painted_HWC: Pixels) -> Pixels:
        """The neighbour's paint, where the missing picture has it."""
        return _sampled(painted_HWC, self.places_HW2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What a missing picture is made of: both ways, or none and the nearer neighbour is held.

    speed_px: of what moves fast, between two pictures. full: a full estimate was made.
    """

    ways: tuple[Way, Way] | None
    before_is_nearer: bool
    speed_px: float = 0.0
    full: bool = False

    def paint(self, before_HWC: Pixels, after_HWC: Pixels) -> Pixels:
        """The missing picture, of two painted ones of the size that the source's had."""
        if self.ways is None:
            return before_HWC if self.before_is_nearer else after_HWC
        before, after = self.ways
        mixed_HWC = cv2.blendLinear(
            before.fetch(before_HWC), after.fetch(after_HWC), before.weight_HW, after.weight_HW
        )
        return np.asarray(mixed_HWC, np.uint8)


class Follower:
    """Finds paths. Belongs to one thread: DIS keeps what it works with."""

    def __init__(self) -> None:
        self._light = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._full = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def follow(
        self,
        before_HWC: Pixels,
        missing_HWC: Pixels,
        after_HWC: Pixels,
        *,
        care: Care = "full",
        moment: float = 0.5,
    ) -> Path:
        """The path of a missing picture, from the source's pictures, all of one size. moment: when
        it is, 0 (before) to 1 (after)."""
        nearer = moment <= 0.5
        if _is_cut(before_HWC, after_HWC):
            return Path(ways=None, before_is_nearer=not _is_cut(before_HWC, missing_HWC))
        greys = [_grey(picture) for picture in (before_HWC, missing_HWC, after_HWC)]
        smalls = [_smaller(grey_HW) for grey_HW in greys]
        there = [_flow(self._light, smalls[1], smalls[side]) for side in (0, 2)]
        back = [_flow(self._light, smalls[side], smalls[1]) for side in (0, 2)]
        speed_px = LIGHT * max(_speed(flow) for flow in there)
        full = care == "full" and speed_px > FULL_ABOVE_PX
        ways, known_HW = [], np.zeros_like(smalls[1], np.float32)
        for n, side in enumerate((0, 2)):
            moves_HW, weight_HW = _trust(there[n], back[n], smalls[1], smalls[side])
            weight_HW *= moment if n else 1 - moment
            known_HW += weight_HW
            weight_HW += NEARER * (nearer == (n == 0)) + 1e-4
            flow_HW2 = _larger(there[n], greys[1])
            if full:
                flow_HW2 = _flow(self._full, greys[1], greys[side], flow_HW2)
            flow_HW2 *= _scaled(moves_HW, greys[1])[..., None]
            flow_HW2 += _places(greys[1])
            ways.append(Way(flow_HW2, _scaled(weight_HW, greys[1])))
        if float((known_HW < LOST_BELOW).mean()) > HOLD_ABOVE:
            return Path(ways=None, before_is_nearer=nearer, speed_px=speed_px, full=full)
        return Path(ways=(ways[0], ways[1]), before_is_nearer=nearer, speed_px=speed_px, full=full)


def _trust(
    there_HW2: Field, back_HW2: Field, missing_HW: Pixels, neighbour_HW: Pixels
) -> tuple[Field, Field]:
    """Where the flow is to be followed (1, else 0), and how far what it leads to may be trusted (0
    to 1)."""
    places_HW2 = _places(missing_HW) + there_HW2
    moved = _unlike(_sampled(neighbour_HW, places_HW2), missing_HW)
    stayed = _unlike(neighbour_HW, missing_HW)
    moves_HW = (BETTER * moved + NOISE < stayed).astype(np.float32)
    astray_HW2 = there_HW2 + _sampled(back_HW2, places_HW2)
    astray = np.square(astray_HW2).sum(-1) * moves_HW / ASTRAY_PX**2
    unlike = np.where(moves_HW > 0, moved, stayed) / UNLIKE_LEVELS**2
    return moves_HW, np.asarray(1 / ((1 + astray) * (1 + unlike)), np.float32)


def _unlike(a_HW: Pixels, b_HW: Pixels) -> Field:
    """The mean square difference of the cell around each pixel."""
    squares_HW = np.square(a_HW.astype(np.float32) - b_HW)
    return np.asarray(cv2.boxFilter(squares_HW, -1, (CELL, CELL)), np.float32)


def _is_cut(a_HWC: Pixels, b_HWC: Pixels) -> bool:
    return measure([b_HWC], Seen(Picture(a_HWC), Picture(a_HWC))).cut > CUT_ABOVE


def _flow(
    dis: cv2.DISOpticalFlow, a_HW: Pixels, b_HW: Pixels, guess_HW2: Field | None = None
) -> Field:
    start_HW2 = np.zeros((*a_HW.shape, 2), np.float32) if guess_HW2 is None else guess_HW2
    return np.asarray(dis.calc(a_HW, b_HW, start_HW2), np.float32)


def _speed(flow_HW2: Field) -> float:
    few_HW2 = flow_HW2[::4, ::4]
    return float(np.quantile(np.hypot(few_HW2[..., 0], few_HW2[..., 1]), FAST_QUANTILE))


def _grey(pixels_HWC: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2GRAY), np.uint8)


def _smaller(grey_HW: Pixels) -> Pixels:
    height, width = grey_HW.shape
    size = (width // LIGHT, height // LIGHT)
    return np.asarray(cv2.resize(grey_HW, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(field: Field, like_HW: Pixels) -> Field:
    size = (like_HW.shape[1], like_HW.shape[0])
    return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _larger(flow_HW2: Field, like_HW: Pixels) -> Field:
    """The light estimate at the size of `like_HW`, in its pixels."""
    return _scaled(flow_HW2, like_HW) * np.float32(like_HW.shape[1] / flow_HW2.shape[1])


def _sampled(image: NDArray[Kind], places_HW2: Field) -> NDArray[Kind]:
    no_second = cast(Field, None)  # x and y lie side by side in the first map
    found = cv2.remap(
        image, places_HW2, no_second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, image.dtype)


def _places(like_HW: Pixels) -> Field:
    height, width = like_HW.shape
    places_HW2 = np.empty((height, width, 2), np.float32)
    places_HW2[..., 0] = np.arange(width, dtype=np.float32)
    places_HW2[..., 1] = np.arange(height, dtype=np.float32)[:, None]
    return places_HW2
