"""Where both sides meet: the product says the same, and what is not ours is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import platformdirs
import pytest

from brushcast_script import folders
from brushcast_script.folders import FolderError


def test_both_sides_name_the_same_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from brushcast.folders import runtime_folder

    monkeypatch.delenv("BRUSHCAST_RUNTIME_DIR", raising=False)
    assert folders.runtime_folder() == runtime_folder()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    told = platformdirs.user_config_dir("brushcast", appauthor=False)
    assert folders.config_folder() == Path(told)


def test_the_runtime_folder_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "run"))
    assert folders.runtime_folder().stat().st_mode & 0o777 == 0o700
    (tmp_path / "run").chmod(0o755)
    with pytest.raises(FolderError, match="others may read it"):
        folders.runtime_folder()
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "link"))
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(FolderError, match="no folder of ours"):
        folders.runtime_folder()


def test_the_installed_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(FolderError, match="not installed for this user"):
        folders.installed_command()
    path = folders.config_folder() / "install.json"
    path.parent.mkdir()
    good = [sys.executable, "-m", "brushcast"]
    path.write_text(json.dumps({"format": 1, "command": good, "version": "1"}))
    assert folders.installed_command() == good
    for bad in ({"format": 2, "command": good}, {"format": 1, "command": []}, {"format": 1}):
        path.write_text(json.dumps(bad))
        with pytest.raises(FolderError, match="damaged"):
            folders.installed_command()
    path.write_text(json.dumps({"format": 1, "command": ["/nowhere/python"]}))
    with pytest.raises(FolderError, match="/nowhere/python is gone"):
        folders.installed_command()
    path.write_text("[1")
    with pytest.raises(FolderError, match="missing"):
        folders.installed_command()
