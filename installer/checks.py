"""Style, types and tests: the same commands for `make`, for `installer test` and so for CI."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer.venv import Venv

COMMANDS: Mapping[str, Sequence[str]] = {
    "style": ("ruff", "check", "."),
    "types": ("mypy",),
    "tests": ("pytest",),
}


def run(check: str, venv: Venv, root: Path, arguments: Sequence[str] = ()) -> int:
    """Runs one of COMMANDS in the environment, output as it comes; its exit code."""
    module, *options = COMMANDS[check]
    command = [str(venv.python), "-m", module, *options, *arguments]
    return subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, check=False).returncode


def run_all(venv: Venv, root: Path) -> dict[str, int]:
    """All three, each whatever the others say, so that one run shows everything. Exit codes by
    name."""
    return {check: run(check, venv, root) for check in COMMANDS}
