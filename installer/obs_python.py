"""The Python that OBS loads for scripts. On Linux it is linked with the system's; on Windows and
macOS its folder is a setting, and OBS does not start where that setting has gone stale.

Windows and macOS were written after OBS's own source and never run.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from installer import obs_ini
from installer.obs_folders import ObsConfig, Version, read_ini
from installer.places import Places

SECTION, KEY = "Python", "Path64bit"
OLDEST_MINOR = 10
"""The script wants Python 3.10."""
_OBS_OLDEST_MINOR = 6  # OBS tries every version from its newest down to this one

State = Literal["linked", "good", "unset", "stale", "old"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What OBS is told, and what is wrong with it."""

    state: State
    path: str
    newest_minor: int
    """OBS loads at most Python 3.newest_minor."""

    @property
    def text(self) -> str:
        """One sentence."""
        wanted = f"{wanted_versions(self.newest_minor)} of this OBS"
        match self.state:
            case "linked":
                return "OBS uses the system's Python"
            case "good":
                return f"OBS uses the Python in {self.path}"
            case "unset":
                return f"OBS has been given no Python ({wanted} is wanted): no script can run"
            case "stale":
                return f"there is no {wanted} in {self.path}: OBS may not even start with that"
            case "old":
                return f"the Python in {self.path} is too old ({wanted} is wanted)"


def wanted_versions(newest_minor: int) -> str:
    """For people: "Python 3.10 to 3.12"."""
    return "Python 3.10" + (f" to 3.{newest_minor}" if newest_minor > OLDEST_MINOR else "")


def newest_minor(version: Version | None) -> int:
    """What an OBS loads at most: 3.10 to OBS 29.0, 3.11 to 30.0, 3.12 from 30.1. Unknown: the
    one that every version loads."""
    if version is None or version < (29, 1, 0):
        return 10
    return 11 if version < (30, 1, 0) else 12


def setting(config: ObsConfig, platform: str) -> Setting:
    """What `config` says. Reads only."""
    newest = newest_minor(config.version)
    if platform not in ("win32", "darwin"):
        return Setting(state="linked", path="", newest_minor=newest)
    path = obs_ini.get(read_ini(config.settings), SECTION, KEY)
    return Setting(state=_state(path, newest, platform), path=path, newest_minor=newest)


def _state(path: str, newest: int, platform: str) -> State:
    if not path:
        return "unset"
    found = _loaded_minor(Path(path), newest, platform)
    if found is None:
        return "stale"
    return "good" if found >= OLDEST_MINOR else "old"


def candidates(places: Places, newest: int, environ: Mapping[str, str]) -> list[Path]:
    """Folders whose Python an OBS of that kind loads, the newest Python first."""
    folders = _windows_folders(environ) if places.platform == "win32" else _MAC_FOLDERS
    rated = {
        folder: minor
        for folder in folders
        if (minor := _loaded_minor(folder, newest, places.platform)) is not None
        and minor >= OLDEST_MINOR
    }
    return sorted(rated, key=lambda folder: -rated[folder])


_MAC_FOLDERS = (
    Path("/Library/Frameworks"),  # python.org
    Path("/opt/homebrew/Frameworks"),
    Path("/usr/local/Frameworks"),
)


def _windows_folders(environ: Mapping[str, str]) -> list[Path]:
    folders = list(_registered())
    for root in ("LOCALAPPDATA", "PROGRAMFILES"):
        if environ.get(root):
            base = Path(environ[root])
            base = base / "Programs" / "Python" if root == "LOCALAPPDATA" else base
            folders += [base / f"Python3{minor}" for minor in range(OLDEST_MINOR, 13)]
    return folders


def _registered() -> Iterator[Path]:
    """Pythons that Windows' registry knows (PEP 514), 64-bit ones alone."""
    try:
        winreg = importlib.import_module("winreg")
    except ImportError:
        return
    for root in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
        for minor in range(OLDEST_MINOR, 13):
            key = rf"Software\Python\PythonCore\3.{minor}\InstallPath"
            try:
                yield Path(winreg.QueryValue(root, key))
            except OSError:
                continue


def _loaded_minor(folder: Path, newest: int, platform: str) -> int | None:
    """The Python 3.x that OBS finds first there, from its newest down; None: none at all."""
    for minor in range(newest, _OBS_OLDEST_MINOR - 1, -1):
        name = (
            f"python3{minor}.dll"
            if platform == "win32"
            else f"Python.framework/Versions/3.{minor}/lib/libpython3.{minor}.dylib"
        )
        if os.path.exists(folder / name):
            return minor
    return None
