"""The looks, each with a designer's intent: one picture to one painting.  Torch, any device, slow
is fine.

Two rules that a small model trained by regression needs: a teacher is a function of the picture
(random strokes would average to a blur), and what belongs to the page and not to the object
(hatching, dots) has the period of a latent pixel, 8, and is added after all motion, by ``page``.
So ``paint`` gives what sticks to objects and ``page`` the finished picture. ``[B 3 H W]``, float
0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.teachers.filters import (
    bilateral,
    blur,
    colour,
    expose,
    from_oklab,
    gradient_map,
    kuwahara,
    lic,
    luma,
    mix,
    pen_lines,
    saturate,
    smoothstep,
    soft_levels,
    tangent,
    to_oklab,
    tone_curve,
)  # fmt: skip


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


def ink(img: Tensor) -> Tensor:
    """What ``page`` turns into pen and brush: tone, pen line, brush line."""
    g = luma(bilateral(img, 2))
    flat = kuwahara(expose(g, 0.62, 0.6).expand(-1, 3, -1, -1), 3)[:, :1]
    tone = soft_levels(tone_curve(blur(flat, 0.8).clamp(0, 1), 0.5), 5, 4)
    fine = pen_lines(g, 0.9, 1.0, 0.035, 0.11, 5)
    broad = pen_lines(blur(g, 1.2), 2.0, 1.0, 0.06, 0.16, 6)
    return torch.cat([tone.clamp(0, 1), fine, broad], 1)


def _ink_page(x: Tensor, dots: Tensor, up: Tensor, down: Tensor) -> Tensor:
    tone, fine, broad = x.split(1, 1)
    shade = 1 - tone
    wash = 0.16 * smoothstep(0.30, 0.44, shade) + 0.30 * smoothstep(0.52, 0.66, shade)
    wash = wash + 0.36 * smoothstep(0.70, 0.84, shade)
    paper = mix(colour(x, (0.972, 0.953, 0.905)), colour(x, (0.13, 0.15, 0.22)), wash)
    hatching = smoothstep(0.40, 0.54, shade) * (1 - smoothstep(0.72, 0.86, shade))
    strokes = _stripe(up, 0.16 + 0.16 * smoothstep(0.45, 0.75, shade)) * hatching
    pen = torch.maximum(torch.maximum(fine, broad), 0.7 * strokes)
    return mix(paper, colour(x, (0.06, 0.06, 0.10)), 0.94 * pen)


def pencil(img: Tensor) -> Tensor:
    """Toned paper: sepia pencil for the darks, white chalk for the lights.  Carries tone, line and
    chalk to ``page``.
    """
    g = luma(bilateral(img, 1))
    flat = kuwahara(tone_curve(expose(g, 0.55, 0.6).clamp(0, 1), 0.4).expand(-1, 3, -1, -1), 3)[
        :, :1
    ]
    t = tangent(blur(g, 1.0), 3.0)
    grain = luma(img) - blur(luma(img), 1.6)
    grain = lic(grain, t, 5)
    grain = torch.tanh(grain / (0.012 + 1.2 * blur(grain * grain, 6).sqrt()))
    tone = (flat + 0.05 * grain).clamp(0, 1)
    line = pen_lines(g, 1.0, 1.0, 0.03, 0.14, 4)
    chalk = smoothstep(0.54, 0.80, flat) * (0.85 + 0.15 * grain)
    return torch.cat([tone, line, chalk.clamp(0, 1)], 1)


def _pencil_page(x: Tensor, dots: Tensor, up: Tensor, down: Tensor) -> Tensor:
    tone, line, chalk = x.split(1, 1)
    shade = smoothstep(0.50, 0.92, 1 - tone)
    paper = colour(x, (0.790, 0.680, 0.545))
    hatch = 0.5 + 0.5 * up
    white = chalk * (0.90 + 0.10 * down)
    y = mix(paper, colour(x, (0.985, 0.970, 0.930)), 0.88 * white)
    y = mix(
        y,
        colour(x, (0.27, 0.15, 0.11)),
        (shade * (0.62 + 0.38 * hatch * (1.25 - shade))).clamp(0, 1) * 0.88,
    )
    return mix(y, colour(x, (0.17, 0.09, 0.075)), 0.85 * line)


def comic(img: Tensor) -> Tensor:
    """Four-colour print: paper-white lights, sky and indigo for greys, clear flesh, spotted blacks
    and a firm contour; dots come with the page.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.45), 2, 3, 0.10, 4), 4)
    lab = to_oklab(x)
    warm = blur(smoothstep(0.012, 0.04, 0.7 * lab[:, 1:2] + 0.5 * lab[:, 2:]), 1.0)
    tone = expose(lab[:, :1], 0.68, 0.35) + 0.05 * warm
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


def _comic_page(x: Tensor, dots: Tensor, up: Tensor, down: Tensor) -> Tensor:
    g = luma(x)
    amount = smoothstep(0.40, 0.52, g) * (1 - smoothstep(0.74, 0.86, g))
    amount = amount * (1 - 0.75 * smoothstep(0.05, 0.25, x[:, :1] - x[:, 2:]))  # few on flesh
    dot = torch.sigmoid(10 * (dots - (0.55 - 0.45 * amount))) * amount
    return mix(x, x * colour(x, (0.42, 0.55, 0.86)), 0.75 * dot)


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


def papercut(img: Tensor) -> Tensor:
    """Layered paper theatre: seven sheets from night blue to cream, every sheet throws a soft
    shadow on those behind.
    """
    x = kuwahara(bilateral(tone_curve(img, 0.5), 2, 3, 0.10, 3), 3)
    lab = to_oklab(x)
    tone = blur(expose(lab[:, :1], 0.60, 0.35), 0.9).clamp(0, 1)
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
    return (y * (1 + 1.5 * fine.clamp(-0.16, 0.10))).clamp(0, 1)  # creases: keeps faces


def none(img: Tensor) -> Tensor:
    """The untouched picture."""
    return img


TEACHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none, "watercolour": watercolour, "oil": oil, "ink": ink, "pencil": pencil,
    "comic": comic,
    "neon": neon, "ukiyo-e": ukiyoe, "papercut": papercut,
}  # fmt: skip
_PAGES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "ink": _ink_page, "pencil": _pencil_page, "comic": _comic_page
}  # fmt: skip
PAGED = frozenset(_PAGES)  # the looks with something that belongs to the page


def paint(img: Tensor, style: str) -> Tensor:
    """What sticks to the objects; for the styles with a page not yet a picture."""
    return TEACHERS[style](img).clamp(0, 1)


def page(x: Tensor, style: str) -> Tensor:
    """The finished picture, on the page; rows and columns start at the page's corner."""
    if style not in _PAGES:
        return x
    v = (torch.arange(x.shape[-2], device=x.device) + 0.5)[:, None] * (2 * math.pi / 8)
    u = (torch.arange(x.shape[-1], device=x.device) + 0.5)[None] * (2 * math.pi / 8)
    return _PAGES[style](x.float(), 0.5 * (u.cos() + v.cos()), (u + v).cos(), (u - v).cos()).clamp(
        0, 1
    )


def _stripe(wave: Tensor, amount: Tensor) -> Tensor:
    """A stripe that is ``amount`` of its period wide."""
    return torch.sigmoid(9 * (wave - 1 + 2 * amount)) * (amount / 0.05).clamp(0, 1)
