from __future__ import annotations

from pathlib import Path

import pytest

from installer import hardware
from installer.hardware import NvidiaGpu, parse_nvidia_smi

SMI_LINE = "NVIDIA GeForce RTX 4090, 580.95.05, 8.9, 24564 MiB"


def test_a_line_of_nvidia_smi_is_understood() -> None:
    assert parse_nvidia_smi(SMI_LINE) == NvidiaGpu(
        name="NVIDIA GeForce RTX 4090", driver=(580, 95, 5), capability=(8, 9), memory_mib=24564
    )


def test_what_an_old_driver_does_not_tell_stays_empty() -> None:
    gpu = parse_nvidia_smi("Quadro K620, 470.256.02, [N/A], [Not Supported]")
    assert gpu == NvidiaGpu(name="Quadro K620", driver=(470, 256, 2), capability=(0, 0))


@pytest.mark.parametrize("line", ["", "No devices were found", "a, b, c, d", "only, two"])
def test_other_output_is_no_gpu(line: str) -> None:
    assert parse_nvidia_smi(line) is None


@pytest.fixture
def only_fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with nothing but this folder, and no libcuda."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "_libcuda_count", lambda: 0)
    return tmp_path


def fake_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif("sys.platform == 'win32'", reason="the fake is a shell script")
def test_the_first_gpu_of_nvidia_smi_is_taken(only_fakes: Path) -> None:
    fake_program(only_fakes, "nvidia-smi", f"echo '{SMI_LINE}'\necho 'Another, 580.1, 9.0, 1 MiB'")
    found = hardware.probe()
    assert found.nvidia is not None
    assert found.nvidia.name == "NVIDIA GeForce RTX 4090"
    assert not found.trouble


@pytest.mark.skipif("sys.platform == 'win32'", reason="the fake is a shell script")
def test_an_nvidia_smi_without_a_gpu_is_reported_and_not_believed(only_fakes: Path) -> None:
    fake_program(only_fakes, "nvidia-smi", "echo 'No devices were found'; exit 6")
    found = hardware.probe()
    assert found.nvidia is None
    assert "finds no GPU" in found.trouble


def test_a_machine_without_any_driver_has_nothing(
    only_fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_amd", lambda: "")
    found = hardware.probe()
    assert (found.nvidia, found.amd, found.trouble) == (None, "", "")


def test_the_signature_is_stable() -> None:
    assert hardware.signature() == hardware.signature()
