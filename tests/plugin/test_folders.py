"""Folders are the user's own, and asking for them makes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brushcast.folders import (
    compiled_folder,
    models_folder,
    obs_audio_record,
    prompts_folder,
)


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders are Linux's")
def test_folders_follow_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models_folder() == tmp_path / "data" / "brushcast" / "models"
    assert prompts_folder() == tmp_path / "cache" / "brushcast" / "prompts"
    assert compiled_folder() == tmp_path / "cache" / "brushcast" / "compiled"
    assert obs_audio_record() == tmp_path / "config" / "brushcast" / "obs-audio.json"
    assert not list(tmp_path.iterdir())
