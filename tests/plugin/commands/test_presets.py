"""Presets in and out of a user's folder, through the command line."""

import json
from pathlib import Path

import pytest

from brushcast.__main__ import run_command


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["presets", "list", "--json"]) == 0
    assert {"name": "ink", "title": "Ink"} in json.loads(capsys.readouterr().out)
    assert run_command(["presets", "show", "ink", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "ink"


def test_a_preset_goes_out_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    assert run_command(["presets", "export", "ink", str(file)]) == 0
    file.write_text(file.read_text().replace("Ink", "My ink"))
    assert run_command(["presets", "import", str(file)]) == 0
    capsys.readouterr()
    assert run_command(["presets", "show", "mine"]) == 0
    assert 'title = "My ink"' in capsys.readouterr().out


def test_export_into_a_folder_that_is_not_there_is_wrong_input() -> None:
    assert run_command(["presets", "export", "ink", "/absent/ink.toml"]) == 2
