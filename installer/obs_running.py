"""Whether OBS runs: it keeps its scene collection in memory and writes it when it closes, over
whatever was changed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from installer.errors import SetupError

_PATIENCE_S = 20
_LINUX_NAMES = ("obs", "obs-studio")
_WINDOWS_PROGRAMS = ("obs64.exe", "obs32.exe")


def is_running(platform: str = sys.platform, proc: Path = Path("/proc")) -> bool:
    """True where this user's OBS runs, also one in a sandbox. Raises SetupError where that cannot
    be found out."""
    if platform == "win32":
        return any(_tasklist_names(program) for program in _WINDOWS_PROGRAMS)
    if platform == "darwin":
        code = _asked(["pgrep", "-x", "-U", str(os.getuid()), "OBS"]).returncode
        if code > 1:
            raise SetupError("pgrep failed, so it is unknown whether OBS runs: close it first.")
        return code == 0
    try:
        processes = [folder for folder in proc.iterdir() if folder.name.isdigit()]
    except OSError as error:
        raise SetupError(f"{proc} cannot be read, so it is unknown whether OBS runs.") from error
    return any(_is_obs(folder) for folder in processes)


def _is_obs(process: Path) -> bool:
    try:
        if process.stat().st_uid != os.getuid():
            return False
        name, state = (
            (process / "stat").read_text(encoding="utf-8", errors="replace").split(")")[:2]
        )
    except (OSError, ValueError):
        return False  # it has ended meanwhile
    return name.partition("(")[2] in _LINUX_NAMES and state.split()[:1] != ["Z"]


def _tasklist_names(program: str) -> bool:
    done = _asked(["tasklist", "/FI", f"IMAGENAME eq {program}", "/NH", "/FO", "CSV"])
    if done.returncode != 0:
        raise SetupError("tasklist failed, so it is unknown whether OBS runs: close it first.")
    return f'"{program}"' in done.stdout.lower()


def _asked(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(
            f"{command[0]} does not answer, so it is unknown whether OBS runs: close it first."
        ) from error
