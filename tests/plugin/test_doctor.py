"""The doctor tells what is there and what to do, and never breaks."""

import socket
from pathlib import Path

import pytest

import brushcast.doctor as doctor
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

    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "verify_model", no_weights)
    monkeypatch.setattr("brushcast.source.open_source", no_camera)
    monkeypatch.setattr(doctor, "_loopback_devices", list)


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
