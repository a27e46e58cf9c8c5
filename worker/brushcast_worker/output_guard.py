"""Output guard: which of an engine's results must not be shown. Pure.

A network that has lost its way gives NaN, or one colour for every source. Either is seen in the
pictures themselves; what is seen is told in a word or two, for the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from brushcast.frame import Pixels
from brushcast_worker.chunk import ReadBack

REACH = 1.01  # of values in [-1, 1], with room for rounding
BLANK_LEVELS = 4  # a result that spans less than this is one colour
ALIVE_LEVELS = 48  # the same result is right for a source that spans less than this: a covered lens
GRID_PX = 16  # a picture whose every 16th pixel differs need not be looked at any closer


def what_is_wrong(
    back: ReadBack, sources: Sequence[Pixels | None], *, trained: bool = True
) -> str | None:
    """Why these results must not be shown, or None. sources: the picture that each was made from,
    None where nobody waits for it. trained: False for random weights, which may well paint one
    colour."""
    if not (back.low >= -REACH and back.high <= REACH):  # False for NaN too
        return "not finite"
    if not trained:
        return None
    for picture_HWC, source_HWC in zip(back.pictures, sources, strict=True):
        if source_HWC is not None and _blank(picture_HWC) and _span(source_HWC) >= ALIVE_LEVELS:
            return "one colour"
    return None


def _blank(pixels_HWC: Pixels) -> bool:
    if _span(pixels_HWC[::GRID_PX, ::GRID_PX]) >= BLANK_LEVELS:
        return False
    return _span(pixels_HWC) < BLANK_LEVELS


def _span(pixels_HWC: Pixels) -> int:
    """Of the channel that spans most."""
    return int((pixels_HWC.max(axis=(0, 1)).astype(int) - pixels_HWC.min(axis=(0, 1))).max())
