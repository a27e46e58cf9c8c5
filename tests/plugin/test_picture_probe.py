"""Which pictures are looked at, and which samples are called artefacts."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import brushcast.picture_probe as module
from brushcast.frame import Pixels
from brushcast.picture_figures import PictureFigures
from brushcast.picture_probe import Judge, PictureProbe

S = 1_000_000_000
GOOD = PictureFigures(
    ssim=0.8, psnr_db=30, compensated_ssim=0.95, compensated_psnr_db=35, warp_error=0.015,
    motion_px=3, smoothness=0.9, sharpness=100,
)  # fmt: skip


def test_an_artefact_is_one_against_what_is_normal_here() -> None:
    judge = Judge()
    for _ in range(10):
        judge.judge(GOOD)
    judge.judge(dataclasses.replace(GOOD, sharpness=61))
    assert (judge.probed.number, judge.probed.blurred, judge.probed.warped) == (11, 0, 0)
    judge.judge(dataclasses.replace(GOOD, sharpness=59))
    judge.judge(dataclasses.replace(GOOD, warp_error=0.031))
    assert (judge.probed.blurred, judge.probed.warped) == (1, 1)


def test_a_difference_that_nobody_sees_is_none() -> None:
    judge = Judge()
    for _ in range(10):
        judge.judge(dataclasses.replace(GOOD, warp_error=0.001))
    judge.judge(dataclasses.replace(GOOD, warp_error=0.019))
    assert judge.probed.warped == 0


def test_nothing_is_normal_at_first_nor_after_another_look() -> None:
    judge = Judge()
    for _ in range(4):
        judge.judge(GOOD)
    judge.judge(dataclasses.replace(GOOD, sharpness=1))
    assert judge.probed.blurred == 0
    for _ in range(9):
        judge.judge(GOOD)
    judge.forget_normal()
    judge.judge(dataclasses.replace(GOOD, sharpness=1))
    assert judge.probed.blurred == 0


class Measured:
    """Stands in for `measure`: remembers the first pixels of what it was shown."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.done = threading.Semaphore(0)

    def __call__(self, *pictures: Pixels) -> PictureFigures:
        self.rows.append([int(picture[0, 0, 0]) for picture in pictures])
        self.done.release()
        return GOOD

    def wait(self) -> None:
        assert self.done.acquire(timeout=10)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    measured = Measured()
    monkeypatch.setattr(module, "measure", measured)
    return measured


@pytest.fixture
def probe(measured: Measured) -> Iterator[PictureProbe]:
    probe = PictureProbe()
    probe.start()
    yield probe
    probe.stop()
    assert not probe._thread.is_alive()


def picture(number: int, width: int = 4) -> Pixels:
    return np.full((4, width, 3), number, np.uint8)


def test_three_neighbours_once_a_second(probe: PictureProbe, measured: Measured) -> None:
    for number in range(90):  # at 30 a second
        probe.see(picture(number), 1, number * S // 30)
        if number in (2, 34, 66):
            measured.wait()
    assert measured.rows == [[0, 1, 2], [32, 33, 34], [64, 65, 66]]
    assert probe._row == [], "nothing is kept while nothing is due"


def test_an_interruption_and_another_look_part_neighbours(
    probe: PictureProbe, measured: Measured
) -> None:
    probe.see(picture(1), 1, 0)
    probe.see(picture(2), 1, 1)
    probe.interrupted()
    probe.see(picture(3), 1, 2)
    probe.see(picture(4), 2, 3)
    probe.see(picture(5, width=8), 2, 4)
    probe.see(picture(6, width=8), 2, 5)
    probe.see(picture(7, width=8), 2, 6)
    measured.wait()
    assert measured.rows == [[5, 6, 7]]


def test_it_can_be_stopped_before_it_was_started() -> None:
    PictureProbe().stop()
