"""Colours and sizes of the planes that sinks are given."""

import av
import cv2
import numpy as np
import pytest

from brushcast.badge import CORNERS, plane_patches
from brushcast.frame import Pixels, Size, centre_crop, fit
from brushcast.upscale import Upscaler
from brushcast.yuv import BT601, BT709, Layout, Matrix, YuvConverter, YuvPacker, packed_bytes


def chart(side: int = 256) -> Pixels:
    """64 colours in squares."""
    values = (0, 85, 170, 255)
    colours = np.array([(r, g, b) for r in values for g in values for b in values], np.uint8)
    rows = np.repeat(colours.reshape(8, 8, 3), side // 8, axis=0)
    return np.ascontiguousarray(np.repeat(rows, side // 8, axis=1))


def slopes(size: Size) -> Pixels:
    """Every channel changes slowly, each in a direction of its own."""
    x, y = np.meshgrid(np.linspace(0, 1, size.width), np.linspace(0, 1, size.height))
    return (255 * np.stack([x, y, (x + 1 - y) / 2], -1)).astype(np.uint8)


def planes(pixels_HWC: Pixels, size: Size, matrix: Matrix = BT709) -> list[Pixels]:
    made = [np.zeros((size.height, size.width), np.uint8)]
    made += [np.zeros((size.height // 2, size.width // 2), np.uint8) for _ in range(2)]
    YuvConverter(size, matrix).convert(pixels_HWC, made)
    return made


@pytest.mark.parametrize(("matrix", "name"), [(BT709, "ITU709"), (BT601, "ITU601")])
def test_the_colours_agree_with_swscale(matrix: Matrix, name: str) -> None:
    size = Size(256, 256)
    ours = planes(chart(), size, matrix)
    frame = av.VideoFrame.from_ndarray(chart(), "rgb24")
    theirs = frame.reformat(
        format="yuv420p", dst_colorspace=name, dst_color_range="MPEG"
    ).to_ndarray()
    assert np.abs(ours[0].astype(int) - theirs[:256]).max() <= 1
    # Chroma at the middles of the squares: at their seams it may be sited anywhere.
    for plane, rows in ((ours[1], np.s_[256:320]), (ours[2], np.s_[320:384])):
        middles = [
            part.reshape(128, 128)[8::16, 8::16].astype(int) for part in (plane, theirs[rows])
        ]
        assert np.abs(middles[0] - middles[1]).max() <= 1


@pytest.mark.parametrize("given", [Size(128, 128), Size(96, 54), Size(320, 320), Size(640, 400)])
def test_a_picture_of_any_size_looks_as_if_it_were_scaled_first(given: Size) -> None:
    size = Size(320, 180)
    direct, scaled = planes(slopes(given), size), planes(fit(slopes(given), size), size)
    for ours, theirs in zip(direct, scaled, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 3


def test_colours_of_a_small_picture_keep_their_detail() -> None:
    """Red and blue columns: halved before they are scaled, they would be one purple."""
    small = np.zeros((90, 160, 3), np.uint8)
    small[:, ::2, 0] = small[:, 1::2, 2] = 255
    _, cb, cr = planes(small, Size(640, 360))
    assert np.ptp(cb[90].astype(int)) > 100
    assert np.ptp(cr[90].astype(int)) > 100


@pytest.mark.parametrize("given", [Size(160, 90), Size(120, 120), Size(300, 170)])
def test_luminance_of_a_small_picture_is_crisp_in_rows_of_any_pitch(given: Size) -> None:
    """A black disc on white: as `Upscaler` has it, written in place."""
    size = Size(320, 180)
    small = np.full((given.height, given.width, 3), 255, np.uint8)
    cv2.circle(small, (given.width // 2, given.height // 2), 20, (0, 0, 0), -1, cv2.LINE_AA)
    wide = np.full((180, 384), 7, np.uint8)
    made = [wide[:, :320], *(np.zeros((90, 160), np.uint8) for _ in range(2))]
    YuvConverter(size, BT709).convert(small, made)
    luma = cv2.transform(centre_crop(small, size), BT709)[..., 0]
    wanted = np.zeros((180, 320), np.uint8)
    Upscaler(size).luma(np.ascontiguousarray(luma), wanted)
    assert np.array_equal(made[0], wanted)
    assert (wide[:, 320:] == 7).all()
    assert (made[1] == 128).all()


def test_one_converter_takes_pictures_of_changing_sizes_and_leaves_them_alone() -> None:
    size = Size(64, 48)
    converter = YuvConverter(size, BT709)
    made = [np.zeros((48, 64), np.uint8), *(np.zeros((24, 32), np.uint8) for _ in range(2))]
    for side, value in ((32, 40), (64, 90), (100, 200), (32, 10)):
        grey = np.full((side, side, 3), value, np.uint8)
        grey.setflags(write=False)
        converter.convert(grey, made)
        luma = cv2.transform(np.full((1, 1, 3), value, np.uint8), BT709)[0, 0, 0]
        assert (made[0] == luma).all()
        assert (made[1] == 128).all()


def test_the_badge_is_laid_on_last_at_the_full_size() -> None:
    """A picture that was painted small: the badge is neither scaled nor sharpened."""
    size, small = Size(1280, 720), slopes(Size(512, 288))
    marked = planes(small, size)
    converter = YuvConverter(size, BT709)
    for corner in CORNERS:  # each time the picture is converted anew
        converter.convert(small, marked, corner)
        wanted = planes(small, size)
        for patch, plane in zip(plane_patches(size, corner, BT709), wanted, strict=True):
            patch.lay_on(plane)
        assert all(
            np.array_equal(ours, theirs) for ours, theirs in zip(marked, wanted, strict=True)
        )


@pytest.mark.parametrize(
    ("layout", "code"),
    [
        ("I420", cv2.COLOR_YUV2RGB_I420),
        ("NV12", cv2.COLOR_YUV2RGB_NV12),
        ("YUYV", cv2.COLOR_YUV2RGB_YUYV),
        ("UYVY", cv2.COLOR_YUV2RGB_UYVY),
    ],
)
def test_every_layout_reads_back_as_the_same_picture(layout: Layout, code: int) -> None:
    size = Size(256, 256)
    flat = YuvPacker(size, BT601, layout).pack(chart())
    assert flat.size == packed_bytes(size, layout)
    shape = (-1, 256, 2) if layout in ("YUYV", "UYVY") else (-1, 256)
    assert np.abs(cv2.cvtColor(flat.reshape(shape), code).astype(int) - chart()).max() <= 3


def test_what_was_packed_before_is_not_written_over() -> None:
    packer = YuvPacker(Size(64, 48), BT601, "I420")
    first = packer.pack(np.zeros((48, 64, 3), np.uint8))
    packer.pack(np.full((48, 64, 3), 255, np.uint8))
    assert first[0] == 16
