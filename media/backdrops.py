"""The two out-of-focus places behind the sitters, in linear light: numpy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Colour = tuple[float, float, float]


def _fbm(height_px: int, width_px: int, cell_px: float, octaves: int, seed: int) -> Image:
    """Fractal noise, 0..1, whose coarsest blobs are about `cell_px` wide."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height_px, width_px), np.float32)
    weight, norm = 1.0, 0.0
    for _ in range(octaves):
        grid = rng.random(
            (max(2, int(height_px / cell_px) + 2), max(2, int(width_px / cell_px) + 2)), np.float32
        )
        total += weight * cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        norm += weight
        weight, cell_px = weight * 0.5, max(cell_px * 0.5, 2.0)
    return np.asarray(np.clip(total / norm, 0, 1), np.float32)


def _disc_blur(image: Image, radius_px: float) -> Image:
    """A lens blur: bright points become round discs."""
    size = int(np.ceil(radius_px)) * 2 + 3
    grid = np.arange(size) - size // 2
    away = np.hypot(grid[:, None], grid[None, :])
    kernel = np.clip(radius_px + 0.5 - away, 0, 1)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


class _Canvas:
    """A picture in linear light that is drawn on in units of its height (0..16/9, 0..1 down)."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.pixels = np.zeros((height_px, width_px, 3), np.float32)
        self.unit = height_px
        ys, xs = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
        self.x, self.y = (xs + 0.5) / height_px, (ys + 0.5) / height_px

    def paint(self, mask: Image, colour: Colour | Image) -> None:
        self.pixels += mask[..., None] * (np.asarray(colour, np.float32) - self.pixels)

    def polygon(self, points: list[tuple[float, float]]) -> Image:
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        fixed = np.round(np.asarray(points) * self.unit * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, shift=4)
        return np.asarray(mask / 255, np.float32)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Image:
        return self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])

    def ellipse(self, x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Image:
        angles = np.linspace(0, 2 * np.pi, 48)
        c, s = np.cos(turn), np.sin(turn)
        px, py = rx * np.cos(angles), ry * np.sin(angles)
        return self.polygon(
            [
                (float(x + c * u - s * v), float(y + s * u + c * v))
                for u, v in zip(px, py, strict=True)
            ]
        )

    def glow(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Add light that falls off around a point."""
        away = ((self.x - x) ** 2 + (self.y - y) ** 2) / radius**2
        self.pixels += np.exp(-away)[..., None] * np.asarray(colour, np.float32)


def room(width_px: int, height_px: int) -> Image:
    """A study in the evening: window with the last light, shelf with books, lamp, plant."""
    c = _Canvas(width_px, height_px)
    rng = np.random.default_rng(7)
    shade = 1.0 - 0.45 * c.y - 0.12 * np.abs(c.x - 0.9)
    c.pixels[:] = shade[..., None] * np.array([0.050, 0.096, 0.125], np.float32)
    c.pixels *= (0.9 + 0.2 * _fbm(height_px, width_px, 60, 4, 3))[..., None]
    _window(c, rng)
    _shelf(c, rng)
    _lamp(c)
    _plant(c, rng)
    for i in range(19):  # fairy lights along the top of the wall
        x = 0.04 + i * 0.062
        y = 0.055 + 0.045 * np.sin(np.pi * (i % 6) / 6.0)
        c.paint(c.ellipse(x, y, 0.0052, 0.0052), (9.0, 4.6, 1.5))
        c.glow(x, y, 0.05, (0.035, 0.018, 0.006))
    return np.clip(_disc_blur(c.pixels, height_px * 0.0125), 0, None)


