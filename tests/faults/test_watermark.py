"""The number survives what a picture goes through, and the smallest leak is seen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from brushcast.card import Composer
from brushcast.frame import Pixels, Size
from brushcast.yuv import BT709, YuvConverter
from tests.faults.watermark import (
    NUMBERS,
    leak,
    leak_of_planes,
    number_of,
    number_of_luma,
    source_picture,
)

SIZE = Size(640, 360)


def planes_of(pixels_HWC: Pixels, size: Size) -> list[Pixels]:
    planes = [
        np.empty((size.height, size.width), np.uint8),
        *(np.empty((size.height // 2, size.width // 2), np.uint8) for _ in range(2)),
    ]
    YuvConverter(size, BT709).convert(pixels_HWC, planes, None)
    return planes


def greyed(pixels_HWC: Pixels) -> Pixels:
    grey = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2GRAY)
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [SIZE, Size(512, 288), Size(1280, 720), Size(160, 90)])
@pytest.mark.parametrize("number", [0, 1, 4242, NUMBERS - 1])
def test_a_raw_picture_is_all_leak_and_tells_its_number(number: int, size: Size) -> None:
    there = cv2.resize(source_picture(number, SIZE), (size.width, size.height))
    assert leak(np.asarray(there, np.uint8)) > 0.8
    assert number_of(np.asarray(there, np.uint8)) == number


def test_numbers_come_round_again() -> None:
    assert np.array_equal(
        source_picture(NUMBERS + 5, SIZE)[130:220], source_picture(5, SIZE)[130:220]
    )
    assert number_of(source_picture(NUMBERS + 5, SIZE)) == 5


def test_planes_tell_the_same() -> None:
    luma_HW, _, cr_HW = planes_of(source_picture(77, SIZE), SIZE)
    assert leak_of_planes(luma_HW, cr_HW) > 0.9
    assert number_of_luma(luma_HW) == 77


def test_without_colour_the_number_is_left_and_no_leak() -> None:
    small = cv2.resize(greyed(source_picture(123_456, SIZE)), (512, 288))
    back = np.asarray(cv2.resize(small, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert abs(leak(back)) < 0.02
    assert number_of(back) == 123_456


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_a_faded_leak_counts_by_its_weight(share: float) -> None:
    raw, other = source_picture(9, SIZE), greyed(source_picture(700, SIZE))
    mixed = cv2.addWeighted(raw, share, other, 1 - share, 0)
    assert leak(np.asarray(mixed, np.uint8)) == pytest.approx(share, abs=0.03)


def test_a_leak_in_a_tenth_of_the_picture_is_seen() -> None:
    picture = greyed(source_picture(9, SIZE))
    picture[:40] = source_picture(9, SIZE)[:40]
    assert leak(picture) > 0.08


@pytest.mark.parametrize("card", ["starting", "reconnecting", "failed", "paused"])
def test_the_cards_hold_neither(card: str) -> None:
    picture = Composer(SIZE).card(card)
    assert abs(leak(picture)) < 0.05
    assert number_of(picture) is None


def test_pictures_of_anything_hold_neither() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        blobs = rng.integers(0, 256, (9, 16, 3), np.uint8)
        picture = np.asarray(cv2.resize(blobs, (640, 360), interpolation=cv2.INTER_CUBIC), np.uint8)
        assert abs(leak(picture)) < 0.15
        assert number_of(picture) is None
    assert number_of(np.full((360, 640, 3), 128, np.uint8)) is None


def test_two_numbers_faded_are_no_third() -> None:
    one, two = source_picture(1000, SIZE), source_picture(1017, SIZE)
    for share in np.linspace(0, 1, 21):
        mixed = np.asarray(cv2.addWeighted(one, share, two, 1 - share, 0), np.uint8)
        assert number_of(mixed) in (1000, 1017, None)
