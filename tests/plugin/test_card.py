"""Cards, badge, blur and cross-fades as pixels."""

import numpy as np
import pytest

from brushcast.card import CARDS, Composer, blur, load_asset
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind, Layer, Shown

SIZE = Size(320, 180)


def shown(
    kind: Kind,
    picture: Pixels | None = None,
    *,
    under: Layer[Pixels] | None = None,
    mix: float = 1.0,
    card: str = "starting",
) -> Shown[Pixels]:
    return Shown(kind, picture, under, mix, card, -1, -1)


def plain(value: int, size: Size = SIZE) -> Pixels:
    return np.full((size.height, size.width, 3), value, np.uint8)


def stripes(size: Size = SIZE) -> Pixels:
    pixels = plain(0, size)
    pixels[:, ::4] = 255
    pixels[:, 1::4] = 255
    return pixels


@pytest.mark.parametrize("size", [Size(2, 2), Size(320, 180), Size(1280, 720), Size(360, 640)])
@pytest.mark.parametrize("name", [*CARDS, "something else"])
def test_every_card_comes_at_every_size(size: Size, name: str) -> None:
    pixels = Composer(size).compose(shown(Kind.CARD, card=name))
    assert pixels.shape == (size.height, size.width, 3)
    assert pixels.dtype == np.uint8
    assert not pixels.flags.writeable


def test_cards_say_something_and_differ() -> None:
    composer = Composer(SIZE)
    cards = [composer.card(name) for name in ("starting", "reconnecting", "paused")]
    assert all(card.std() > 5 for card in cards)
    assert all(not np.array_equal(a, b) for a, b in zip(cards, cards[1:], strict=False))


def test_a_smaller_live_picture_is_left_to_whoever_shows_it() -> None:
    small = plain(77, Size(160, 90))
    pixels = Composer(SIZE).compose(shown(Kind.LIVE, small))
    assert pixels is small
    assert not pixels.flags.writeable


def test_what_is_mixed_or_larger_is_brought_to_the_size() -> None:
    small, large = plain(77, Size(160, 90)), plain(77, Size(640, 360))
    under = Layer(Kind.LIVE, plain(77, Size(64, 36)))
    for answer in (shown(Kind.LIVE, large), shown(Kind.LIVE, small, under=under, mix=0.5)):
        pixels = Composer(SIZE).compose(answer)
        assert pixels.shape == (180, 320, 3)
        assert (pixels == 77).all()


def test_another_shape_is_cropped_or_padded_as_asked() -> None:
    square = plain(200, Size(180, 180))
    assert (Composer(SIZE, "crop").compose(shown(Kind.LIVE, square)) == 200).all()
    padded = Composer(SIZE, "pad").compose(shown(Kind.LIVE, square))
    assert (padded[:, 0] == 0).all()
    assert (padded[:, 160] == 200).all()


def test_a_repeated_answer_is_the_very_same_array() -> None:
    composer, picture = Composer(SIZE), plain(9, Size(160, 90))
    assert composer.compose(shown(Kind.LIVE, picture)) is composer.compose(
        shown(Kind.HELD, picture)
    )
    assert composer.compose(shown(Kind.BLURRED, picture)) is composer.compose(
        shown(Kind.BLURRED, picture)
    )
    assert composer.compose(shown(Kind.CARD)) is composer.compose(shown(Kind.CARD))


def test_a_blurred_picture_loses_its_detail_and_carries_the_badge() -> None:
    pixels = Composer(SIZE).compose(shown(Kind.BLURRED, stripes()))
    upper = pixels[: SIZE.height // 2]
    assert upper.std() < 3  # the stripes are gone
    badge = pixels[-30:, :70]
    assert badge.astype(int).max() - badge.astype(int).min() > 60


def test_blur_keeps_the_rough_picture() -> None:
    pixels = plain(0)
    pixels[:, 160:] = 200
    soft = blur(pixels)
    assert soft.shape == pixels.shape
    assert soft[90, 20].max() < 20
    assert soft[90, 300].min() > 120


@pytest.mark.parametrize("mix", [0.1, 0.5, 0.9])
def test_a_cross_fade_mixes_both_pictures(mix: float) -> None:
    old, new = plain(0), plain(200)
    answer = shown(Kind.LIVE, new, under=Layer(Kind.HELD, old), mix=mix)
    pixels = Composer(SIZE).compose(answer)
    assert abs(int(pixels[0, 0, 0]) - 200 * mix) <= 1


def test_a_fade_from_the_card_begins_with_the_card() -> None:
    composer = Composer(SIZE)
    answer = shown(Kind.LIVE, plain(255), under=Layer(Kind.CARD, None), mix=0.01)
    pixels = composer.compose(answer)
    assert np.abs(pixels.astype(int) - composer.card("starting")).max() <= 4


def test_a_composed_picture_never_changes_afterwards() -> None:
    composer, picture = Composer(SIZE), stripes(Size(160, 90))
    first = composer.compose(shown(Kind.LIVE, picture))
    copy = first.copy()
    composer.compose(shown(Kind.BLURRED, picture))
    composer.compose(shown(Kind.LIVE, plain(3), under=Layer(Kind.LIVE, picture), mix=0.5))
    assert np.array_equal(first, copy)


def test_an_asset_that_is_missing_is_none() -> None:
    assert load_asset("no-such-picture.png") is None
