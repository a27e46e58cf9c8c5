"""Looks that are drawn: lines, hatching, chalk."""

from __future__ import annotations

import torch
from torch import Tensor

from brushcast_worker.teachers.filters import (
    bilateral,
    blur,
    colour,
    expose,
    gradient_map,
    kuwahara,
    lic,
    luma,
    mix,
    pen_lines,
    smoothstep,
    soft_levels,
    tangent,
    tone_curve,
)
from brushcast_worker.teachers.page import PANE, Page, line_every, stripe


def ink(img: Tensor) -> Tensor:
    """What ``page`` turns into pen and brush: tone, pen line, brush line."""
    g = luma(bilateral(img, 2))
    flat = kuwahara(expose(g, 0.62, 0.6).expand(-1, 3, -1, -1), 3)[:, :1]
    tone = soft_levels(tone_curve(blur(flat, 0.8).clamp(0, 1), 0.5), 5, 4)
    fine = pen_lines(g, 0.9, 1.0, 0.035, 0.11, 5)
    broad = pen_lines(blur(g, 1.2), 2.0, 1.0, 0.06, 0.16, 6)
    return torch.cat([tone.clamp(0, 1), fine, broad], 1)


def ink_page(x: Tensor, at: Page) -> Tensor:
    tone, fine, broad = torch.split(x, 1, 1)
    shade = 1 - tone
    wash = 0.16 * smoothstep(0.30, 0.44, shade) + 0.30 * smoothstep(0.52, 0.66, shade)
    wash = wash + 0.36 * smoothstep(0.70, 0.84, shade)
    paper = mix(colour(x, (0.972, 0.953, 0.905)), colour(x, (0.13, 0.15, 0.22)), wash)
    hatching = smoothstep(0.40, 0.54, shade) * (1 - smoothstep(0.72, 0.86, shade))
    strokes = stripe(at.up, 0.16 + 0.16 * smoothstep(0.45, 0.75, shade)) * hatching
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


def pencil_page(x: Tensor, at: Page) -> Tensor:
    tone, line, chalk = torch.split(x, 1, 1)
    shade = smoothstep(0.50, 0.92, 1 - tone)
    paper = colour(x, (0.790, 0.680, 0.545))
    hatch = 0.5 + 0.5 * at.up
    white = chalk * (0.90 + 0.10 * at.down)
    y = mix(paper, colour(x, (0.985, 0.970, 0.930)), 0.88 * white)
    y = mix(
        y,
        colour(x, (0.27, 0.15, 0.11)),
        (shade * (0.62 + 0.38 * hatch * (1.25 - shade))).clamp(0, 1) * 0.88,
    )
    return mix(y, colour(x, (0.17, 0.09, 0.075)), 0.85 * line)


def charcoal(img: Tensor) -> Tensor:
    """Willow charcoal on laid paper: smudged masses, the lights lifted out with a kneaded eraser,
    pressed contours.  Carries tone and line to ``page``.
    """
    g = luma(bilateral(img, 2))
    flat = kuwahara(tone_curve(expose(g, 0.58, 0.75).clamp(0, 1), 0.9).expand(-1, 3, -1, -1), 4)
    t = tangent(blur(g, 1.2), 4.0)
    smudged = lic(blur(flat[:, :1], 1.2), t, 6)
    tone = mix(flat[:, :1], smudged, 0.6)
    local = luma(img) - blur(luma(img), 2.5)
    tone = tone + 0.9 * lic(local, t, 4).clamp(-0.12, 0.12)  # what keeps a face a face
    light = smoothstep(0.010, 0.05, blur(g, 1.0) - blur(g, 5.0))
    tone = tone + 0.16 * light * smoothstep(0.45, 0.7, tone)  # the eraser, along bright edges
    line = torch.maximum(
        pen_lines(blur(g, 0.8), 1.6, 1.0, 0.05, 0.20, 7),
        0.8 * pen_lines(g, 0.9, 1.0, 0.04, 0.15, 4),
    )
    return torch.cat([tone.clamp(0, 1), line, light], 1)


def charcoal_page(x: Tensor, at: Page) -> Tensor:
    tone, line, _ = torch.split(x, 1, 1)
    shade = smoothstep(0.16, 0.92, 1 - tone)
    middle = 4 * shade * (1 - shade)  # the ridges catch the stick where it is lightly held
    shade = (shade + 0.06 * middle * at.laid).clamp(0, 1)
    paper = colour(x, (0.930, 0.905, 0.860))
    y = mix(paper, colour(x, (0.115, 0.105, 0.110)), 0.97 * shade)
    return mix(y, colour(x, (0.05, 0.045, 0.05)), 0.9 * line)


def blueprint(img: Tensor) -> Tensor:
    """Cyanotype of a drawing office: white lines of two weights on Prussian blue, a washed relief
    under them; the grid comes with the page.  Carries relief, line and grid to ``page``.
    """
    g = luma(bilateral(img, 2))
    relief = kuwahara(tone_curve(expose(g, 0.5, 0.6).clamp(0, 1), 0.5).expand(-1, 3, -1, -1), 3)
    fine = pen_lines(g, 0.8, 1.0, 0.03, 0.11, 4)
    broad = pen_lines(blur(g, 1.2), 1.8, 1.0, 0.05, 0.15, 6)
    line = torch.maximum(0.8 * fine, broad)
    busy = blur((blur(g, 1.0) - blur(g, 4.0)).abs(), 4.0)
    return torch.cat([relief[:, :1], line, 1 - smoothstep(0.004, 0.03, busy)], 1)


def blueprint_page(x: Tensor, at: Page) -> Tensor:
    relief, line, empty = torch.split(x, 1, 1)
    y = gradient_map(
        soft_levels(relief.clamp(0, 1), 4, 4),
        [(0.0, (0.015, 0.085, 0.255)), (0.5, (0.045, 0.185, 0.435)), (1.0, (0.20, 0.40, 0.66))],
    )
    grid = torch.maximum(line_every(PANE, at.u, 1.4), line_every(PANE, at.v, 1.4))
    y = mix(y, colour(x, (0.50, 0.68, 0.90)), 0.42 * grid * (0.25 + 0.75 * empty))
    shade = smoothstep(0.45, 0.75, 1 - relief)
    hatching = stripe(at.up, 0.16 * shade) * shade
    y = mix(y, colour(x, (0.60, 0.76, 0.94)), 0.40 * hatching)
    return mix(y, colour(x, (0.93, 0.97, 1.0)), 0.95 * line)
