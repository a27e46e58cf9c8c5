from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from installer import system_packages
from installer.progress import Progress

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="apt-get is faked by a script")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root user's Debian whose PATH is this folder: all of its programs are fakes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def program(folder: Path, name: str, script: str = "") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def install(machine: Path) -> tuple[list[str], str]:
    out = io.StringIO()
    left = system_packages.install_missing(Progress(out), machine / "log")
    return left, out.getvalue()


def test_only_what_is_missing_is_installed(machine: Path) -> None:
    for name in sorted({*system_packages.PACKAGES} - {"ffmpeg", "qemu-system-x86_64"}):
        program(machine, name)
    program(
        machine,
        "apt-get",
        f'echo "$@" >>{machine}/calls\n'
        f"for f in ffmpeg qemu-system-x86_64; do : >{machine}/$f; /bin/chmod +x {machine}/$f; done",
    )
    left, said = install(machine)
    assert left == []
    calls = (machine / "calls").read_text().splitlines()
    assert calls[0] == "update -q"
    assert calls[1] == "install -qy --no-install-recommends ffmpeg qemu-system-x86"
    assert said.startswith("System ... ffmpeg, qemu-system-x86, ")


def test_nothing_missing_asks_nobody(machine: Path) -> None:
    for name in system_packages.PACKAGES:
        program(machine, name)
    program(machine, "apt-get", "exit 9")
    assert install(machine) == ([], "")


def test_another_user_and_another_system_are_left_alone(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = list(system_packages.PACKAGES)
    assert install(machine) == (everything, "")  # no apt-get here
    program(machine, "apt-get", f": >{machine}/called")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert install(machine) == (everything, "")
    assert not (machine / "called").exists()


def test_an_apt_that_fails_is_reported_and_fails_nothing(machine: Path) -> None:
    program(machine, "apt-get", "echo no mirrors; exit 100")
    left, said = install(machine)
    assert left == list(system_packages.PACKAGES)
    assert "not to be had: chromium" in said
    assert "no mirrors" in (machine / "log").read_text()
