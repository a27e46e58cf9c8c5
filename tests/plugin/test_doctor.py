"""The doctor tells what is there and what to do, and never breaks."""

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import brushcast.doctor as doctor
from brushcast import camera_setup
from brushcast.errors import SourceError, WeightsError


def by_name(findings: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in findings}


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torch, no weights, no camera, no virtual camera."""

    def no_weights(name: str) -> None:
        raise WeightsError("weights are missing")

    def no_camera(spec: str) -> None:
        raise SourceError("camera 0: there is none")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "verify_model", no_weights)
    monkeypatch.setattr("brushcast.source.open_source", no_camera)
    bare = camera_setup.Verdict(state="warn", message="nothing", advice="modprobe v4l2loopback")
    monkeypatch.setattr(camera_setup, "examine", lambda: bare)


@pytest.mark.usefixtures("bare_machine")
def test_a_bare_machine_gets_advice_for_everything(tmp_path: Path) -> None:
    found = by_name(doctor.examine(tmp_path))
    assert found["weights"]["state"] == "bad"
    for name in ("worker", "camera", "virtual camera"):
        assert found[name]["state"] == "warn"
        assert found[name]["advice"]
    assert "v4l2loopback" in found["virtual camera"]["advice"]


@pytest.mark.usefixtures("bare_machine")
def test_a_broken_preset_is_found(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("title = ")
    found = by_name(doctor.examine(tmp_path))["presets"]
    assert found["state"] == "bad"
    assert "bad" in found["message"]


@pytest.mark.usefixtures("bare_machine")
def test_a_panel_port_in_use_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(doctor, "DEFAULT_PANEL", f"127.0.0.1:{taken.getsockname()[1]}")
        found = by_name(doctor.examine(tmp_path))["panel port"]
    assert found["state"] == "warn"
    assert "in use" in found["message"]


@pytest.mark.usefixtures("bare_machine")
def test_it_prints_every_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = doctor.examine(tmp_path)
    doctor.print_findings(findings)
    shown = capsys.readouterr().out
    assert all(finding["name"] in shown for finding in findings)


def test_a_gpu_is_told_with_the_attention_that_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {"torch": "2.0", "cuda": "Some GPU", "mps": False, "threads": 1}

    def probe(attention: dict[str, float]) -> str:
        said = json.dumps({**seen, "attention": attention})
        done = subprocess.CompletedProcess([], 0, said, "")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
        return doctor._worker()["message"]

    told = probe({"cudnn": 0.3, "math": 9.0})
    assert told == "torch 2.0 on Some GPU; attention of wan-1.3b: cudnn 0.30 ms, math 9.00 ms"
    assert probe({}) == "torch 2.0 on Some GPU"


def test_the_virtual_camera_is_told_as_the_installer_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = camera_setup.Verdict(state="ok", message="/dev/video7 (Brushcast)")
    monkeypatch.setattr(camera_setup, "examine", lambda: seen)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    found = doctor._virtual_camera()
    assert (found["state"], found["message"], found["advice"]) == ("ok", seen.message, "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = doctor._virtual_camera()
    assert (found["state"], found["advice"]) == ("warn", "pip install pyvirtualcam")


def test_obs_is_told_in_the_installers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    settings = tmp_path / "obs-studio" / "global.ini"
    (settings.parent / "basic" / "scenes").mkdir(parents=True)
    settings.write_text(f"[General]\nLastVersion={29 << 24 | 2}\n")
    found = by_name(doctor._obs(Path(__file__).resolve().parents[2]))
    assert "OBS 29.0.2" in found["OBS"]["message"]
    assert found["OBS script"]["state"] == "warn"
    assert found["OBS script"]["advice"] == "python3 -m installer obs"


def test_without_the_installer_the_obs_script_is_missing(tmp_path: Path) -> None:
    (found,) = doctor._obs(tmp_path)
    assert (found["name"], found["state"]) == ("OBS", "warn")


def test_an_installer_that_breaks_is_told(tmp_path: Path) -> None:
    (tmp_path / "installer").mkdir()
    (tmp_path / "installer" / "__init__.py").write_text("")
    (tmp_path / "installer" / "__main__.py").write_text("raise SystemExit")
    (found,) = doctor._obs(tmp_path)
    assert "cannot be examined" in found["message"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_the_probe_runs_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", doctor._TORCH_PROBE], capture_output=True, text=True, check=True
    )
    assert {"torch", "cuda", "mps", "attention", "threads"} == set(json.loads(done.stdout))
