"""Looks that are printed: flat colours, dots, key lines."""

from __future__ import annotations

import torch
from torch import Tensor

from brushcast_worker.teachers.filters import (
    bilateral,
    blur,
    colour,
    expose,
    faces,
    from_oklab,
    gradient_map,
    kuwahara,
    lic,
    luma,
    mix,
    pen_lines,
    smoothstep,
    soft_levels,
    tangent,
    to_oklab,
    tone_curve,
)
from brushcast_worker.teachers.page import Page, blocks


def comic(img: Tensor) -> Tensor:
    """Four-colour print: paper-white lights, sky and indigo for greys, clear flesh, spotted blacks
    and a firm contour; dots come with the page.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.45), 2, 3, 0.10, 4), 4)
    lab = to_oklab(x)
    warm = blur(smoothstep(0.012, 0.04, 0.7 * lab[:, 1:2] + 0.5 * lab[:, 2:]), 1.0)
    face = faces(img)
    warm = torch.maximum(warm, face)
    tone = expose(lab[:, :1], 0.68, 0.35) + 0.05 * warm
    tone = tone + 0.6 * face * (blur(tone, 8) - tone)  # eyes are drawn, not filled
    steps = torch.stack([smoothstep(a, a + 0.05, tone) for a in (0.38, 0.54, 0.72)]).mean(0)
    stops = (0.0, 1 / 3, 2 / 3, 1.0)
    greys = ((0.12, 0.10, 0.34), (0.22, 0.33, 0.70), (0.55, 0.80, 0.93), (1.0, 0.965, 0.84))
    neutral = gradient_map(steps, list(zip(stops, greys, strict=True)))
    chroma = 2.1 * lab[:, 1:]
    size = chroma.norm(dim=1, keepdim=True)
    chroma = chroma / (1 + (size / 0.20) ** 4) ** 0.25
    flesh = chroma.new_tensor((0.035, 0.045)).view(1, 2, 1, 1) + 0.5 * chroma
    chroma = mix(chroma, flesh, warm * (1 - smoothstep(0.08, 0.16, size)))
    chroma = chroma * (1 - 0.4 * smoothstep(0.75, 1.0, steps))
    tints = (
        (a, (lightness,) * 3) for a, lightness in zip(stops, (0.36, 0.6, 0.82, 0.95), strict=True)
    )
    lightness = gradient_map(steps, list(tints))[:, :1]
    coloured = from_oklab(torch.cat([lightness, chroma], 1))
    y = mix(neutral, coloured, torch.maximum(warm, blur(smoothstep(0.06, 0.13, size), 1.0)))
    g = luma(bilateral(img, 2))
    line = torch.maximum(
        pen_lines(g, 0.9, 1.0, 0.045, 0.12, 5), pen_lines(blur(g, 1.2), 1.9, 1.0, 0.08, 0.17, 6)
    )
    black = 1 - smoothstep(0.25, 0.30, tone)
    return mix(y, colour(x, (0.055, 0.04, 0.10)), 0.97 * torch.maximum(line, black))


def comic_page(x: Tensor, at: Page) -> Tensor:
    g = luma(x)
    amount = smoothstep(0.40, 0.52, g) * (1 - smoothstep(0.74, 0.86, g))
    amount = amount * (1 - 0.75 * smoothstep(0.05, 0.25, x[:, :1] - x[:, 2:]))  # few on flesh
    dot = torch.sigmoid(10 * (at.dots - (0.55 - 0.45 * amount))) * amount
    return mix(x, x * colour(x, (0.42, 0.55, 0.86)), 0.75 * dot)


def ukiyoe(img: Tensor) -> Tensor:
    """Woodblock print: flat indigo, cream, vermilion and sage, each block with its gradation,
    indigo key line.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.5), 2), 5)
    lab = to_oklab(x)
    tone = soft_levels(lab[:, :1].clamp(0, 1), 5, 6)
    neutral = gradient_map(
        tone,
        [
            (0.0, (0.06, 0.09, 0.22)),
            (0.3, (0.12, 0.23, 0.42)),
            (0.55, (0.45, 0.56, 0.60)),
            (0.75, (0.90, 0.82, 0.65)),
            (1.0, (0.975, 0.93, 0.80)),
        ],
    )
    red = gradient_map(
        tone,
        [
            (0.0, (0.22, 0.05, 0.09)),
            (0.4, (0.76, 0.34, 0.23)),
            (0.7, (0.95, 0.73, 0.54)),
            (1.0, (0.985, 0.90, 0.75)),
        ],
    )
    blue = gradient_map(
        tone,
        [
            (0.0, (0.03, 0.08, 0.27)),
            (0.4, (0.06, 0.27, 0.54)),
            (0.7, (0.40, 0.65, 0.73)),
            (1.0, (0.85, 0.91, 0.85)),
        ],
    )
    green = gradient_map(
        tone,
        [
            (0.0, (0.05, 0.12, 0.12)),
            (0.4, (0.22, 0.41, 0.29)),
            (0.7, (0.60, 0.69, 0.42)),
            (1.0, (0.93, 0.92, 0.75)),
        ],
    )
    a, b = lab[:, 1:2], lab[:, 2:]
    wr = smoothstep(0.012, 0.060, 0.8 * a + 0.35 * b)
    wb = smoothstep(0.012, 0.050, -b - 0.2 * a)
    wg = smoothstep(0.012, 0.045, -a + 0.3 * b) * (1 - wb)
    wr, wb, wg = (blur(w, 1.0) for w in (wr, wb, wg))
    total = wr + wb + wg
    y = neutral * (1 - total.clamp(0, 1)) + (red * wr + blue * wb + green * wg) / total.clamp(min=1)
    grain = luma(img) - blur(luma(img), 2.0)
    y = y * (1 + 0.7 * lic(grain, tangent(luma(img), 3.0), 6).clamp(-0.08, 0.08))
    g = luma(bilateral(img, 2))
    line = torch.maximum(
        pen_lines(g, 1.0, 1.0, 0.045, 0.13, 6), pen_lines(blur(g, 1.2), 1.9, 1.0, 0.08, 0.18, 7)
    )
    return mix(y, colour(x, (0.055, 0.085, 0.22)), 0.9 * line)


