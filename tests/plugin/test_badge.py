"""The badge: where it is, that it can be read on anything, and that it is clean."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from brushcast.badge import CORNERS, Corner, parse_badge, plane_patches, rgb_patch
from brushcast.errors import ConfigError
from brushcast.frame import Pixels, Size
from brushcast.yuv import BT601, BT709, Matrix

SIZES = [
    Size(1280, 720),
    Size(640, 360),
    Size(1920, 1080),
    Size(640, 480),
    Size(720, 1280),
    Size(512, 512),
    Size(3840, 2160),
    Size(160, 96),
]


def laid(size: Size, corner: Corner, level: int) -> Pixels:
    patch = rgb_patch(size, corner)
    assert patch is not None
    picture = np.full((size.height, size.width, 3), level, np.uint8)
    patch.lay_on(picture)
    return picture


def touched(size: Size, corner: Corner) -> NDArray[np.bool_]:
    """Which pixels are not what they were, on black or on white."""
    black, white = laid(size, corner, 0), laid(size, corner, 255)
    return np.asarray((black != 0).any(2) | (white != 255).any(2))


def letters(size: Size, corner: Corner) -> NDArray[np.bool_]:
    """Where ink is: lighter on black than anything the pill adds."""
    return laid(size, corner, 0).min(2) > 150


@pytest.mark.parametrize(("size", "corner"), list(itertools.product(SIZES, CORNERS)))
def test_it_is_small_and_in_its_corner(size: Size, corner: Corner) -> None:
    rows, columns = np.nonzero(touched(size, corner))
    side = min(size.width, size.height)
    assert rows.max() - rows.min() < max(15, 0.06 * side)
    assert columns.max() - columns.min() < max(25, 0.1 * side)
    assert (rows.mean() < size.height / 2) == corner.startswith("top")
    assert (columns.mean() < size.width / 2) == corner.endswith("left")


@pytest.mark.parametrize(("size", "corner"), list(itertools.product(SIZES, CORNERS)))
def test_no_crop_from_the_middle_takes_a_letter(size: Size, corner: Corner) -> None:
    """4:3, a square, and the circle in the square."""
    rows, columns = np.nonzero(letters(size, corner))
    assert len(rows) > 10
    away_y, away_x = rows + 0.5 - size.height / 2, columns + 0.5 - size.width / 2
    side = min(size.width, size.height)
    assert np.abs(away_x).max() < 0.4 * side
    assert np.abs(away_y).max() < 0.4 * side
    assert np.hypot(away_x, away_y).max() <= side / 2 + 1, "a pixel for rounding"


def luminance(levels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Relative luminance of sRGB greys, as in WCAG 2."""
    values = levels / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("size", [Size(1280, 720), Size(640, 360)], ids=str)
def test_its_letters_stand_out_on_every_picture(size: Size, level: int) -> None:
    picture = laid(size, "top-left", level).mean(2)
    patch = rgb_patch(size, "top-left")
    assert patch is not None
    height, width = patch.kept.shape[:2]
    pill = picture[patch.top : patch.top + height, patch.left : patch.left + width]
    around = np.median(pill[height // 4 : -height // 4, width // 6 : width // 4])
    ink = pill[letters(size, "top-left")[patch.top :, patch.left :][:height, :width]]
    contrast = (luminance(np.median(ink)) + 0.05) / (luminance(around) + 0.05)
    assert contrast >= 4.5


def test_its_rim_parts_it_from_a_black_picture() -> None:
    assert 40 < laid(Size(1280, 720), "top-left", 0)[97:100, 390:400].max() < 140


@pytest.mark.parametrize("size", [Size(1280, 720), Size(640, 360), Size(1920, 1080)], ids=str)
def test_its_edges_are_smooth_and_its_stem_sharp(size: Size) -> None:
    patch = rgb_patch(size, "top-left")
    assert patch is not None
    kept = patch.kept[:, :, 0]
    assert len(np.unique(kept[:3])) > 4, "the round ends are antialiased"
    height, width = kept.shape
    row = kept[height // 2, width // 2 :].astype(int)
    assert row.min() <= 10, "the I is solid"
    assert np.array_equal(kept[height // 2, :4], kept[height // 2, ::-1][:4]), "both ends alike"


def test_planes_and_rgb_are_the_same_badge() -> None:
    """Over greys, where no chroma is in play but the badge's own."""
    size, matrix = Size(1280, 720), BT709
    for level in (0, 90, 255):
        luma = np.full((720, 1280), round(level * 219 / 255 + 16), np.uint8)
        cb, cr = (np.full((360, 640), 128, np.uint8) for _ in range(2))
        for patch, plane in zip(
            plane_patches(size, "top-left", matrix), (luma, cb, cr), strict=True
        ):
            patch.lay_on(plane)
        wanted = laid(size, "top-left", level).astype(float) @ matrix[0, :3] + matrix[0, 3]
        assert np.abs(luma - wanted).max() <= 1.5
        assert np.abs(cb.astype(int) - 128).max() <= 2
        assert np.abs(cr.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_nothing_outside_is_touched(matrix: Matrix) -> None:
    size = Size(640, 360)
    for level in (0, 255):
        planes = [np.full((360, 640), level, np.uint8), np.full((180, 320), level, np.uint8)]
        patches = plane_patches(size, "bottom-right", matrix)
        for patch, plane in zip(patches, planes, strict=False):
            patch.lay_on(plane)
            there = plane[patch.top :, patch.left :][: len(patch.kept), : patch.kept.shape[1]]
            outside = plane.astype(int)
            outside[patch.top :, patch.left :][: len(patch.kept), : patch.kept.shape[1]] = level
            assert (outside == level).all()
            assert there[0, 0] == there[-1, -1] == level, "the pill's corners"
            middle = there[there.shape[0] // 2, 2]
            assert abs(int(middle) - level) > 15, "the pill itself"


@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_no_sum_leaves_its_bits(matrix: Matrix) -> None:
    """And what lies outside the shape, but in the patch, is kept to the level."""
    for size in SIZES:
        for patch in (*plane_patches(size, "top-left", matrix), rgb_patch(size, "top-left")):
            assert patch is not None
            kept, added = patch.kept.astype(int), np.broadcast_to(patch.added, patch.added.shape)
            assert (255 * kept + added).max() < 2**16
            assert added[np.broadcast_to(kept == 256, added.shape)].max(initial=0) < 256


def test_chroma_has_half_the_place() -> None:
    for size, corner in itertools.product(SIZES, CORNERS):
        luma, cb, cr = plane_patches(size, corner, BT709)
        for chroma in (cb, cr):
            assert (2 * chroma.top, 2 * chroma.left) == (luma.top, luma.left)
            assert tuple(2 * side for side in chroma.kept.shape) == luma.kept.shape


def test_a_picture_without_room_stays_as_it_is() -> None:
    for size in (Size(2, 2), Size(16, 16), Size(640, 12)):
        assert rgb_patch(size, "top-left") is None
        assert plane_patches(size, "top-left", BT709) == ()


def test_corners_are_read_strictly() -> None:
    assert parse_badge(None) is None
    assert [parse_badge(corner) for corner in CORNERS] == list(CORNERS)
    for wrong in ("middle", "", True, 1, ["top-left"]):
        with pytest.raises(ConfigError, match="wanted nothing or one of top-left"):
            parse_badge(wrong)
