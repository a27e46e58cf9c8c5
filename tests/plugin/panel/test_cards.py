from __future__ import annotations

from pathlib import Path

import pytest

from brushcast.panel import cards
from brushcast.presets import Preset


def test_a_rendered_thumbnail_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "ink.jpg").write_bytes(b"\xff\xd8")
    monkeypatch.setattr(cards, "STATIC_FOLDER", tmp_path)
    ink, gouache = cards.preset_cards(
        [
            Preset(name="ink", title="Ink", prompt="pen and ink"),
            Preset(name="gouache", title="Gouache", prompt="thick gouache"),
        ]
    )
    assert (ink.title, ink.prompt) == ("Ink", "pen and ink")
    assert ink.thumbnail == "/static/thumbnails/ink.jpg"
    assert gouache.thumbnail == ""


def test_the_pages_files_are_there() -> None:
    names = {path.name for path in cards.STATIC_FOLDER.iterdir()}
    assert {"index.html", "panel.css", "panel.js", "mark.svg"} <= names
