"""Card: turns playout's answer into pixels: cards, the badge, the blurred held picture and
cross-fades.
"""

from __future__ import annotations

import logging
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from brushcast.frame import Fit, Pixels, Size, fit
from brushcast.playout import Kind, Layer, Shown

log = logging.getLogger(__name__)

BADGE = "badge-reconnecting"
BADGE_WIDTH = 0.2  # of the picture's width: readable in a 320 px preview, small in a stream
BADGE_MARGIN = 0.025
BLUR_REDUCTION = 16  # each side; a face at 1280x720 is then a dozen blobs
# Name of a card → (its picture, what is written when there is none).
CARDS = {
    "starting": ("card-starting.png", "Starting..."),
    "reconnecting": ("card-waiting.png", "Be right back"),
    "failed": ("card-off.png", "Brushcast is off"),
    "paused": ("card-off.png", "Brushcast is off"),
}
CROP_FROM_ASPECT = 1.25  # narrower pictures would cut the card's words: bars then
_BACKGROUND_RGB = (24, 26, 33)
_TEXT_RGB = (235, 232, 225)


class Composer:
    """Composes pictures of one size. Cards, the badge, and the last scaled and blurred pictures are
    kept. One owner thread.
    """

    def __init__(self, size: Size, how: Fit = "crop") -> None:
        """how: `crop` or `pad`, for styled pictures of another shape."""
        self.size = size
        self._how: Fit = how
        self._cards: dict[str, Pixels] = {}
        self._badge: tuple[Pixels, NDArray[np.float32]] | None = None
        self._scaled: list[tuple[Pixels, Pixels]] = []  # (as given, at size), newest last
        self._blurred: tuple[Pixels, Pixels] | None = None

    def compose(self, shown: Shown[Pixels]) -> Pixels:
        """[H W 3] uint8 RGB of `size`, or a smaller styled picture as it came, when nothing is
        added to it and whoever shows it may scale and crop it: once, and straight into its own
        colours. Read-only; the very same array as before when nothing changed.
        """
        if self._stays_as_it_is(shown):
            assert shown.picture is not None
            return _frozen(shown.picture)
        top = self._layer(Layer(shown.kind, shown.picture), shown.card)
        if shown.under is None or shown.mix >= 1.0:
            return top
        under = self._layer(shown.under, shown.card)
        if under is top:
            return top
        mixed = cv2.addWeighted(top, shown.mix, under, 1.0 - shown.mix, 0.0)
        return _frozen(np.asarray(mixed, np.uint8))

    def _stays_as_it_is(self, shown: Shown[Pixels]) -> bool:
        if shown.picture is None or shown.kind is Kind.BLURRED or self._how != "crop":
            return False
        height, width, _ = shown.picture.shape
        alone = shown.under is None or shown.mix >= 1.0
        return alone and height * width < self.size.area_px

    def card(self, name: str) -> Pixels:
        """The card of that name (see CARDS; anything else is written out) at this size;
        read-only.
        """
        if name not in self._cards:
            self._cards[name] = _frozen(load_card(name, self.size))
        return self._cards[name]

    def _layer(self, layer: Layer[Pixels], card: str) -> Pixels:
        if layer.picture is None:
            return self.card(card)
        if layer.kind is not Kind.BLURRED:
            return self._at_size(layer.picture)
        if self._blurred is None or self._blurred[0] is not layer.picture:
            soft = np.array(blur(self._at_size(layer.picture)))
            self._put_badge(soft)
            self._blurred = (layer.picture, _frozen(soft))
        return self._blurred[1]

    def _at_size(self, picture: Pixels) -> Pixels:
        for given, scaled in self._scaled:
            if given is picture:
                return scaled
        scaled = fit(picture, self.size, self._how)
        if scaled is not picture:
            _frozen(scaled)
        self._scaled = [*self._scaled[-1:], (picture, scaled)]  # two: a fade needs both
        return scaled

    def _put_badge(self, pixels_HWC: Pixels) -> None:
        """Onto the lower left corner, in place."""
        if self._badge is None:
            self._badge = load_badge(self.size)
        badge_HWC, alpha_HW1 = self._badge
        height, width, _ = badge_HWC.shape
        left = round(self.size.width * BADGE_MARGIN)
        top = self.size.height - height - left
        if top < 0 or left + width > self.size.width:
            return  # a picture of a few pixels: no room
        place = pixels_HWC[top : top + height, left : left + width]
        place[:] = (badge_HWC * alpha_HW1 + place * (1 - alpha_HW1) + 0.5).astype(np.uint8)


def blur(pixels_HWC: Pixels) -> Pixels:
    """Strongly out of focus at the cost of two resizes (under 1 ms at 1280x720), a little
    darker.
    """
    height, width, _ = pixels_HWC.shape
    small = (max(2, width // BLUR_REDUCTION), max(2, height // BLUR_REDUCTION))
    tiny = cv2.resize(pixels_HWC, small, interpolation=cv2.INTER_AREA)
    tiny = cv2.convertScaleAbs(cv2.GaussianBlur(tiny, (5, 5), 0), alpha=0.85)
    return np.asarray(cv2.resize(tiny, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def load_card(name: str, size: Size) -> Pixels:
    """The packaged picture of that card at `size`; drawn plainly when there is none."""
    file, title = CARDS.get(name, ("", name))
    image = load_asset(file) if file else None
    if image is None:
        return _plain(title, size)
    how: Fit = "crop" if size.width >= CROP_FROM_ASPECT * size.height else "pad"
    return np.array(fit(_rgb(image), size, how))


def load_badge(size: Size) -> tuple[Pixels, NDArray[np.float32]]:
    """The badge for pictures of `size`: (badge_HWC uint8 RGB, alpha_HW1 float32 0..1)."""
    image = load_asset(f"{BADGE}.png")
    width = max(2, round(size.width * BADGE_WIDTH))
    if image is None:
        height = max(2, round(width / 5))
        badge = _plain("reconnecting", Size(width // 2 * 2, height // 2 * 2))
        return badge, np.full((*badge.shape[:2], 1), 0.8, np.float32)
    height = max(2, round(width * image.shape[0] / image.shape[1]))
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    alpha = image[:, :, 3:] if image.shape[2] == 4 else np.full((height, width, 1), 255, np.uint8)
    return _rgb(image), (alpha / 255).astype(np.float32)


def load_asset(name: str) -> Pixels | None:
    """A picture of the package as [H W 3 or 4] uint8 in OpenCV's order (BGR, BGRA); None when it is
    not there.
    """
    file = resources.files("brushcast").joinpath("assets", name)
    try:
        data = file.read_bytes()
    except OSError:
        log.debug("no asset %s: drawn plainly", name)
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.dtype != np.uint8:
        log.warning("asset %s is no 8-bit colour picture", name)
        return None
    return np.asarray(image, np.uint8)


def _rgb(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[:, :, 2::-1])


def _plain(text: str, size: Size) -> Pixels:
    canvas = np.full((size.height, size.width, 3), _BACKGROUND_RGB, np.uint8)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    scale = min(0.6 * size.width / wide, 0.3 * size.height / high)
    at = (round((size.width - wide * scale) / 2), round((size.height + high * scale) / 2))
    thick = max(1, round(scale * 1.5))
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, _TEXT_RGB, thick, cv2.LINE_AA)
    return canvas


def _frozen(pixels_HWC: Pixels) -> Pixels:
    pixels_HWC.setflags(write=False)
    return pixels_HWC
