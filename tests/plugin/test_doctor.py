"""The doctor tells what is there and what to do, and never breaks."""

import importlib.machinery
import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import brushcast.doctor as doctor
from brushcast.errors import SourceError, WeightsError
from brushcast.v4l2 import CAPTURE, LOOPBACK_DRIVER, OUTPUT, Device, Holder


def by_name(findings: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in findings}


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torch, no weights, no camera, no virtual camera."""

    def no_weights(name: str) -> None:
        raise WeightsError("weights are missing")

    def no_camera(spec: str) -> None:
        raise SourceError("camera 0: there is none")

    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "verify_model", no_weights)
    monkeypatch.setattr("brushcast.source.open_source", no_camera)
    monkeypatch.setattr(doctor.v4l2, "devices", list)


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
        monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: done)
        return doctor._worker()["message"]

    told = probe({"cudnn": 0.3, "math": 9.0})
    assert told == "torch 2.0 on Some GPU; attention of wan-1.3b: cudnn 0.30 ms, math 9.00 ms"
    assert probe({}) == "torch 2.0 on Some GPU"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_the_probe_runs_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", doctor._TORCH_PROBE], capture_output=True, text=True, check=True
    )
    assert {"torch", "cuda", "mps", "attention", "threads"} == set(json.loads(done.stdout))


def camera_finding(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    found: Sequence[Device] = (),
    missing: bool = False,
) -> dict[str, str]:
    spec = None if missing else importlib.machinery.ModuleSpec("pyvirtualcam", None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(doctor.v4l2, "devices", lambda: list(found))
    monkeypatch.setattr(doctor.v4l2, "holders", lambda path: [Holder(4, "obs")])
    return doctor.virtual_camera(platform)


def loopback(capabilities: int) -> Device:
    return Device("/dev/video10", LOOPBACK_DRIVER, "Brushcast", capabilities)


@pytest.mark.parametrize(
    ("capabilities", "state", "words"),
    [
        (OUTPUT, "ok", "Brushcast, free"),
        (CAPTURE, "ok", "Brushcast, in use by obs (process 4)"),
        (CAPTURE | OUTPUT, "warn", "without exclusive_caps=1 browsers"),
    ],
)
def test_the_virtual_camera_is_told_with_its_options(
    monkeypatch: pytest.MonkeyPatch, capabilities: int, state: str, words: str
) -> None:
    found = camera_finding(monkeypatch, "linux", [loopback(capabilities)])
    assert found["state"] == state
    assert words in found["message"]
    assert ("modprobe -r v4l2loopback" in found["advice"]) == (state == "warn")


def test_a_real_camera_is_no_virtual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = Device("/dev/video0", "uvcvideo", "HD Webcam", CAPTURE)
    found = camera_finding(monkeypatch, "linux", [webcam], missing=True)
    assert found["message"] == "no v4l2loopback device"
    for step in ("pip install pyvirtualcam", "modprobe", "/etc/modprobe.d/v4l2loopback.conf"):
        assert step in found["advice"]


@pytest.mark.parametrize(
    ("platform", "words"), [("win32", "or Unity Video Capture"), ("darwin", "OBS Virtual Camera")]
)
def test_elsewhere_it_names_the_kinds_of_camera(
    monkeypatch: pytest.MonkeyPatch, platform: str, words: str
) -> None:
    found = camera_finding(monkeypatch, platform)
    assert (found["state"], words in found["message"]) == ("ok", True)
    missing = camera_finding(monkeypatch, platform, missing=True)
    assert missing["state"] == "warn"
    assert "pip install pyvirtualcam; OBS Virtual Camera: install OBS" in missing["advice"]


def test_an_unknown_system_has_no_virtual_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    assert camera_finding(monkeypatch, "plan9")["state"] == "warn"
