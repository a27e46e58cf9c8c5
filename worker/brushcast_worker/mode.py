"""Mode: what a stream's user prefers, a short delay or a better picture. Pure.

requirements.md, "Modes": low latency has 1-2 steps and a simple motion model, high quality 3-4
steps and full motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """steps_least, steps_most: denoising steps, where the user asked for no number and the engine
    has them. deadline_ns: how old a picture may get in the worker. care: what is spent on the
    motion of interpolated pictures. waits: the deadline leaves time for a second picture, so that
    interpolating comes before painting smaller."""

    steps_least: int
    steps_most: int
    deadline_ns: int
    care: Literal["light", "full"]
    waits: bool


MODES = {
    # 400 ms: a chunk of four pictures at 15 per second, its painting, and a little
    "low-latency": Mode(
        steps_least=1, steps_most=2, deadline_ns=400_000_000, care="light", waits=False
    ),
    # the link itself calls a worker hung after 700 ms, unless its steps are known to take longer
    "balanced": Mode(
        steps_least=1, steps_most=64, deadline_ns=600_000_000, care="full", waits=True
    ),
    # with 3 and 4 steps what the engine holds back adds to what the eye notices anyway
    "quality": Mode(
        steps_least=3, steps_most=4, deadline_ns=1_000_000_000, care="full", waits=True
    ),
}


def mode_of(name: str) -> Mode:
    """By name; "" (a bridge that knows no modes) is balanced."""
    return MODES[name or "balanced"]
