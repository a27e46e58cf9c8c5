"""On a device the same answers as on the host, stream by stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from brushcast.frame import Pixels, Size
from brushcast_worker.stages.device_motion import measure_rows
from brushcast_worker.stages.motion import CUT_ABOVE, STILL_BELOW, Motion, Picture, Seen, measure
from tests.worker.conftest import moving

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
LARGE = Size(640, 352)


def on_device(
    pictures: Sequence[Sequence[Pixels]], seen: Sequence[tuple[Pixels, Pixels] | None], device: str
) -> list[Motion]:
    """Of streams that have seen (reference, last), or nothing."""
    there = [pair or (np.full_like(pictures[0][0], 77),) * 2 for pair in seen]
    now, reference, last = (
        torch.from_numpy(np.stack(x)).to(device)
        for x in (pictures, [pair[0] for pair in there], [pair[1] for pair in there])
    )
    begins = torch.tensor([pair is None for pair in seen], device=device)
    return [Motion(*of_stream) for of_stream in measure_rows(now, reference, last, begins).tolist()]


@pytest.mark.parametrize("device", DEVICES)
def test_every_stream_gets_what_the_host_would_say(device: str) -> None:
    slow = moving(6, LARGE, speed_px=1)
    faint = [100 + picture // 16 for picture in moving(6, LARGE, seed=1)]
    dark = [picture // 4 for picture in moving(6, LARGE, seed=3)]
    bright = [255 - picture // 4 for picture in moving(6, LARGE, seed=4)]
    streams = [slow[2:], faint[2:], [slow[0]] * 4, dark[2:4] + bright[:2], bright[:4], dark[2:]]
    seen = [slow[:2], faint[:2], (slow[0], slow[0]), dark[:2], dark[:2], None]
    found = on_device(streams, seen, device)
    for pictures, pair, motion in zip(streams, seen, found, strict=True):
        past = None if pair is None else Seen(*map(Picture, pair))
        wanted = measure(pictures, past)
        assert motion.rms == pytest.approx(wanted.rms, rel=1e-4)
        assert motion.cut == pytest.approx(wanted.cut, abs=2e-3)
        assert (motion.peak < STILL_BELOW) == (wanted.peak < STILL_BELOW)
        if wanted.peak < STILL_BELOW:  # else the host does not look on
            assert motion.peak == pytest.approx(wanted.peak)
    cuts = [motion.cut > CUT_ABOVE for motion in found]
    assert cuts == [False, False, False, True, True, False]
    assert [motion.peak < STILL_BELOW for motion in found] == [False] * 2 + [True] + [False] * 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("corner", [(0, 0), (0, 632), (176, 320), (344, 0), (344, 632)])
def test_one_cell_that_moves_is_found_anywhere(corner: tuple[int, int], device: str) -> None:
    base = np.full((352, 640, 3), 100, np.uint8)
    moved, (y, x) = base.copy(), corner
    moved[y : y + 8, x : x + 8] += 9
    pictures = [[base] * where + [moved] + [base] * (3 - where) for where in range(4)]
    for motion in on_device(pictures, [(base, base)] * 4, device):
        assert motion.peak == 9


def test_a_stream_that_begins_has_no_past() -> None:
    pictures = moving(4)
    (motion,) = on_device([pictures], [None], "cpu")
    wanted = measure(pictures, None)
    assert (motion.peak, motion.cut) == (wanted.peak, wanted.cut)
    assert motion.rms == pytest.approx(wanted.rms, rel=1e-4)