def anime(img: Tensor) -> Tensor:
    """Cel and background: two clean tones a colour, violet shadows with a hard edge, sky light on
    the open walls, brown ink line, a bloom on what shines.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.35), 3, 3, 0.10, 4), 4)
    lab = to_oklab(x)
    tone = expose(lab[:, :1], 0.72, 0.45)
    cel = 0.62 * smoothstep(0.47, 0.51, tone) + 0.38 * smoothstep(0.68, 0.73, tone)
    lightness = 0.36 + 0.40 * cel + 0.22 * tone.clamp(0, 1)
    chroma = 1.9 * blur(lab[:, 1:], 1.2)
    size = chroma.norm(dim=1, keepdim=True)
    chroma = chroma / (1 + (size / 0.22) ** 4) ** 0.25
    warm = smoothstep(0.015, 0.045, 0.7 * lab[:, 1:2] + 0.5 * lab[:, 2:])
    warm = blur(warm, 1.0)
    chroma = chroma + warm * chroma.new_tensor((0.018, 0.012)).view(1, 2, 1, 1)
    shadow = 1 - cel
    chroma = chroma + shadow * chroma.new_tensor((0.016, -0.042)).view(1, 2, 1, 1)
    open_wall = smoothstep(0.76, 0.92, tone) * (1 - warm) * (1 - smoothstep(0.05, 0.12, size))
    sky = chroma.new_tensor((-0.022, -0.034)).view(1, 2, 1, 1)
    chroma = chroma + blur(open_wall, 6.0) * sky
    y = from_oklab(torch.cat([lightness.clamp(0.10, 0.985), chroma], 1))
    bloom = blur(smoothstep(0.84, 0.95, tone) * y, 7.0)
    y = 1 - (1 - y) * (1 - 0.22 * bloom)
    g = luma(bilateral(img, 2))
    line = torch.maximum(
        pen_lines(g, 0.8, 1.0, 0.04, 0.11, 5),
        0.9 * pen_lines(blur(g, 1.2), 1.5, 1.0, 0.07, 0.16, 6),
    )
    return mix(y, colour(x, (0.16, 0.085, 0.11)), 0.92 * line)


_BLOCK = 4  # pixels a side: two blocks a period, so the 2x2 dither stands still on the page
_PALETTE = (
    (0.06, 0.05, 0.11), (0.15, 0.13, 0.27), (0.24, 0.22, 0.40), (0.36, 0.37, 0.52),
    (0.55, 0.58, 0.68), (0.76, 0.79, 0.82), (0.96, 0.95, 0.90), (0.30, 0.15, 0.14),
    (0.53, 0.27, 0.20), (0.78, 0.47, 0.31), (0.95, 0.72, 0.52), (0.99, 0.88, 0.70),
    (0.72, 0.16, 0.20), (0.94, 0.35, 0.27), (0.98, 0.66, 0.17), (0.98, 0.85, 0.28),
    (0.13, 0.36, 0.26), (0.30, 0.58, 0.26), (0.65, 0.80, 0.33), (0.07, 0.24, 0.53),
    (0.12, 0.47, 0.80), (0.37, 0.76, 0.92), (0.45, 0.19, 0.45), (0.85, 0.45, 0.62),
)  # fmt: skip


def pixel_art(img: Tensor) -> Tensor:
    """What ``page`` makes sprites of: firm light, saturated colour, dark contours."""
    x = bilateral(tone_curve(img, 0.45), 2)
    lab = to_oklab(x)
    lightness = tone_curve(expose(lab[:, :1], 0.66, 0.4).clamp(0, 1), 0.8)
    chroma = 1.9 * lab[:, 1:]
    size = chroma.norm(dim=1, keepdim=True)
    chroma = chroma / (1 + (size / 0.22) ** 4) ** 0.25
    g = luma(bilateral(img, 2))
    line = pen_lines(blur(g, 1.0), 2.0, 1.0, 0.06, 0.17, 5)
    y = from_oklab(torch.cat([lightness.clamp(0, 1), chroma], 1))
    return y * (1 - 0.72 * line)


def pixel_page(x: Tensor, at: Page) -> Tensor:
    lab = to_oklab(blocks(x, _BLOCK))
    row, column = ((p / _BLOCK).floor().long() % 2 for p in (at.v, at.u))
    bayer = x.new_tensor(((-0.375, 0.125), (0.375, -0.125)))[row, column]
    lab = torch.cat([lab[:, :1] + 0.03 * bayer, lab[:, 1:]], 1)
    palette = to_oklab(x.new_tensor(_PALETTE).t()[None, :, None])[0, :, 0]  # [3 N]
    weight = x.new_tensor((1.0, 1.5, 1.5)).view(3, 1, 1, 1)
    distance = (weight * (lab[:, :, None] - palette[:, :, None, None])).square().sum(1)
    share = torch.softmax(-distance / 0.0012, 1)  # the nearest colour, without a jump between two
    y = torch.einsum("bnhw,nc->bchw", share, x.new_tensor(_PALETTE))
    return blocks(y, _BLOCK)