def _window(c: _Canvas, rng: np.random.Generator) -> None:
    x0, y0, x1, y1 = 1.16, 0.10, 1.60, 0.70
    v = np.clip((c.y - y0) / (y1 - y0), 0, 1)[..., None]
    top, mid, low = (
        np.array(k, np.float32)
        for k in ((0.10, 0.16, 0.36), (0.62, 0.34, 0.34), (1.55, 0.72, 0.26))
    )
    sky = np.where(v < 0.5, top + (mid - top) * v * 2, mid + (low - mid) * (v * 2 - 1))
    streak = _fbm(c.pixels.shape[0], c.pixels.shape[1], 90, 4, 9)
    streak = np.asarray(cv2.blur(streak, (int(c.unit * 0.12) | 1, 3)), np.float32)
    sky = sky * (0.75 + 0.6 * np.clip((streak - 0.45) * 4, 0, 1))[..., None]
    c.paint(c.box(x0, y0, x1, y1), sky.astype(np.float32))
    x = x0
    while x < x1:  # roofs with lit windows
        wide, tall = rng.uniform(0.03, 0.075), rng.uniform(0.06, 0.20)
        right = min(x + wide, x1)
        c.paint(c.box(x, y1 - tall, right, y1), (0.075, 0.062, 0.10))
        for _ in range(5):
            lx, ly = rng.uniform(x, right), rng.uniform(y1 - tall + 0.015, y1 - 0.01)
            if lx < x1 - 0.01:
                c.paint(c.box(lx, ly, lx + 0.006, ly + 0.009), (3.2, 1.7, 0.6))
        x += wide
    frame: Colour = (0.30, 0.275, 0.25)
    for box in (
        (x0 - 0.03, y0 - 0.03, x1 + 0.03, y0), (x0 - 0.03, y1, x1 + 0.03, y1 + 0.035),
        (x0 - 0.03, y0, x0, y1), (x1, y0, x1 + 0.03, y1),
        ((x0 + x1) / 2 - 0.010, y0, (x0 + x1) / 2 + 0.010, y1), (x0, 0.33, x1, 0.345),
    ):  # fmt: skip
        c.paint(c.box(*box), frame)
    folds = 0.5 + 0.5 * np.sin(c.x * 130 + 1.5 * np.sin(c.y * 4))
    cloth = (0.35 + 0.65 * folds)[..., None] * np.array([0.34, 0.155, 0.115], np.float32)
    c.paint(c.polygon([(1.585, 0.03), (1.80, 0.03), (1.80, 1.0), (1.63, 1.0), (1.60, 0.6)]), cloth)
    c.glow(1.40, 0.55, 0.30, (0.16, 0.07, 0.025))


def _shelf(c: _Canvas, rng: np.random.Generator) -> None:
    palette = ((0.42, 0.09, 0.06), (0.07, 0.20, 0.26), (0.62, 0.42, 0.16), (0.10, 0.19, 0.10),
               (0.60, 0.53, 0.42), (0.16, 0.10, 0.22), (0.50, 0.22, 0.10),
               (0.20, 0.30, 0.36))  # fmt: skip
    for y in (0.36, 0.62, 0.88):
        x = -0.02
        while x < 0.40:
            wide, tall = rng.uniform(0.016, 0.034), rng.uniform(0.12, 0.175)
            if rng.random() < 0.12:
                x += 0.045
                continue
            if x + wide > 0.43:
                break
            base = np.array(palette[int(rng.integers(len(palette)))], np.float32)
            across = np.clip((c.x - x) / wide, 0, 1)[..., None]
            c.paint(
                c.box(x, y - tall, x + wide - 0.002, y),
                0.75 * base * (1.15 - 0.6 * np.abs(across - 0.4)),
            )
            c.paint(
                c.box(x, y - tall * 0.78, x + wide - 0.002, y - tall * 0.72),
                tuple(base * 1.6 + 0.05),
            )
            x += wide
        c.paint(c.box(-0.02, y, 0.45, y + 0.022), (0.155, 0.082, 0.042))
        c.paint(c.box(-0.02, y + 0.022, 0.45, y + 0.045), (0.018, 0.016, 0.016))
    c.paint(c.box(0.435, 0.16, 0.452, 1.0), (0.12, 0.062, 0.032))


def _lamp(c: _Canvas) -> None:
    c.paint(c.box(0.548, 0.36, 0.556, 1.0), (0.05, 0.04, 0.035))
    c.glow(0.552, 0.34, 0.34, (0.27, 0.135, 0.045))
    v = np.clip((c.y - 0.22) / 0.17, 0, 1)[..., None]
    u = np.clip(1 - ((c.x - 0.552) / 0.10) ** 2, 0, 1)[..., None]
    shade = np.array([2.5, 1.45, 0.60], np.float32) * (0.35 + 0.75 * v) * (0.45 + 0.55 * u)
    c.paint(c.polygon([(0.505, 0.22), (0.599, 0.22), (0.640, 0.39), (0.464, 0.39)]), shade)


