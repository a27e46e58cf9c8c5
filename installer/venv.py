"""The virtual environment in the repository's root: where its parts are, what is wrong with it,
how it is made."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from installer.errors import SetupError, from_os_error

_START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Venv:
    """Paths of the environment at `folder`; nothing is kept in memory, the disk is the truth."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def site_packages(self) -> Path | None:
        """The folder of installed packages; None where there is none (or a broken environment)."""
        pattern = "Lib/site-packages" if sys.platform == "win32" else "lib/python3*/site-packages"
        found = sorted(self.folder.glob(pattern))
        return found[-1] if found else None

    def problem(self) -> str:
        """Why the environment has to be made anew; empty where its Python and its pip start.
        Runs them: about 0.1 s."""
        if not os.path.lexists(self.folder):
            return "there is none"
        if not self.python.exists():
            return "its Python is missing"
        try:
            done = subprocess.run(
                [
                    str(self.python),
                    "-c",
                    "import sys, pip; print(*sys.version_info[:2], sys.prefix != sys.base_prefix)",
                ],
                capture_output=True,
                text=True,
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return "its Python does not start"
        if done.returncode != 0:
            return "its pip is missing" if "'pip'" in done.stderr else "its Python does not start"
        major, minor, isolated = done.stdout.split()
        if (int(major), int(minor)) < (3, 11):
            return f"its Python is {major}.{minor}"
        return "" if isolated == "True" else "it is no virtual environment"

    def python_version(self) -> str:
        """Major and minor, "3.11", as its configuration says; empty where there is none."""
        try:
            text = (self.folder / "pyvenv.cfg").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""
        found = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", text, re.MULTILINE)
        return found[1] if found else ""

    def installed_version(self, package: str) -> str:
        """The version in the package's metadata; empty: not installed."""
        site = self.site_packages()
        found = sorted(site.glob(f"{package}-*.dist-info")) if site else []
        return found[0].name.removesuffix(".dist-info").partition("-")[2] if found else ""

    def remove(self) -> None:
        """Deletes it. Raises SetupError where that cannot be done (Windows: a program in it is
        running)."""
        try:
            if self.folder.is_symlink() or self.folder.is_file():
                self.folder.unlink()
            elif self.folder.exists():
                shutil.rmtree(self.folder)
        except OSError as error:
            if error.errno is not None and sys.platform == "win32":
                raise SetupError(
                    f"{self.folder} cannot be replaced while a program in it is running: close "
                    f"Brushcast and OBS first."
                ) from error
            raise from_os_error(error, "removing the old environment") from error

    def create(self, log: TextIO) -> None:
        """Makes a new one with pip in it. Raises SetupError with the one thing that is missing."""
        require_venv_module()
        done = subprocess.run(
            [_base_python(), "-m", "venv", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log.write(done.stdout)
        if done.returncode == 0:
            return
        if (
            "No space left" in done.stdout
            or "Disk quota exceeded" in done.stdout
            or shutil.disk_usage(self.folder.parent).free < 2**20
        ):
            raise SetupError("The disk is full: free some space and run the same command again.")
        if "ensurepip is not available" in done.stdout:
            raise SetupError(_no_venv_sentence())
        last = done.stdout.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SetupError(
            f"Python could not make a virtual environment in {self.folder}: {last[0]}."
        )


def require_venv_module() -> None:
    """Raises SetupError on a Python without venv or ensurepip (Debian packages them apart)."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise SetupError(_no_venv_sentence())


def _no_venv_sentence() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = f"Python {version} ({sys.executable}) comes without the venv module"
    if shutil.which("apt-get"):
        package = f"python{version}-venv"
        return f"{missing}: run 'sudo apt-get install {package}', then the same command again."
    return f"{missing}: install a complete Python 3.11 or newer, for example from python.org."


def _base_python() -> str:
    """The interpreter below: this one may be the very environment that is being replaced."""
    base = getattr(sys, "_base_executable", sys.executable)
    return str(base or sys.executable)
