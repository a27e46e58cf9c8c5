"""bench asks the worker and hands on what it says, its errors included."""

import importlib.util
import json
import subprocess
from pathlib import Path
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

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
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
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"brushcast\[worker\]"):
        measure()


class Worker:
    """Stands for the worker's process: says lines, answers, ends."""

    asked: list[str] = []
    words = ["... oil (1 of 2)\n", "warning\n", "... ink (2 of 2)\n"]
    code = 0

    def __init__(self, command: list[str], stdout: Any, **_: Any) -> None:
        Worker.asked = command
        stdout.write(json.dumps({"bars": []}))
        stdout.flush()
        self.stderr = iter(self.words)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        return self.code


def quality(monkeypatch: pytest.MonkeyPatch, worker: type[Worker], said: list[str]) -> Any:
    monkeypatch.setattr(subprocess, "Popen", worker)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    return bench.run_quality(
        engine="pocket", device="cuda", size=Size(512, 288), clips=[Path("a.mp4"), Path("b.mp4")],
        styles=["oil", "ink"], pictures=0, drift_seconds=600.0, ablations=True, out=Path("out"),
        tell=said.append,
    )  # fmt: skip


def test_quality_is_asked_of_the_worker_and_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    assert quality(monkeypatch, Worker, said) == {"bars": []}
    assert said == ["oil (1 of 2)", "ink (2 of 2)"]
    text = " ".join(Worker.asked)
    assert "-m brushcast_worker quality --json" in text
    assert "--clips a.mp4 --clips b.mp4 --styles oil --styles ink --ablations" in text
    assert "--drift-seconds 600.0" in text


def test_the_complaint_about_quality_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Worker):
        words = ["... oil (1 of 2)\n", "brushcast-worker: a.mp4: no such file\n"]
        code = 2

    with pytest.raises(InputError, match="^a.mp4: no such file$"):
        quality(monkeypatch, Refusing, [])


def test_the_quality_table_shows_every_bar(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {group: {} for group, _, _ in bench.COLUMNS}
    for group, name, _ in bench.COLUMNS:
        figures[group][name] = 1.25
    bar = {"value": 0.44, "bar": "<= 0.5", "look": "ink"}
    bench.print_quality(
        {
            "engine": "pocket", "device": "cpu", "dtype": "float32", "size": "512x288",
            "long_size": "256x144", "clips": [{"name": "bundled clip", "trained_on": "yes"}],
            "bars": [
                {**bar, "figure": "flicker", "met": True},
                {**bar, "figure": "calm", "met": False},
                {**bar, "figure": "unheard", "value": None, "met": None},
            ],
            "styles": {"ink": figures}, "mean": figures, "ablations_of": ["ink"],
            "ablations": {"no sinks": {"warp": 1.5, "flicker": None}},
            "report": "out/quality.json", "sheets": ["out/sheet.jpg"],
        }
    )  # fmt: skip
    shown = capsys.readouterr().out
    for words in (
        "0.44",
        "met",
        "missed",
        "not known",
        "trained on: yes",
        "1.25",
        "no sinks",
        "1.500",
    ):
        assert words in shown
    assert "out/sheet.jpg" in shown


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    bench.print_bench({"engine": "pocket", "fps": 31.25, "stages_ms": {"encode": 4.0}})
    shown = capsys.readouterr().out
    assert "31.25" in shown
    assert "stages_ms.encode" in shown
