from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installer import doctor
from installer.line import Line
from tests.installer.obs_home import make_obs

TOPICS = [
    "Python",
    "venv module",
    "environment",
    "device",
    "disk",
    "ffmpeg",
    "camera",
    "virtual camera",
    "OBS",
    "test programs",
]


def lines(root: Path) -> dict[str, Line]:
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


def test_the_virtual_camera_is_told_as_the_product_tells_it(tmp_path: Path) -> None:
    found, theirs = lines(tmp_path)["virtual camera"], camera_setup()
    assert (found.text, found.how) == (theirs["message"], theirs["advice"])
    assert found.verdict == ("ok" if theirs["state"] == "ok" else "note")


def camera_setup() -> dict[str, str]:
    path = Path(doctor.__file__).parents[1] / "plugin" / "brushcast" / "camera_setup.py"
    command = [sys.executable, "-I", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_an_obs_of_the_user_has_its_lines(tmp_path: Path, home: Path) -> None:
    make_obs(home / ".config/obs-studio")
    assert lines(tmp_path)["OBS script"].how == "python3 -m installer obs"
