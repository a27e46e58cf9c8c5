"""The test card: colour bars, grey ramp, resolution wedges, circles and a portrait."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 1280, 720, 2
# 75 % colour bars: white, yellow, cyan, green, magenta, red, blue.
BARS = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
)
CENTRE, RADIUS = (640, 330), 236


def testcard(portrait: NDArray[np.uint8], fonts: Path) -> Pil.Image:
    """The card, 1280x720 RGB; `portrait` is a 1280x720 RGB picture whose middle is shown."""
    image = Pil.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), (58, 62, 70))
    draw = ImageDraw.Draw(image)
    _grid(draw)
    _bars(draw)
    _ramp(draw)
    _lines(draw)
    for x in (104, 1176):
        for y in (104, 616):
            _rings(draw, x, y, 72)
    text = ImageFont.truetype(str(fonts / "Inter-SemiBold.otf"), 26 * SCALE)
    small = ImageFont.truetype(str(fonts / "Inter-Medium.otf"), 18 * SCALE)
    for box in ((526, 590, 754, 660),):
        draw.rectangle([v * SCALE for v in box], (20, 22, 28))
    draw.text((640 * SCALE, 612 * SCALE), "BRUSHCAST", (243, 237, 226), text, anchor="mm")
    draw.text(
        (640 * SCALE, 641 * SCALE), "test card  1280 × 720", (185, 189, 199), small, anchor="mm"
    )
    flat = image.resize((WIDTH, HEIGHT), Pil.Resampling.BOX)
    return _set_portrait(flat, portrait)


def _s(*values: float) -> list[float]:
    return [v * SCALE for v in values]


def _grid(draw: ImageDraw.ImageDraw) -> None:
    for x in range(0, WIDTH, 40):
        draw.rectangle(_s(x - 0.5, 0, x + 0.5, HEIGHT), (96, 100, 108))
    for y in range(0, HEIGHT, 40):
        draw.rectangle(_s(0, y - 0.5, WIDTH, y + 0.5), (96, 100, 108))
    for x in range(0, WIDTH, 40):  # a chequered border shows what a crop takes away
        for y, odd in ((0, 0), (HEIGHT - 16, 1)):
            draw.rectangle(
                _s(x, y, x + 40, y + 16), (235, 235, 235) if (x // 40 + odd) % 2 else (16, 16, 16)
            )
    for y in range(0, HEIGHT, 40):
        for x, odd in ((0, 0), (WIDTH - 16, 1)):
            draw.rectangle(
                _s(x, y, x + 16, y + 40), (235, 235, 235) if (y // 40 + odd) % 2 else (16, 16, 16)
            )


def _bars(draw: ImageDraw.ImageDraw) -> None:
    for i, colour in enumerate(BARS):
        draw.rectangle(_s(200 + i * 26, 120, 225.5 + i * 26, 519.5), colour)
    for i, colour in enumerate(
        (
            (236, 186, 150),
            (198, 134, 96),
            (142, 88, 60),
            (88, 54, 40),
            (232, 112, 90),
            (240, 178, 84),
            (63, 167, 154),
        )
    ):
        draw.rectangle(_s(898 + i * 26, 120, 923.5 + i * 26, 319.5), colour)
    for i in range(7):
        level = round(255 * i / 6)
        draw.rectangle(_s(898 + i * 26, 320, 923.5 + i * 26, 519.5), (level, level, level))


def _ramp(draw: ImageDraw.ImageDraw) -> None:
    for i in range(512):
        level = i // 2
        x = 384 + i
        draw.rectangle(_s(x, 40, x + 1, 76), (level, level, level))
    for i in range(512):
        hue = np.array([[[i * 179 // 511, 220, 235]]], np.uint8)
        red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        draw.rectangle(_s(384 + i, 668, 385 + i, 696), (red, green, blue))


def _lines(draw: ImageDraw.ImageDraw) -> None:
    """Upright lines, 1 to 6 pixels wide, and a converging wedge on each side."""
    for side, x0 in ((0, 200), (1, 898)):
        x = x0
        draw.rectangle(_s(x0, 530, x0 + 182, 600), (16, 16, 16))
        for pitch in (1, 2, 3, 4, 6):
            for _ in range(4 if pitch > 2 else 6):
                if x + pitch > x0 + 178:
                    break
                draw.rectangle(_s(x, 532, x + pitch - 0.5, 598), (235, 235, 235))
                x += pitch * 2
            x += 6
        draw.rectangle(_s(x0, 604, x0 + 182, 664), (235, 235, 235))
        for i in range(9):
            near, far = 608 + i * 6.2, 626 + i * 2.2
            points = [(x0 + 4, near), (x0 + 4, near + 3.1), (x0 + 178, far + 1.1), (x0 + 178, far)]
            if side:
                points = [(2 * x0 + 182 - px, py) for px, py in points]
            draw.polygon([(px * SCALE, py * SCALE) for px, py in points], (16, 16, 16))


def _rings(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.ellipse(
        _s(x - radius, y - radius, x + radius, y + radius), (20, 22, 28), (235, 235, 235), 2 * SCALE
    )
    for r in range(8, int(radius) - 4, 8):
        draw.ellipse(
            _s(x - r, y - r, x + r, y + r), None, (185, 189, 199), SCALE if r % 16 else 2 * SCALE
        )
    draw.rectangle(_s(x - radius, y - 0.5, x + radius, y + 0.5), (232, 112, 90))
    draw.rectangle(_s(x - 0.5, y - radius, x + 0.5, y + radius), (232, 112, 90))


def _set_portrait(card: Pil.Image, portrait: NDArray[np.uint8]) -> Pil.Image:
    side = 2 * RADIUS
    middle = np.ascontiguousarray(portrait[0:620, 330:950])
    small = cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA)
    big = Pil.new("L", (side * 4, side * 4), 0)
    ImageDraw.Draw(big).ellipse((0, 0, side * 4 - 1, side * 4 - 1), 255)
    small = cv2.bilateralFilter(small, 7, 24, 3)  # grain would double the file
    mask = big.resize((side, side), Pil.Resampling.BOX)
    corner = (CENTRE[0] - RADIUS, CENTRE[1] - RADIUS)
    rim = Pil.new("L", (WIDTH * 2, HEIGHT * 2), 0)
    grown = RADIUS + 4
    box = [
        2 * v for v in (CENTRE[0] - grown, CENTRE[1] - grown, CENTRE[0] + grown, CENTRE[1] + grown)
    ]
    ImageDraw.Draw(rim).ellipse(box, 255)
    white = Pil.new("RGB", card.size, (243, 237, 226))
    card = Pil.composite(white, card, rim.resize(card.size, Pil.Resampling.BOX))
    card.paste(Pil.fromarray(small), corner, mask)
    return card
