"""Looks that are made of something: light, paper, glass, clay."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
    sobel,
    soft_levels,
    tangent,
    to_oklab,
    tone_curve,
)
from brushcast_worker.teachers.page import PANE, Page, line_every


def neon(img: Tensor) -> Tensor:
    """Night sign: glowing tubes along the forms, magenta on warm things, cyan on cool ones, a deep
    violet room.
    """
    g = luma(bilateral(img, 2))
    spread = (blur(g * g, 14) - blur(g, 14) ** 2).clamp(min=0).sqrt()
    edge = (blur(g, 1.0) - blur(g, 2.2)).abs() / (spread + 0.055)
    edge = lic(edge, tangent(g, 2.5), 5)
    tube = smoothstep(0.045, 0.20, edge) ** 1.3
    lab = to_oklab(blur(img, 3))
    warm = smoothstep(-0.01, 0.045, 0.6 * lab[:, 1:2] + 0.7 * lab[:, 2:])
    light = lab[:, :1]
    cool = gradient_map(
        light, [(0.0, (0.30, 0.20, 1.0)), (0.55, (0.0, 0.72, 1.0)), (1.0, (0.2, 1.0, 0.92))]
    )
    hot = gradient_map(
        light, [(0.0, (0.75, 0.08, 1.0)), (0.55, (1.0, 0.10, 0.58)), (1.0, (1.0, 0.50, 0.20))]
    )
    glow = mix(cool, hot, warm)
    body = tone_curve(g.clamp(0, 1), 0.5)
    base = gradient_map(
        body,
        [
            (0.0, (0.010, 0.008, 0.050)),
            (0.45, (0.075, 0.035, 0.22)),
            (0.8, (0.22, 0.09, 0.42)),
            (1.0, (0.40, 0.22, 0.60)),
        ],
    )
    base = 0.65 * base + 0.55 * base * glow
    lit = tube * glow
    x = (
        base
        + 1.05 * lit
        + 0.85 * blur(lit, 4)
        + 0.95 * blur(lit, 13)
        + 0.6 * (tube - 0.5).clamp(min=0)
    )
    return (1 - torch.exp(-1.55 * x)).clamp(0, 1)


def papercut(img: Tensor) -> Tensor:
    """Layered paper theatre: seven sheets from night blue to cream, every sheet throws a soft
    shadow on those behind.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.5), 2, 3, 0.10, 3), 3)
    lab = to_oklab(x)
    tone = blur(expose(lab[:, :1], 0.60, 0.35), 0.9).clamp(0, 1)
    face = faces(img)
    tone = tone + 0.7 * face * (blur(tone, 9) - tone)  # no sheet is cut through an eye
    chroma = blur(lab[:, 1:], 1.5)
    chroma = 2.1 * chroma / (1 + chroma.norm(dim=1, keepdim=True) / 0.16)
    sheets = ((0.0, (0.12, 0.015, -0.060)), (0.22, (0.27, 0.035, -0.075)),
              (0.36, (0.41, 0.060, -0.040)), (0.49, (0.55, 0.075, 0.010)),
              (0.61, (0.69, 0.060, 0.050)),
              (0.73, (0.82, 0.030, 0.055)), (0.85, (0.94, 0.008, 0.035)))  # fmt: skip
    y = None
    for start, (lightness, a, b) in sheets:
        base = torch.cat(
            [
                torch.full_like(tone, lightness),
                0.65 * chroma + chroma.new_tensor((a, b)).view(1, 2, 1, 1),
            ],
            1,
        )
        sheet = from_oklab(base)
        if y is None:
            y = sheet
            continue
        mask = smoothstep(start - 0.018, start + 0.018, tone)
        soft = blur(mask, 3.0)
        shadow = F.pad(soft, (3, 0, 4, 0), mode="replicate")[
            ..., : mask.shape[-2], : mask.shape[-1]
        ]
        y = y * (1 - 0.55 * shadow * (1 - mask))
        lip = (mask - F.pad(mask, (0, 1, 0, 1), mode="replicate")[..., 1:, 1:]).clamp(-1, 1)
        y = mix(y, (sheet + 0.06 * lip).clamp(0, 1), mask)
    assert y is not None
    fine = bilateral(luma(img), 1) - blur(luma(img), 3.0)
    y = (y * (1 + 1.5 * fine.clamp(-0.16, 0.10))).clamp(0, 1)  # creases
    cut = pen_lines(luma(bilateral(img, 1)), 0.9, 1.0, 0.025, 0.10, 4)
    return mix(y, colour(y, (0.13, 0.04, 0.10)), 0.75 * cut * face)  # a knife's fine cuts


