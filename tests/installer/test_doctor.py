from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from installer import doctor

TOPICS = [
    "Python",
    "venv module",
    "environment",
    "device",
    "disk",
    "ffmpeg",
    "camera",
    "virtual camera",
    "test programs",
]


def lines(root: Path) -> dict[str, doctor.Line]:
    return {line.topic: line for line in doctor.examine(root)}


def test_a_fresh_clone_gets_a_full_table_and_nothing_is_changed(tmp_path: Path) -> None:
    table = lines(tmp_path)
    assert list(table) == TOPICS
    assert table["environment"].text.startswith("none yet")
    assert "torch==" in table["device"].text
    assert list(tmp_path.iterdir()) == []


def test_a_half_made_environment_is_told(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    assert "half-made" in lines(tmp_path)["environment"].text


def test_a_missing_venv_module_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert lines(tmp_path)["venv module"].verdict == "BAD"


def test_a_full_disk_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert lines(tmp_path)["disk"].verdict == "note"


def test_a_row_is_a_line_with_its_verdict_first() -> None:
    row = doctor.Line(verdict="BAD", topic="disk", text="none")
    assert doctor.render(iter([row])) == "BAD   disk            none"
