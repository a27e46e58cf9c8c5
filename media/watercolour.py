"""The brand's paint: watercolour blooms and one dry brush stroke, as float arrays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Rgb = tuple[float, float, float]


def hex_rgb(text: str) -> Rgb:
    """`#rrggbb` as three floats 0..255."""
    return (float(int(text[1:3], 16)), float(int(text[3:5], 16)), float(int(text[5:7], 16)))


def cloud(height_px: int, width_px: int, cell_px: float, seed: int, octaves: int = 5) -> Image:
    """Fractal noise, about -1..1, with blobs of about `cell_px`."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height_px, width_px), np.float32)
    weight = 1.0
    for _ in range(octaves):
        shape = (int(height_px / cell_px) + 3, int(width_px / cell_px) + 3)
        grid = rng.uniform(-1, 1, shape).astype(np.float32)
        total += weight * cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        weight, cell_px = weight * 0.5, max(cell_px / 2, 1.5)
    return total / 1.5


def smooth(low: float, high: float, x: Image) -> Image:
    """Hermite step from 0 at `low` to 1 at `high`."""
    k = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(k * k * (3 - 2 * k), np.float32)


def lay(canvas: Image, colour: Rgb | Image, cover: Image) -> None:
    """Blend `colour` over `canvas` in place where `cover` (0..1) says."""
    canvas += cover[..., None] * (np.asarray(colour, np.float32) - canvas)


def bloom(
    canvas: Image, x: float, y: float, radius_px: float, colour: Rgb, force: float, seed: int
) -> None:
    """A wash that ran into wet paper: pale inside, a darker rim, a frayed outline."""
    height, width = canvas.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    fray = cloud(height, width, radius_px * 0.75, seed) * 0.30
    away = np.hypot((xs - x) / 1.25, ys - y) / radius_px + fray
    body = smooth(1.0, 0.55, away) * 0.55 + smooth(1.02, 0.97, away) * 0.13
    rim = np.exp(-(((away - 0.965) / 0.035) ** 2)) * 0.34
    soft = np.exp(-((away / 1.25) ** 4)) * 0.22
    grain = 1 + 0.10 * cloud(height, width, 24, seed + 1, 3)
    lay(canvas, colour, np.clip((body + rim + soft) * grain * force, 0, 1).astype(np.float32))


def stroke(
    canvas: Image, x0: float, x1: float, y: float, half_px: float, colours: list[Rgb], force: float
) -> None:
    """One pull of a flat brush from `x0` to `x1`: wet at first, dry bristles at its end."""
    height, width = canvas.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    u = (xs - x0) / (x1 - x0)
    line = y + half_px * (0.55 * np.sin(u * 3.6 + 2.4) - 0.25 * np.sin(u * 7.1))
    fat = half_px * (0.82 + 0.30 * np.sin(np.clip(u, 0, 1) * np.pi * 0.9 + 0.35))
    v = (ys - line) / fat + 0.05 * cloud(height, width, 60, 5)
    rng = np.random.default_rng(12)
    bristles = np.zeros_like(v)
    for count, weight in ((9, 0.45), (23, 0.5), (61, 0.45)):
        table = rng.uniform(-1, 1, count * 4).astype(np.float32)
        at = (v * 0.5 + 0.5) * count + count
        low = np.clip(np.floor(at).astype(int), 0, len(table) - 2)
        k = at - np.floor(at)
        bristles += weight * (table[low] * (1 - k) + table[low + 1] * k)
    bristles += 0.22 * cv2.blur(cloud(height, width, 18, 8, 3), (61, 3))
    start = u + 0.020 * bristles + 0.012 * np.cos(v * 2)
    end = 1 - u + 0.085 * bristles - 0.03 * np.abs(v)
    ink = (
        smooth(0.0, 0.012, start)
        * smooth(0.0, 0.02, end)
        * smooth(1.03, 0.93, np.abs(v) - 0.04 * bristles)
    )
    dry = smooth(0.35, 1.05, u + 0.25 * np.abs(v))
    ink *= 1 - dry * smooth(-0.05, 0.45, bristles + 0.35 * (dry - 0.6))
    place = np.clip(u, 0, 0.9999) * (len(colours) - 1)
    table = np.array(colours, np.float32)
    low = place.astype(int)
    tint = table[low] + (table[low + 1] - table[low]) * (place - low)[..., None]
    tint = tint * (1 + 0.13 * bristles - 0.20 * smooth(0.6, 1.0, np.abs(v)))[..., None]
    lay(canvas, np.clip(tint, 0, 255), (ink * force).astype(np.float32))
