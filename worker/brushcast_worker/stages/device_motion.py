"""Motion on a device: what `motion.measure` says of a chunk, for all streams of a step at once.

A host needs 1 ms for each stream; a GPU that has the pictures anyway, a tenth of one for sixteen.

Letters: B streams, T pictures, H height, W width, C channels (3, RGB), P pairs of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from brushcast_worker.chunk import Chunk
from brushcast_worker.stages.motion import (
    ALIKE_BELOW,
    BINS,
    CELL,
    LEAST_DIFFERENCE,
    LUMINANCE,
    NEW,
    QUARTER,
    THUMB_CELL,
    THUMB_STRIDE,
    Motion,
    Seen,
    lines_apart,
    measure,
)
from brushcast_worker.stages.row_graphs import RowGraphs, RowInputs


def measure_together(
    graphs: RowGraphs, chunks: Sequence[Chunk], seen: Sequence[Seen | None]
) -> list[Motion]:
    """As of `motion.measure`, for each stream, on the device where the pictures are; waits for it
    once: the answers decide what is run. Pictures that are not there are measured where they are.
    """
    levels_THWC = chunks[0].levels_THWC
    if levels_THWC is None:
        pictures = [chunk.pixels for chunk in chunks]
        return [measure(*of_stream) for of_stream in zip(pictures, seen, strict=True)]
    rows = [_row(*of_stream) for of_stream in zip(chunks, seen, strict=True)]
    like = [levels_THWC, levels_THWC[0], levels_THWC[0]]
    (found_B3,) = graphs.run("motion", _measure, rows, lambda: like)
    return [Motion(*of_stream) for of_stream in found_B3.tolist()]


def _row(chunk: Chunk, seen: Seen | None) -> RowInputs:
    """What `_measure` takes, in its order."""
    if seen is None or seen.last.levels_HWC is None:
        return RowInputs((chunk.levels_THWC, None, None), (True,))
    pictures = chunk.levels_THWC, seen.reference.levels_HWC, seen.last.levels_HWC
    return RowInputs(pictures, (False,))


def _measure(inputs: Sequence[Tensor], begins_B1: Tensor) -> Sequence[Tensor]:
    pictures_BTHWC, reference_BHWC, last_BHWC = inputs
    return (measure_rows(pictures_BTHWC, reference_BHWC, last_BHWC, begins_B1[:, 0] > 0),)


def measure_rows(
    pictures_BTHWC: Tensor, reference_BHWC: Tensor, last_BHWC: Tensor, begins_B: Tensor
) -> Tensor:
    """`[B 3]`: peak, rms and cut, as of `Motion`, of uint8 pictures. `begins`: streams that have
    seen nothing yet, whatever their reference and last picture hold."""
    neighbours_BTHWC = torch.cat([last_BHWC[:, None], pictures_BTHWC], 1)
    rms_BP = _rms(neighbours_BTHWC)
    first = torch.arange(rms_BP.shape[1], device=rms_BP.device) == 0
    rms_B = rms_BP.masked_fill(begins_B[:, None] & first, 0).amax(1)
    peak_B = _peak(pictures_BTHWC, reference_BHWC)
    cut_B = _cut(_thumbnails(neighbours_BTHWC)).masked_fill(rms_BP < ALIKE_BELOW, 0).amax(1)
    return torch.stack(
        [peak_B.masked_fill(begins_B, NEW), rms_B, cut_B.masked_fill(begins_B, 0)], 1
    )


def _rms(neighbours_BTHWC: Tensor) -> Tensor:
    """Of each pair, `[B P]`."""
    lines = neighbours_BTHWC[:, :, :: lines_apart(neighbours_BTHWC.shape[2])].float()
    return (lines[:, 1:] - lines[:, :-1]).square_().mean((2, 3, 4)).sqrt_().div_(127.5)


def _peak(pictures_BTHWC: Tensor, reference_BHWC: Tensor) -> Tensor:
    """Of the cell that differs most, `[B]`."""
    reference_B1HWC = reference_BHWC[:, None]
    difference = torch.maximum(pictures_BTHWC, reference_B1HWC)
    difference -= torch.minimum(pictures_BTHWC, reference_B1HWC)
    streams, pictures, height, width, channels = difference.shape
    lines = difference.reshape(streams, pictures, height // CELL, CELL, -1)
    lines = lines.sum(3, dtype=torch.int32)
    cells = lines.view(streams, -1, width // CELL, CELL * channels).sum(3, dtype=torch.int32)
    return torch.div(cells.flatten(1).amax(1), CELL * CELL * channels)


def _thumbnails(pictures_BTHWC: Tensor) -> Tensor:
    """As of `motion.thumbnail`, `[B T H/16 W/16]`."""
    few = slice(THUMB_STRIDE // 2, None, THUMB_STRIDE)
    few_BTHWC = pictures_BTHWC[:, :, few, few]
    height, width = (side // THUMB_CELL * THUMB_CELL for side in few_BTHWC.shape[2:4])
    red, green, blue = (
        float(weight) * x for weight, x in zip(LUMINANCE, few_BTHWC.unbind(4), strict=True)
    )
    luma_BTHW = (red + green + blue)[:, :, :height, :width]
    streams, pictures = luma_BTHW.shape[:2]
    cells = luma_BTHW.reshape(
        streams, pictures, height // THUMB_CELL, THUMB_CELL, width // THUMB_CELL, THUMB_CELL
    )
    return torch.div(cells.sum((3, 5)), 255 * THUMB_CELL**2)


def _cut(thumbs_BTHW: Tensor) -> Tensor:
    """Of each pair, `[B P]`; see `motion`."""
    change = (thumbs_BTHW[:, 1:] - thumbs_BTHW[:, :-1]).abs_().mean((2, 3)) / QUARTER
    classes = thumbs_BTHW.mul(BINS - 1).round_().flatten(2)[..., None]
    bins = torch.arange(BINS, device=classes.device)
    histogram = (classes == bins).float().mean(2)
    moved = (histogram[:, 1:] - histogram[:, :-1]).abs_().sum(2) / 2
    return (2 * change * moved).masked_fill(change < LEAST_DIFFERENCE, 0)
