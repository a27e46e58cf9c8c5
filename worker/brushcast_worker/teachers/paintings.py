"""Looks that are painted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.teachers.filters import (
    bilateral,
    blur,
    colour,
    expose,
    from_oklab,
    kuwahara,
    lic,
    luma,
    mix,
    pen_lines,
    saturate,
    smoothstep,
    tangent,
    to_oklab,
    tone_curve,
)


def oil(img: Tensor) -> Tensor:
    """Alla prima: loaded brush along the forms, warm lights, cool umber darks, relief lit from top
    left.
    """
    g0 = luma(img)
    x = saturate(tone_curve(img, 0.6), 1.6)
    t = tangent(blur(g0, 1.0), 4.0)
    for _ in range(2):  # coherent shock filter: crisp strokes
        x = lic(x, t, 5)
        g = blur(luma(x), 1.5)
        hill = g - blur(g, 2.0)
        bright, dark = F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1)
        x = mix(x, mix(dark, bright, smoothstep(-0.03, 0.03, hill)), 0.3)
    x = lic(kuwahara(x, 4), t, 3)
    detail = lic(g0 - blur(g0, 2.5), t, 9)  # the picture's own fine detail, combed into bristles
    detail = detail / (0.010 + blur(detail * detail, 8).sqrt())
    height = blur(0.10 * luma(x) + 0.042 * torch.tanh(detail), 0.7)
    light = (
        F.pad(height, (0, 1, 0, 1), mode="replicate")[..., 1:, 1:]
        - F.pad(height, (1, 0, 1, 0), mode="replicate")[..., :-1, :-1]
    )
    x = x * (1 - 2.4 * light.clamp(-0.10, 0.10))
    lab = to_oklab(x.clamp(0, 1))
    lightness = lab[:, :1]
    lab = torch.cat(
        [0.10 + 0.90 * lightness, lab[:, 1:2] + 0.012, lab[:, 2:] + 0.075 * (lightness - 0.42)], 1
    )
    return from_oklab(lab)


def watercolour(img: Tensor) -> Tensor:
    """Line and wash: white paper left open, four translucent washes with dark rims, violet shadows,
    sepia pen.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.35), 2, 4, 0.12, 4), 4)
    lab = to_oklab(x)
    lightness = lab[:, :1]
    dark = (1 - expose(lightness, 0.74, 0.45)).clamp(0, 1)
    density = torch.zeros_like(dark)
    for start, weight in ((0.24, 0.30), (0.38, 0.34), (0.53, 0.42), (0.69, 0.62)):
        wash = smoothstep(start - 0.035, start + 0.035, dark)
        rim = (wash - blur(wash, 2.5)).clamp(min=0)  # pigment gathers inside the edge
        density = density + weight * (0.86 * wash + 2.0 * rim)
    grain = luma(img) - blur(luma(img), 2.0)
    density = density * (1 - 2.2 * grain.clamp(-0.12, 0.12)) + 0.03
    chroma = 2.2 * blur(lab[:, 1:], 2.5)  # colour bleeds over the line
    shade = smoothstep(0.45, 0.85, dark)
    chroma = chroma + torch.cat([0.022 * shade, -0.048 * shade], 1)  # shadows turn violet
    chroma = chroma / (1 + chroma.norm(dim=1, keepdim=True) / 0.32)
    pigment = from_oklab(torch.cat([torch.full_like(dark, 0.70), chroma], 1)).clamp(0.06, 1)
    paper = colour(x, (0.992, 0.978, 0.945))
    y = paper * pigment ** (1.55 * density)
    hue = from_oklab(torch.cat([torch.full_like(dark, 0.93), 0.9 * chroma], 1))
    y = y * mix(
        torch.ones_like(y), hue, 0.5 * smoothstep(0.02, 0.10, chroma.norm(dim=1, keepdim=True))
    )
    pen = pen_lines(luma(bilateral(img, 1)), 0.9, 1.0, 0.035, 0.13, 4)
    return mix(y, colour(x, (0.26, 0.19, 0.17)), 0.66 * pen)
