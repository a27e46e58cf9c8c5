from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installer import venv as venv_module
from installer.errors import SetupError
from installer.venv import Venv, require_venv_module


def bare(folder: Path) -> Venv:
    """A real environment without pip: quick to make."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    return Venv(folder=folder)


def test_no_folder_is_no_environment(tmp_path: Path) -> None:
    assert Venv(folder=tmp_path / "none").problem() == "there is none"


def test_a_folder_without_python_is_broken(tmp_path: Path) -> None:
    assert Venv(folder=tmp_path).problem() == "its Python is missing"


@pytest.mark.skipif("sys.platform == 'win32'", reason="symbolic links")
def test_a_link_to_a_python_that_was_removed_is_broken(tmp_path: Path) -> None:
    made = bare(tmp_path / "v")
    made.python.unlink()
    made.python.symlink_to("/nowhere/python3")
    assert made.problem() == "its Python is missing"


def test_a_python_that_does_not_start_is_broken(tmp_path: Path) -> None:
    made = Venv(folder=tmp_path)
    made.python.parent.mkdir()
    made.python.write_bytes(b"\x7fELF nonsense")
    made.python.chmod(0o755)
    assert made.problem() == "its Python does not start"


def test_an_environment_without_pip_is_broken_and_one_with_it_is_whole(tmp_path: Path) -> None:
    made = bare(tmp_path / "v")
    assert made.problem() == "its pip is missing"
    site = made.site_packages()
    assert site
    (site / "pip.py").touch()
    assert made.problem() == ""


def test_installed_versions_are_read_from_metadata(tmp_path: Path) -> None:
    made = bare(tmp_path / "v")
    site = made.site_packages()
    assert site
    (site / "torch-2.13.0+cpu.dist-info").mkdir()
    assert made.installed_version("torch") == "2.13.0+cpu"
    assert made.installed_version("numpy") == ""


def test_whatever_stands_in_the_way_is_removed(tmp_path: Path) -> None:
    file = Venv(folder=tmp_path / "file")
    file.folder.write_text("not a folder")
    file.remove()
    assert not file.folder.exists()
    Venv(folder=tmp_path / "none").remove()


def test_a_python_without_venv_gets_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_spec = importlib.util.find_spec

    def without_ensurepip(name: str) -> object:
        return None if name == "ensurepip" else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_ensurepip)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(SetupError, match=r"sudo apt-get install python3\.\d+-venv"):
        require_venv_module()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SetupError, match=r"python\.org"):
        require_venv_module()


@pytest.mark.skipif("sys.platform == 'win32'", reason="the fake is a shell script")
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: [Errno 28] No space left on device: '/x/.venv'", "The disk is full"),
        ("The virtual environment was not created: ensurepip is not available.", "-venv|complete"),
        ("Error: [Errno 13] Permission denied: '/x/.venv'", "Permission denied"),
    ],
)
def test_each_way_in_which_it_cannot_be_made_is_one_sentence(
    said: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\necho "{said}"\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(venv_module, "_base_python", lambda: str(fake))
    log = io.StringIO()
    with pytest.raises(SetupError, match=words) as raised:
        Venv(folder=tmp_path / ".venv").create(log)
    assert "\n" not in str(raised.value)
    assert said in log.getvalue()
