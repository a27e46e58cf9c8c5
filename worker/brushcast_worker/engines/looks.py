"""What a preset's prompt becomes: an engine's own `Looks`, and mixtures of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from brushcast.presets import Preset
from brushcast.presets.mixture import parse_mixture
from brushcast_worker.stages.look import Look, mixed


class Looks(Protocol):
    """The text model: from a preset to what the transformer is told."""

    def look(self, preset: Preset) -> Look:
        """On the engine's device. Raises PromptError when it can make nothing of the prompt."""
        ...

    def remark(self, preset: Preset) -> str:
        """What the prompt was taken for where it names no look that is known; else ""."""
        ...


class MixedLooks:
    """`Looks` of prompts that may be mixtures: their tokens are interpolated."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    def look(self, preset: Preset) -> Look:
        """As of `Looks`."""
        words, shares = zip(*parse_mixture(preset.prompt), strict=True)
        return mixed([self._looks.look(replace(preset, prompt=each)) for each in words], shares)

    def remark(self, preset: Preset) -> str:
        """As of `Looks`, of each part."""
        parts = (replace(preset, prompt=words) for words, _ in parse_mixture(preset.prompt))
        return "; ".join(filter(None, map(self._looks.remark, parts)))
