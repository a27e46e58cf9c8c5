"""The looks, each with a designer's intent: one picture to one painting.  Torch, any device, slow
is fine.

The model learns from them, and ``bench --quality`` holds it against them.  Two rules that a small
model trained by regression needs: a teacher is a function of the picture (random strokes would
average to a blur), and what belongs to the page and not to the object (hatching, dots) repeats with
the latents' grid, and is added after all motion, by ``page``.  So ``paint`` gives what sticks to
objects and ``page`` the finished picture. ``[B 3 H W]``, float 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from brushcast_worker.teachers.drawings import (
    blueprint,
    blueprint_page,
    charcoal,
    charcoal_page,
    ink,
    ink_page,
    pencil,
    pencil_page,
)
from brushcast_worker.teachers.hand import heavier, strokes
from brushcast_worker.teachers.materials import clay, glass_page, neon, papercut, stained_glass
from brushcast_worker.teachers.page import Page
from brushcast_worker.teachers.paintings import oil, watercolour
from brushcast_worker.teachers.prints import anime, comic, comic_page, pixel_art, pixel_page, ukiyoe


def none(img: Tensor) -> Tensor:
    """The untouched picture."""
    return img


TEACHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none,
    "watercolour": watercolour,
    "oil": oil,
    "ink": ink,
    "pencil": pencil,
    "comic": comic,
    "neon": neon,
    "ukiyo-e": ukiyoe,
    "papercut": papercut,
    "anime": anime,
    "stained-glass": stained_glass,
    "pixel-art": pixel_art,
    "charcoal": charcoal,
    "blueprint": blueprint,
    "clay": clay,
}
_PAGES: dict[str, Callable[[Tensor, Page], Tensor]] = {
    "ink": ink_page,
    "pencil": pencil_page,
    "comic": comic_page,
    "stained-glass": glass_page,
    "pixel-art": pixel_page,
    "charcoal": charcoal_page,
    "blueprint": blueprint_page,
}
PAGED = frozenset(_PAGES)  # the looks with something that belongs to the page


def paint(img: Tensor, style: str) -> Tensor:
    """What sticks to the objects; for the styles with a page not yet a picture."""
    return TEACHERS[style](img).clamp(0, 1)


def page(x: Tensor, style: str) -> Tensor:
    """The finished picture, on the page; rows and columns start at the page's corner."""
    if style not in _PAGES:
        return x
    return _PAGES[style](x.float(), Page.of(x)).clamp(0, 1)


def painted(img: Tensor, style: str, noise: Tensor | None = None, bold: float = 0.0) -> Tensor:
    """The finished picture by the hand that belongs to a stream's noise ``[16 H/8 W/8]``, as far as
    ``bold`` 0..1 lets it show.
    """
    light = page(paint(img, style), style)
    if noise is None or not bold or style == "none":
        return light
    heavy = page(paint(heavier(img), style), style)
    return light + bold * strokes(noise[None]) * (heavy - light)
