"""Programs from the system that some tests drive. Rule: the full test command installs what is
missing where it may
(root on Debian or a child of it); elsewhere those tests skip and say why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from installer.progress import Progress

# Program that must be on PATH -> Debian packages that it needs.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "chromium": ("chromium",),  # the panel, in a real browser
    "ffmpeg": ("ffmpeg",),  # reads back, as a stranger, what sinks wrote
    "qemu-system-x86_64": ("qemu-system-x86",),  # the guest with the real virtual camera
    "obs": ("obs-studio", "obs-plugins", "libgl1-mesa-dri"),  # the real one, drawn by the CPU
    "Xvfb": ("xvfb",),  # its screen
    "dbus-daemon": ("dbus-daemon",),
    "xdotool": ("xdotool",),  # its keyboard
}
_TIMEOUT_S = 900


def missing() -> list[str]:
    """Programs of the table that are not on PATH."""
    return [program for program in PACKAGES if shutil.which(program) is None]


def may_install() -> bool:
    """True for root on a system with apt-get."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_missing(progress: Progress, log_path: Path) -> list[str]:
    """Installs what `missing` names where `may_install`; returns what is missing still. Never
    fails the run."""
    programs = missing()
    if not programs or not may_install():
        return programs
    packages = [package for program in programs for package in PACKAGES[program]]
    progress.begin("System")
    with log_path.open("a", encoding="utf-8") as log:
        for command in (
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-qy", "--no-install-recommends", *packages],
        ):
            try:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=_TIMEOUT_S,
                    check=False,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                )
            except (OSError, subprocess.SubprocessError) as error:
                log.write(f"{command}: {error}\n")
    left = missing()
    progress.end(", ".join(packages) if not left else f"not to be had: {', '.join(left)}")
    return left
