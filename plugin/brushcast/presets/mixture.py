"""A prompt may be a mixture: `watercolour :2 | neon night :1` is two thirds of one and a third of
the other; parts without a weight weigh 1.
"""

from __future__ import annotations

import math
import re

from brushcast.errors import PresetError

BETWEEN = "|"
MOST_PARTS = 8
_WEIGHTED = re.compile(r"(?P<words>.*?)\s*:\s*(?P<weight>[0-9]*\.?[0-9]+)\s*", re.DOTALL)


def parse_mixture(prompt: str) -> tuple[tuple[str, float], ...]:
    """The parts' words and their shares, which sum to 1. Raises PresetError. A prompt without a `|`
    is one part, whatever it says."""
    if BETWEEN not in prompt:
        return ((prompt, 1.0),)
    parts = [_part(text) for text in prompt.split(BETWEEN)]
    if len(parts) > MOST_PARTS:
        raise PresetError(f"prompt: a mixture of {len(parts)}, wanted at most {MOST_PARTS}")
    whole = math.fsum(weight for _, weight in parts)
    if not whole:
        raise PresetError("prompt: every part of the mixture weighs 0, wanted one that does not")
    return tuple((words, weight / whole) for words, weight in parts if weight)


def _part(text: str) -> tuple[str, float]:
    weighted = _WEIGHTED.fullmatch(text)
    words, weight = (weighted["words"], weighted["weight"]) if weighted else (text, "1")
    if not words.strip(" :"):
        raise PresetError(f"prompt: the part {text.strip()!r} of a mixture says no look")
    return words.strip(), min(float(weight), 1e6)
