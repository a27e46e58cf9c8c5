"""Bars: what the figures have to reach, and whether they do. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

STROKES_DIFFER = 2.0  # levels, mean over the picture: seen at a glance when two are flipped
SAME_PERSON = 0.1  # of edge SSIM between two seeds
LANDMARKS_PX = 1.5  # p95 at 512x288, where an iris is 4 to 6 px wide
HOLES = 0.05  # share of the corners
READABLE = 0.8  # of the letters, and of those that can be read in the teacher's picture
BELOW_TEACHER = 0.15  # of edge SSIM: how much less structure than in the teacher's picture

Styles = Mapping[str, Mapping[str, Mapping[str, float]]]  # by look, group and name


@dataclass(frozen=True, slots=True)
class Bar:
    """``value``: the mean over the looks or the worst of them (``look``); ``met`` is None where
    there is no value.
    """

    figure: str
    value: float | None
    bar: str
    met: bool | None
    look: str = ""


def bars(styles: Styles, drift: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Every bar that can be told from these figures."""

    def of(group: str, name: str) -> dict[str, float]:
        return {style: figures[group][name] for style, figures in styles.items()}

    ratio = {
        style: f["lettering"]["recognised"] / max(f["lettering"]["teacher_recognised"], 0.05)
        for style, f in styles.items()
    }
    structure = {
        style: f["structure"]["teacher_edge_ssim"] - f["structure"]["edge_ssim"]
        for style, f in styles.items()
    }
    person = {
        style: abs(f["seeds"]["edge_ssim_a"] - f["seeds"]["edge_ssim_b"])
        for style, f in styles.items()
    }
    found = [
        _mean("warp error / frame by frame, noise of its own",
              of("warp", "to_alone_own_noise"), "<= 0.6", lambda x: x <= 0.6),
        _mean("warp error / frame by frame, the stream's noise",
              of("warp", "to_alone"), "<= 0.6", lambda x: x <= 0.6),
        _most("flicker, still scene", of("flicker", "still"), 0.5),
        _most("flicker, still scene with sensor noise", of("flicker", "noisy"), 0.5),
        _least("nearer to the teacher than the source, dB", of("teacher", "gain_db"), 6),
        _mean("nearer to the teacher, mean, dB",
              of("teacher", "gain_db"), ">= 10", lambda x: x >= 10),
        _least("own latents above another look's and none, dB",
               of("latents", "margin_db"), 6),
        _least("two seeds at 0.8 differ",
               of("seeds", "difference"), STROKES_DIFFER),
        _most("two seeds at 0.8: edge SSIM differs", person, SAME_PERSON),
        _most("one seed twice differs", of("seeds", "repeat_difference"), 0),
        _least("gradient energy / the teacher's, least", of("sharpness", "energy"), 0.8),
        _most("gradient energy / the teacher's, most", of("sharpness", "energy"), 1.2),
        _least("mean gradient / the teacher's, least", of("sharpness", "gradient"), 0.8),
        _most("mean gradient / the teacher's, most", of("sharpness", "gradient"), 1.2),
        _most("edge SSIM lost beside the teacher", structure, BELOW_TEACHER),
        _most("landmarks wander, p95, px", of("landmarks", "p95_px"), LANDMARKS_PX),
        _most("holes: landmarks half as strong or less",
              of("landmarks", "faint"), HOLES),
        _least("letters read", of("lettering", "recognised"), READABLE),
        _least("letters read / in the teacher's picture", ratio, READABLE),
    ]  # fmt: skip
    if drift is not None:
        by_look = drift["styles"]
        colour = {style: f["colour"] for style, f in by_look.items()}
        contrast = {style: f["contrast"] for style, f in by_look.items()}
        found += [
            _most(f"drift in {drift['seconds']:.0f} s, mean colour", colour, 2),
            _most(f"drift in {drift['seconds']:.0f} s, contrast", contrast, 2),
        ]
    return [asdict(bar) for bar in found]


def _most(figure: str, values: Mapping[str, float], bar: float) -> Bar:
    """The worst look is the one with the most."""
    return _worst(figure, values, f"<= {bar:g}", max, lambda x: x <= bar)


def _least(figure: str, values: Mapping[str, float], bar: float) -> Bar:
    return _worst(figure, values, f">= {bar:g}", min, lambda x: x >= bar)


def _worst(
    figure: str,
    values: Mapping[str, float],
    bar: str,
    worst: Callable[..., str],
    met: Callable[[float], bool],
) -> Bar:
    known = {style: x for style, x in values.items() if math.isfinite(x)}
    if not known:
        return Bar(figure, None, bar, None)
    look = worst(known, key=lambda style: known[style])
    return Bar(figure, known[look], bar, met(known[look]), look)


def _mean(figure: str, values: Mapping[str, float], bar: str, met: Callable[[float], bool]) -> Bar:
    known = [x for x in values.values() if math.isfinite(x)]
    if not known:
        return Bar(figure, None, bar, None)
    mean = sum(known) / len(known)
    return Bar(figure, mean, bar, met(mean))
