"""What is there of v4l2loopback, in file systems as the kernel and distributions make them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brushcast import camera_setup
from brushcast.camera_setup import KEEP, LOAD, RELOAD, examine, read_loopback

ROOT = Path(__file__).resolve().parents[2]


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def load(root: Path, caps: str = "Y,N,N,N", **devices: str) -> None:
    put(root / "sys/module/v4l2loopback/parameters/exclusive_caps", caps + "\n")
    for name, label in devices.items():
        put(root / f"sys/devices/virtual/video4linux/{name}/name", label + "\n")


def keep(root: Path) -> None:
    put(root / "etc/modules-load.d/v4l2loopback.conf", "v4l2loopback\n")
    put(root / "etc/modprobe.d/v4l2loopback.conf", "options v4l2loopback exclusive_caps=1\n")


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian\n", "sudo apt-get install v4l2loopback-dkms linux-headers-$(uname -r)"),
        ("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "sudo apt-get install"),
        ("ID=ubuntu\n", "sudo apt-get install"),
        ("ID=fedora\n", "sudo dnf install akmod-v4l2loopback"),
        ("ID=manjaro\nID_LIKE=arch\n", "sudo pacman -S --needed v4l2loopback-dkms linux-headers"),
    ],
)  # fmt: skip
def test_what_is_missing_is_installed_the_distributions_way(
    tmp_path: Path, release: str, command: str
) -> None:
    put(tmp_path / "etc/os-release", release)
    found = examine("linux", tmp_path)
    assert (found.state, found.message) == ("warn", "v4l2loopback is not installed for this kernel")
    first, second, _, *kept = found.advice.splitlines()
    assert command in first
    assert second == LOAD
    assert tuple(kept) == KEEP


def test_another_distribution_gets_all_the_commands(tmp_path: Path) -> None:
    advice = examine("linux", tmp_path).advice
    for name in ("Debian, Ubuntu: sudo apt-get", "Fedora: sudo dnf", "Arch: sudo pacman"):
        assert name in advice


def test_installed_and_not_loaded(tmp_path: Path) -> None:
    put(tmp_path / "lib/modules/6.1/modules.dep", "updates/dkms/v4l2loopback.ko.xz: kernel/x.ko\n")
    found = camera_setup.judge(read_loopback(tmp_path, "6.1"))
    assert (found.state, found.message) == ("warn", "v4l2loopback is installed and not loaded")
    assert found.advice.splitlines()[0] == LOAD
    keep(tmp_path)
    assert camera_setup.judge(read_loopback(tmp_path, "6.1")).advice == LOAD
    assert not read_loopback(tmp_path, "6.2").is_there  # built for another kernel


@pytest.mark.parametrize(
    ("caps", "devices", "what"),
    [
        ("Y,N,N", {}, "without a device"),
        ("N,N,N", {"video10": "Brushcast"}, "without exclusive_caps=1"),
        ("Y,N,N", {"video10": "A", "video11": "B"}, "without exclusive_caps=1"),
        ("Y,N,N", {"video10": "Dummy video device (0x0000)"}, "no label"),
    ],
)
def test_loaded_in_a_way_that_apps_do_not_like(
    tmp_path: Path, caps: str, devices: dict[str, str], what: str
) -> None:
    load(tmp_path, caps, **devices)
    found = examine("linux", tmp_path)
    assert found.state == "warn"
    assert what in found.message
    assert found.advice.splitlines()[0] == RELOAD


def test_loaded_rightly(tmp_path: Path) -> None:
    load(tmp_path, "Y,Y,N,N", video10="Brushcast", video2="OBS Virtual Camera")
    found = examine("linux", tmp_path)
    assert found.state == "ok"
    assert found.message == "/dev/video2 (OBS Virtual Camera), /dev/video10 (Brushcast)"
    assert tuple(found.advice.splitlines()[1:]) == KEEP
    keep(tmp_path)
    assert examine("linux", tmp_path).advice == ""
    put(tmp_path / "etc/modules-load.d/v4l2loopback.conf", "# v4l2loopback\n")
    assert examine("linux", tmp_path).advice != ""


def test_a_module_that_does_not_say_its_options_is_believed(tmp_path: Path) -> None:
    load(tmp_path, video0="Brushcast")
    (tmp_path / "sys/module/v4l2loopback/parameters/exclusive_caps").unlink()
    assert examine("linux", tmp_path).state == "ok"


def test_the_other_systems_are_told_what_to_install() -> None:
    assert "UnityCapture" in examine("win32").advice
    assert "OBS 30 or newer" in examine("darwin").advice
    assert examine("freebsd14").state == "warn"


def test_the_installer_can_run_the_file_by_itself(tmp_path: Path) -> None:
    path = ROOT / "plugin" / "brushcast" / "camera_setup.py"
    command = [sys.executable, "-I", "-S", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"state", "message", "advice"}
