"""The models' command; what it does is tested where it is done (tests/plugin/test_models.py)."""

import json

import pytest

from brushcast.__main__ import run_command


def test_the_embedded_model_is_there_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["pocket"]["state"] == "ready"
    assert run_command(["models", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_without_a_person_no_licence_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "fetch", "wan-1.3b"]) == 2
    assert "--accept-licence" in capsys.readouterr().err
