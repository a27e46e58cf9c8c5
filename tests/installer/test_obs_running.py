from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from installer import obs_running
from installer.errors import SetupError


def process(proc: Path, pid: int, name: str, state: str = "S") -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {state} 1 1 1")


def test_linux_looks_for_obs_by_its_exact_name(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    process(tmp_path, 1, "obs-websocket")
    process(tmp_path, 2, "(sd-obs) x")
    process(tmp_path, 3, "obs", state="Z")
    (tmp_path / "4").mkdir()  # it ended meanwhile
    assert not obs_running.is_running("linux", tmp_path)
    process(tmp_path, 5, "obs")
    assert obs_running.is_running("linux", tmp_path)


def test_another_users_obs_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(tmp_path, 5, "obs")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not obs_running.is_running("linux", tmp_path)


def test_where_it_cannot_be_found_out_nothing_is_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SetupError, match="unknown whether OBS runs"):
        obs_running.is_running("linux", tmp_path / "none")

    def fails(*_: object, **__: object) -> None:
        raise FileNotFoundError("tasklist")

    monkeypatch.setattr(subprocess, "run", fails)
    for platform in ("win32", "darwin"):
        with pytest.raises(SetupError, match="unknown whether OBS runs"):
            obs_running.is_running(platform)


@pytest.mark.parametrize(
    ("platform", "code", "shown", "runs"),
    [
        ("win32", 0, '"obs64.exe","4711","Console","1","250,000 K"', True),
        ("win32", 0, "INFO: No tasks are running which match the specified criteria.", False),
        ("darwin", 0, "4711\n", True),
        ("darwin", 1, "", False),
    ],
)
def test_windows_and_macos_ask_their_own_programs(
    platform: str, code: int, shown: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], code, shown, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert obs_running.is_running(platform) is runs