def stained_glass(img: Tensor) -> Tensor:
    """A church window: jewel colours with light behind them, lead along the forms, features painted
    on in brown grisaille; the quarries of the plain glass come with the page.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.4), 3, 4, 0.12, 5), 6)
    lab = to_oklab(x)
    tone = blur(expose(lab[:, :1], 0.62, 0.5), 1.2).clamp(0, 1)
    level = soft_levels(tone, 4, 9)
    chroma = blur(lab[:, 1:], 3.0)
    neutral = gradient_map(
        level,
        [(0.0, (0.10, 0.04, 0.34)), (0.3, (0.06, 0.20, 0.62)), (0.6, (0.16, 0.55, 0.70)),
         (0.8, (0.93, 0.76, 0.35)), (1.0, (0.99, 0.93, 0.68))],
    )  # fmt: skip
    size = chroma.norm(dim=1, keepdim=True)
    face = faces(img)
    vivid = chroma * (0.17 / (size + 0.035))
    vivid = mix(vivid, vivid.new_tensor(_FLESH).view(1, 2, 1, 1), 0.7 * face)
    coloured = from_oklab(torch.cat([0.22 + 0.66 * level, vivid], 1))
    y = mix(neutral, coloured, torch.maximum(smoothstep(0.018, 0.05, size), face))
    hill = blur(tone, 5.0)
    y = (y * (0.86 + 0.9 * (hill - 0.45))).clamp(0, 1)
    glow = blur(y, 9.0)
    y = 1 - (1 - y) * (1 - 0.30 * glow)
    gx, gy = sobel(level)
    edge = (gx.square() + gy.square() + 1e-8).sqrt()
    g = luma(bilateral(img, 2))
    joints = smoothstep(0.06, 0.16, blur(F.max_pool2d(edge, 3, 1, 1), 0.7))
    broad = pen_lines(blur(g, 1.6), 2.2, 1.0, 0.09, 0.22, 7)
    one_pane = torch.maximum(face, busy(g))
    lead = torch.maximum(joints * (1 - one_pane), broad * (1 - 0.9 * one_pane))
    feature = (g - blur(g, 3.5)) / (0.04 + blur((g - blur(g, 3.5)).abs(), 10.0))
    y = (y * (1 + 0.22 * face * feature.clamp(-2, 1))).clamp(0, 1)
    fine = pen_lines(g, 0.9, 1.0, 0.03 + 0.01 * (1 - face), 0.13, 4)
    y = mix(y, colour(y, (0.20, 0.08, 0.05)), 0.75 * fine)
    y = mix(y, colour(y, (0.035, 0.03, 0.04)), 0.97 * lead)
    return y


_FLESH = 0.055, 0.075  # Oklab's a and b: amber glass


def busy(g: Tensor) -> Tensor:
    """Where much happens in little room: lettering, small faces, 0..1."""
    return 0.85 * smoothstep(0.030, 0.075, blur((g - blur(g, 2.5)).abs(), 5.0))


def glass_page(x: Tensor, at: Page) -> Tensor:
    g = luma(x)
    plain = 1 - smoothstep(0.008, 0.040, blur((g - blur(g, 4.0)).abs(), 9.0))
    quarry = torch.maximum(line_every(PANE, at.u + at.v, 2.6), line_every(PANE, at.u - at.v, 2.6))
    red = blur(to_oklab(x)[:, 1:2], 3.0)
    plain = plain * (1 - smoothstep(0.012, 0.035, red))  # none across a face
    return mix(x, colour(x, (0.05, 0.04, 0.06)), 0.9 * quarry * plain)


def clay(img: Tensor) -> Tensor:
    """Plasticine: rounded lumps of plain colour, lit from top left, shadow in the joints, a
    sheen, and the thumb's marks where the picture has its grain.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.4), 2, 4, 0.12, 4), 5)
    lab = to_oklab(x)
    lightness = expose(lab[:, :1], 0.66, 0.45)
    level = soft_levels(blur(lightness, 1.0).clamp(0, 1), 4, 4)
    chroma = 2.3 * blur(lab[:, 1:], 2.0)
    chroma = chroma / (1 + chroma.norm(dim=1, keepdim=True) / 0.34)
    chroma = chroma + chroma.new_tensor((0.014, 0.026)).view(1, 2, 1, 1)
    body = torch.cat([(0.20 + 0.72 * level).clamp(0, 1), chroma], 1)
    g = luma(x)
    spread = (blur(g * g, 12) - blur(g, 12) ** 2).clamp(min=0).sqrt() + 0.04
    gx, gy = sobel(blur(g, 1.0))
    joint = ((gx.square() + gy.square() + 1e-8).sqrt() / spread).clamp(max=1.2)
    joint = blur(F.max_pool2d(joint, 3, 1, 1), 1.0)
    grain = luma(img) - blur(luma(img), 2.5)
    thumb = lic(grain, tangent(blur(luma(img), 1.0), 3.0), 5)
    thumb = torch.tanh(thumb / (0.02 + blur(thumb * thumb, 8).sqrt()))
    height = 0.42 * blur(1 - joint, 1.6) + 0.62 * blur(1 - joint, 4.0) + 0.09 * blur(thumb, 0.8)
    hx, hy = sobel(height)
    light = 0.65 * hx + 0.85 * hy
    shade = 1 + 1.7 * light.clamp(-0.20, 0.14) - 0.20 * joint.clamp(0, 1)
    sheen = smoothstep(0.07, 0.22, light) * 0.14 * smoothstep(0.25, 0.7, g)
    y = from_oklab(body) * shade + sheen
    fine = pen_lines(luma(bilateral(img, 1)), 0.9, 1.0, 0.04, 0.14, 3)
    return (y * (1 - 0.45 * fine)).clamp(0, 1)
