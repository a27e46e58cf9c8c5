"""Folders are the user's own; asking for them makes nothing, except the runtime folder."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from brushcast import folders
from brushcast.errors import ConfigError
from brushcast.folders import (
    compiled_folder,
    models_folder,
    obs_audio_record,
    prompts_folder,
    runtime_folder,
)

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")


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


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "run"
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(path))
    return path


@posix
def test_the_runtime_folder_is_made_for_the_user_alone(wanted: Path) -> None:
    assert runtime_folder() == wanted
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o700
    assert runtime_folder() == wanted, "a second time it is there already"


@posix
def test_the_runtime_folder_is_in_shared_memory_where_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BRUSHCAST_RUNTIME_DIR", raising=False)
    memory, temporary = tmp_path / "shm", tmp_path / "tmp"
    memory.mkdir()
    monkeypatch.setattr(folders, "_SHARED_MEMORY", memory)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(temporary))
    assert runtime_folder() == memory / f"brushcast-{os.getuid()}"
    monkeypatch.setattr(folders, "_SHARED_MEMORY", tmp_path / "none")
    assert runtime_folder() == temporary / f"brushcast-{os.getuid()}"


@posix
def test_a_runtime_folder_that_is_a_link_is_refused(wanted: Path, tmp_path: Path) -> None:
    wanted.parent.mkdir()
    wanted.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is a link") as caught:
        runtime_folder()
    assert "\n" not in str(caught.value)


@posix
def test_a_runtime_folder_of_somebody_else_is_refused(
    wanted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.getuid()
    runtime_folder()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {mine}, .* \\(user {mine + 1}\\)"):
        runtime_folder()


@posix
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702])
def test_a_runtime_folder_that_others_can_write_to_is_refused(wanted: Path, mode: int) -> None:
    runtime_folder()
    wanted.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        runtime_folder()


def test_a_runtime_folder_that_is_a_file_is_refused(wanted: Path) -> None:
    wanted.parent.mkdir()
    wanted.write_text("in the way")
    with pytest.raises(ConfigError, match="runtime folder .*run: File exists"):
        runtime_folder()
