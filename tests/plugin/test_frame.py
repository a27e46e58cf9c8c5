"""Sizes, fitting, and the frame's own promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import ConfigError
from brushcast.frame import Frame, Size, fit, model_size, resize

even_sides = st.integers(1, 400).map(lambda n: 2 * n)


def picture(width: int, height: int) -> np.ndarray:
    """Red left half, blue right half, a white dot in the middle."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 200
    pixels[:, width // 2 :, 2] = 200
    pixels[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    return pixels


@pytest.mark.parametrize(
    "text", ["", "512", "512x", "x288", "512x288x3", "-2x4", "511x288", "0x0", "9000x2"]
)
def test_a_size_that_is_none_is_refused_with_what_was_seen(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        Size.parse(text)


def test_a_size_reads_and_prints_the_same() -> None:
    assert str(Size.parse(" 512X288 ")) == "512x288"


def test_a_frame_is_read_only() -> None:
    frame = Frame(picture(64, 36), seq=0, captured_ns=1)
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels_HWC[0, 0] = 1
    assert frame.size == Size(64, 36)


@given(
    st.integers(2, 300),
    st.integers(2, 300),
    even_sides,
    even_sides,
    st.sampled_from(["crop", "pad"]),
)
def test_fit_gives_the_asked_size_for_any_shape(w: int, h: int, tw: int, th: int, how: str) -> None:
    fitted = fit(np.full((h, w, 3), 77, np.uint8), Size(tw, th), how)  # type: ignore[arg-type]
    assert fitted.shape == (th, tw, 3)
    assert fitted.flags.c_contiguous
    assert fitted[th // 2, tw // 2].tolist() == [77, 77, 77]


def test_crop_cuts_the_sides_and_keeps_the_middle() -> None:
    fitted = fit(picture(640, 480), Size(512, 288), "crop")
    assert fitted[10, 10].tolist() == [200, 0, 0]
    assert fitted[144, 256].min() > 200


def test_pad_shows_everything_between_black_bars() -> None:
    fitted = fit(picture(640, 480), Size(512, 288), "pad")
    assert fitted[:, :60].max() == 0
    assert fitted[:, -60:].max() == 0
    assert fitted[144, 100].tolist() == [200, 0, 0]


def test_resize_to_its_own_size_is_the_picture_itself() -> None:
    pixels = picture(64, 36)
    assert resize(pixels, Size(64, 36)) is pixels


@pytest.mark.parametrize(
    ("aspect", "wanted"),
    [
        ("1280x720", "512x288"),
        ("400x400", "384x384"),
        ("720x1280", "288x512"),
        ("640x480", "448x336"),
    ],
)
def test_the_model_size_keeps_shape_and_area(aspect: str, wanted: str) -> None:
    assert str(model_size(Size.parse(aspect), 147_456)) == wanted
