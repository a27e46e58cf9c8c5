"""install.json: how the OBS script starts the product. Written by every set-up, for the checkout
that was set up last."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from installer import safe_write
from installer.places import Places
from installer.venv import Venv

FORMAT = 1
NAME = "install.json"


def write(root: Path, venv: Venv, places: Places) -> bool:
    """Brings `<user config>/brushcast/install.json` up to date: 0600 in a folder of 0700. False:
    it was right already. Raises OSError."""
    path = places.config / NAME
    record = {
        "format": FORMAT,
        # Not resolved: the link is what makes the environment's Python the environment's.
        "command": [str(venv.python.absolute()), "-m", "brushcast"],
        "version": version(root),
    }
    content = (json.dumps(record, indent=1) + "\n").encode()
    try:
        is_private = os.name != "posix" or path.stat().st_mode & 0o077 == 0
        if is_private and path.read_bytes() == content:
            return False
    except OSError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        path.parent.chmod(0o700)
    safe_write.replace(path, content)
    if os.name == "posix":
        path.chmod(0o600)
    return True


def command(places: Places) -> list[str]:
    """The command that is recorded; empty: none, or one that cannot be read."""
    try:
        record = json.loads((places.config / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = record.get("command") if isinstance(record, dict) else None
    is_command = isinstance(found, list) and all(isinstance(part, str) for part in found)
    return list(found) if is_command and found else []


def version(root: Path) -> str:
    """The product's version, as its source says; empty: not found."""
    try:
        text = (root / "plugin" / "brushcast" / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found[1] if found else ""
