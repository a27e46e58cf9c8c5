"""Presets as the panel shows them, with the address of their thumbnail where one was rendered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brushcast.panel.backend import PresetCard
from brushcast.presets import Preset

STATIC_FOLDER = Path(__file__).parent / "static"


def preset_cards(presets: Iterable[Preset]) -> tuple[PresetCard, ...]:
    """One card per preset, in the given order. A preset without `thumbnails/NAME.jpg` gets none:
    the page paints one.
    """
    return tuple(
        PresetCard(
            name=preset.name,
            title=preset.title,
            prompt=preset.prompt,
            thumbnail=_thumbnail(preset.name),
        )
        for preset in presets
    )


def _thumbnail(name: str) -> str:
    there = (STATIC_FOLDER / "thumbnails" / f"{name}.jpg").is_file()
    return f"/static/thumbnails/{name}.jpg" if there else ""