def _plant(c: _Canvas, rng: np.random.Generator) -> None:
    base = (1.245, 0.80)
    for i in range(26):
        angle = -np.pi / 2 + (i / 25 - 0.5) * 3.0 + rng.normal() * 0.08
        reach = rng.uniform(0.12, 0.27)
        x, y = base[0] + np.cos(angle) * reach, base[1] + np.sin(angle) * reach * 1.15
        stem = c.polygon(
            [(base[0] - 0.003, base[1]), (base[0] + 0.003, base[1]), (float(x), float(y))]
        )
        c.paint(stem, (0.03, 0.06, 0.025))
        light = rng.uniform(0.5, 1.3)
        sun = np.clip(0.6 + (c.x - base[0]) * 2.4, 0.2, 1.5)[..., None]
        leaf = np.array([0.065, 0.155, 0.055], np.float32) * light * sun
        c.paint(
            c.ellipse(float(x), float(y), 0.062, 0.024, float(angle + rng.normal() * 0.3)), leaf
        )
    side = np.clip(1.1 - np.abs(c.x - 1.225) * 9, 0.3, 1)[..., None]
    c.paint(
        c.polygon([(1.17, 0.80), (1.32, 0.80), (1.30, 1.0), (1.19, 1.0)]),
        side * np.array([0.50, 0.20, 0.11], np.float32),
    )


def hills(width_px: int, height_px: int, drift: float) -> Image:
    """Afternoon hills under clouds; `drift` moves the clouds right, in picture heights."""
    c = _Canvas(width_px, height_px)
    v = np.clip(c.y / 0.62, 0, 1)[..., None]
    c.pixels[:] = (
        np.array([0.13, 0.30, 0.66], np.float32) * (1 - v)
        + np.array([0.62, 0.72, 0.78], np.float32) * v
    )
    wide = int(width_px * 1.2)
    puff = _fbm(height_px, wide, height_px * 0.30, 6, 21)
    sky = cv2.resize(puff, (wide, int(height_px * 0.62)))
    sky = cv2.copyMakeBorder(sky, 0, height_px - sky.shape[0], 0, 0, cv2.BORDER_REPLICATE)
    move = np.array([[1, 0, drift * height_px - width_px * 0.1], [0, 1, 0]], np.float32)
    puff = np.asarray(cv2.warpAffine(sky, move, (width_px, height_px)), np.float32)
    body = np.clip((puff - 0.50 + 0.05 * np.sin(c.y * 9)) * 5.5, 0, 1) * np.clip(
        (0.60 - c.y) * 6, 0, 1
    )
    under = cv2.GaussianBlur(
        np.roll(body, -int(height_px * 0.03), axis=0), (0, 0), height_px * 0.02
    )
    tone = np.array([1.10, 1.03, 0.95], np.float32) - under[..., None] * np.array(
        [0.42, 0.36, 0.25], np.float32
    )
    c.paint(body, tone)
    c.glow(0.25, 0.12, 0.55, (0.30, 0.25, 0.16))
    rough = _fbm(height_px, width_px, height_px * 0.05, 4, 5)
    layers = (
        (0.50, 0.055, 2.3, 0.4, (0.25, 0.36, 0.46)), (0.56, 0.050, 3.4, 2.1, (0.15, 0.27, 0.27)),
        (0.64, 0.055, 2.6, 4.4, (0.105, 0.225, 0.095)),
        (0.76, 0.060, 1.9, 0.9, (0.17, 0.27, 0.075)),
    )  # fmt: skip
    for i, (level, height, pace, phase, tint) in enumerate(layers):
        edge = level - height * (
            np.sin(c.x * pace + phase) + 0.35 * np.sin(c.x * pace * 2.7 + phase * 2)
        )
        edge = edge - 0.018 * i * (rough[:1] - 0.5)
        mask = np.clip((c.y - edge) * height_px * 0.6, 0, 1)
        depth = np.clip((c.y - edge) / 0.25, 0, 1)
        lit = (1.45 - 0.75 * depth) * (0.72 + 0.56 * rough if i else 1.0)
        c.paint(
            mask.astype(np.float32),
            (lit[..., None] * np.array(tint, np.float32)).astype(np.float32),
        )
    rng = np.random.default_rng(4)
    for _ in range(60):  # trees on the third slope
        x = float(rng.uniform(0, 1.78))
        y = float(0.64 - 0.055 * np.sin(x * 2.6 + 4.4) + rng.uniform(0.0, 0.08))
        r = float(rng.uniform(0.010, 0.022))
        c.paint(c.ellipse(x + r * 0.2, y, r, r * 1.2), (0.035, 0.085, 0.04))
        c.paint(c.ellipse(x - r * 0.25, y - r * 0.4, r * 0.6, r * 0.6), (0.12, 0.21, 0.07))
    for _ in range(260):  # flowers in the near meadow
        x, y = float(rng.uniform(0, 1.78)), float(rng.uniform(0.82, 1.0))
        tint = ((1.3, 0.95, 0.25), (1.2, 1.1, 1.0), (0.9, 0.25, 0.35))[int(rng.integers(3))]
        c.paint(c.ellipse(x, y, 0.0035, 0.0035), tint)
    return np.clip(_disc_blur(c.pixels, height_px * 0.0055), 0, None)
