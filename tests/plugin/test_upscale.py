"""Crisp, without halos, stairs or shimmer; flat paper stays flat."""

import cv2
import numpy as np
import pytest

from brushcast.frame import Pixels, Size
from brushcast.upscale import Upscaler

FULL = Size(320, 180)
PAPER, INK = 235, 20


def scaled(source_HW: Pixels, size: Size = FULL) -> Pixels:
    plane_HW = np.zeros((size.height, size.width), np.uint8)
    Upscaler(size).luma(source_HW, plane_HW)
    return plane_HW


def cubic(source_HW: Pixels, size: Size = FULL) -> Pixels:
    where = (size.width, size.height)
    made = cv2.resize(source_HW, where, interpolation=cv2.INTER_CUBIC)
    return np.asarray(made, np.uint8)


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def slanted(width: int, height: int, slope: float) -> Pixels:
    """Paper left of a line through the middle, ink right of it, as a camera would see it: each
    pixel the mean of what it covers. slope: columns a row."""
    x = np.arange(width * 8) / 8 + 1 / 16
    y = np.arange(height * 8) / 8 + 1 / 16
    is_ink = x[None] > width / 2 + slope * (y[:, None] - height / 2)
    cover = is_ink.reshape(height, 8, width, 8).mean(axis=(1, 3))
    return (PAPER + (INK - PAPER) * cover).round().astype(np.uint8)


def painted(source_HW: Pixels) -> Pixels:
    """As soft as the model paints."""
    return np.asarray(cv2.GaussianBlur(source_HW, (3, 3), 0.6), np.uint8)


def crossings(plane_HW: Pixels) -> np.ndarray:
    """Where each row passes the middle between paper and ink, in fractions of a column."""
    found = []
    for row in plane_HW.astype(float):
        at = int(np.argmax(row < (PAPER + INK) / 2))
        found.append(at - (row[at] - (PAPER + INK) / 2) / (row[at] - row[at - 1]))
    return np.array(found)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (128, 72, FULL),
        (96, 54, FULL),
        (256, 144, FULL),
        (300, 169, FULL),
        (1, 1, Size(4, 2)),
        (2, 2, Size(8, 8)),
        (3, 2, Size(4, 2)),
        (1, 9, Size(2, 18)),
        (7, 1, Size(70, 10)),
        (31, 17, Size(62, 34)),
    ],
)
def test_no_value_leaves_the_range_of_its_neighbourhood(
    width: int, height: int, size: Size
) -> None:
    source = noise(width, height)
    made = scaled(source, size)
    at_x = np.floor((np.arange(size.width) + 0.5) * width / size.width - 0.5).astype(int)
    at_y = np.floor((np.arange(size.height) + 0.5) * height / size.height - 0.5).astype(int)
    columns = [np.clip(at_x + shift, 0, width - 1) for shift in (-1, 0, 1, 2)]
    rows = [np.clip(at_y + shift, 0, height - 1) for shift in (-1, 0, 1, 2)]
    around = np.stack([source[row][:, column] for row in rows for column in columns])
    assert (made >= around.min(axis=0)).all()
    assert (made <= around.max(axis=0)).all()


@pytest.mark.parametrize("size", [FULL, Size(640, 360)])
def test_an_edge_is_steeper_than_cubic_and_has_no_halo(size: Size) -> None:
    source = painted(slanted(128, 72, slope=0.0))
    ours = scaled(source, size)[size.height // 2].astype(int)
    theirs = cubic(source, size)[size.height // 2].astype(int)
    assert np.abs(np.diff(ours)).max() > 1.3 * np.abs(np.diff(theirs)).max()
    between = [((row < PAPER - 20) & (row > INK + 20)).sum() for row in (ours, theirs)]
    assert between[0] < between[1]
    assert (ours.min(), ours.max()) == (INK, PAPER)
    assert theirs.max() > PAPER  # the halo that ours must not have


@pytest.mark.parametrize("slope", [0.1, 0.15, 0.22, 0.4, 0.7])
def test_a_slanted_edge_gets_no_stairs(slope: float) -> None:
    """Ordinary sharpening before scaling, as crisp, wanders 0.12 columns and more."""
    source = painted(slanted(128, 72, slope))
    rows = np.arange(FULL.height)
    at = crossings(scaled(source))
    wander = np.std((at - np.polyval(np.polyfit(rows, at, 1), rows))[10:-10])
    assert wander < 0.09


@pytest.mark.parametrize("level", [0, 1, 16, 77, 128, 200, 235, 254, 255])
@pytest.mark.parametrize("side", [2, 3, 54])
def test_flat_stays_flat_bit_for_bit(level: int, side: int) -> None:
    assert (scaled(np.full((side, side), level, np.uint8), Size(180, 180)) == level).all()


def test_what_is_faint_is_not_blown_up() -> None:
    """A still scene's noise comes out little stronger than from cubic, and is not wiped away."""
    rng = np.random.default_rng(1)
    grain = (128 + rng.normal(0, 1.5, (72, 128))).round().astype(np.uint8)
    assert 1.0 <= scaled(grain).std() / cubic(grain).std() < 1.4


def test_lines_gain_contrast() -> None:
    """One pixel in five is a pencil's line."""
    lines = np.full((72, 128), 200, np.uint8)
    lines[:, ::5] = 150
    assert scaled(lines).std() > 1.08 * cubic(lines).std()


def test_its_own_size_is_itself() -> None:
    source = noise(FULL.width, FULL.height)
    assert np.array_equal(scaled(source), source)


def test_a_little_larger_changes_little() -> None:
    """Else a picture would jump into focus when the model's size comes close to the output's."""
    source = slanted(316, 178, 0.4)
    change = np.abs(scaled(source).astype(int) - cubic(source))
    assert change.max() <= 20  # cubic's own halo is 15


def test_the_same_bits_again_also_after_another_size() -> None:
    first, other = noise(128, 72), noise(96, 54, seed=1)
    upscaler = Upscaler(FULL)
    made = [np.zeros((FULL.height, FULL.width), np.uint8) for _ in range(3)]
    for source, plane in zip((first, other, first), made, strict=True):
        upscaler.luma(source, plane)
    assert np.array_equal(made[0], made[2])
    assert np.array_equal(made[1], scaled(other))


def test_it_is_written_in_place_into_padded_rows_and_the_source_is_left_alone() -> None:
    source = noise(128, 72)
    source.setflags(write=False)
    wide = np.full((FULL.height, FULL.width + 64), 7, np.uint8)
    Upscaler(FULL).luma(source, wide[:, : FULL.width])
    assert np.array_equal(wide[:, : FULL.width], scaled(source))
    assert (wide[:, FULL.width :] == 7).all()
