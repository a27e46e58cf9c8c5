"""Where the script and the product meet. The product's own names are in `brushcast.folders`; a test
holds the two together, as nothing of the product may be imported inside OBS."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

APP = "brushcast"


class FolderError(Exception):
    """One sentence: what is wrong with a folder or a file of ours."""


def runtime_folder() -> Path:
    """Of what lives as long as a run: made private where it is missing. Raises FolderError for one
    that is somebody else's."""
    chosen = os.environ.get("BRUSHCAST_RUNTIME_DIR")
    if chosen:
        folder = Path(chosen)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / APP / "run"
    else:
        shared = Path("/dev/shm")
        linux = sys.platform.startswith("linux") and os.access(shared, os.W_OK)
        folder = (shared if linux else Path(tempfile.gettempdir())) / f"{APP}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror or error}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{folder} is no folder of ours: delete it")
    if sys.platform != "win32" and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        raise FolderError(f"{folder} belongs to somebody else, or others may read it: delete it")
    return folder


def config_folder() -> Path:
    """A user's settings."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / APP
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / APP
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / APP


def installed_command() -> list[str]:
    """How the product is started. Raises FolderError with what to do."""
    path = config_folder() / "install.json"
    table = read_json(path)
    if table is None:
        raise FolderError(f"Brushcast is not installed for this user: {path} is missing")
    command = table.get("command")
    words = isinstance(command, list) and all(isinstance(word, str) for word in command)
    if table.get("format") != 1 or not words or not command:
        raise FolderError(f"{path} is damaged; run the installer once more")
    if not Path(command[0]).is_file():
        raise FolderError(f"{command[0]} is gone; run the installer once more")
    return list(command)


def read_json(path: Path, most_bytes: int = 1 << 20) -> dict[str, Any] | None:
    """An object from a file; None where there is none."""
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(most_bytes))
    except (OSError, ValueError):
        return None
    return table if isinstance(table, dict) else None
