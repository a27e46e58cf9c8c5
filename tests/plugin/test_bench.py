"""bench asks the worker and hands on what it says, its errors included."""

import json
import subprocess
from typing import Any

import pytest

import brushcast.bench as bench
from brushcast.errors import ChildError, ConfigError, InputError
from brushcast.frame import Size


def answer(monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str) -> list[list[str]]:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(bench.subprocess, "run", run)
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: object())
    return asked


def measure(**options: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "engine": "pocket", "size": None, "steps": 0, "device": "cpu", "seconds": 1.0
    }  # fmt: skip
    return bench.run_bench(**{**plain, **options})


def test_the_options_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, 0, json.dumps({"fps": 30.0}), "")
    assert measure(size=Size(512, 288), steps=2) == {"fps": 30.0}
    text = " ".join(asked[0])
    assert "-m brushcast_worker bench --json" in text
    assert "--size 512x288" in text
    assert "--steps 2" in text


def test_the_workers_complaint_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 2, "", "warning\nbrushcast-worker: device cuda: there is none\n")
    with pytest.raises(InputError, match="^device cuda: there is none$"):
        measure(device="cuda")


def test_a_measurement_that_died_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, -9, "", "")
    with pytest.raises(ChildError, match="-9"):
        measure()


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"brushcast\[worker\]"):
        measure()


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    bench.print_bench({"engine": "pocket", "fps": 31.25, "stages_ms": {"encode": 4.0}})
    shown = capsys.readouterr().out
    assert "31.25" in shown
    assert "stages_ms.encode" in shown
