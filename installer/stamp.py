"""What the environment was made from. Equal to what is wanted: nothing to do, and the start
costs milliseconds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from installer.venv import Venv

Kind = Literal["run", "dev"]
"""Which lock: what the product needs, or that and what its tests need."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Written last, into the environment, when everything has been checked. Its absence means
    half-made."""

    kind: Kind
    asked: str
    """The torch build that the user asked for; see torch_build.ASKED."""
    root: str
    lock: str
    project: str
    hardware: str
    python: str
    """The interpreter: path, size and time; changes when the system's Python is upgraded."""
    torch: str
    device: str
    """The line that says what will be used and why."""
    tree: dict[str, int]
    """Top of site-packages: names, and the size of each module or package's __init__.py."""
    format: int = _FORMAT


def read(venv: Venv) -> Stamp | None:
    """The stamp; None where there is none, or one that this version does not know."""
    try:
        raw = json.loads(_path(venv).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = {field.name for field in fields(Stamp)}
    if not isinstance(raw, dict) or set(raw) != names or raw["format"] != _FORMAT:
        return None
    return Stamp(**raw) if raw["kind"] in get_args(Kind) else None


def write(venv: Venv, stamp: Stamp) -> None:
    draft = _path(venv).with_suffix(".part")
    draft.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
    os.replace(draft, _path(venv))


def erase(venv: Venv) -> None:
    """From here on, until `write`, the environment counts as half-made."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _path(venv).unlink()


def lock_file(root: Path, kind: Kind) -> Path:
    return root / "requirements" / f"{kind}.txt"


def lock_hash(root: Path, kind: Kind) -> str:
    return hashlib.sha256(lock_file(root, kind).read_bytes()).hexdigest()


def project_hash(root: Path) -> str:
    """Of those tables of pyproject.toml that an installation depends on: the tools' settings do
    not count."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    relevant = [table.get("project"), table.get("build-system"), table.get("tool", {}).get("hatch")]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def python_trace(venv: Venv) -> str:
    try:
        real = venv.python.resolve(strict=True)
        status = real.stat()
    except OSError:
        return ""
    return f"{real} {status.st_size} {status.st_mtime_ns}"


def tree(venv: Venv) -> dict[str, int]:
    """See Stamp.tree. About 5 ms."""
    site = venv.site_packages()
    sizes: dict[str, int] = {}
    for entry in os.scandir(site) if site else ():
        if entry.name == "__pycache__" or entry.name.startswith((".", "~")):
            continue
        measured = os.path.join(entry.path, "__init__.py") if entry.is_dir() else entry.path
        sizes[entry.name] = os.stat(measured).st_size if os.path.exists(measured) else -1
    return sizes


def lacks(venv: Venv, stamp: Stamp) -> str:
    """What has gone from the environment, or was changed in it, since the stamp; empty: nothing."""
    if python_trace(venv) != stamp.python:
        return "its Python is missing or was changed"
    now = tree(venv)
    for name, size in stamp.tree.items():
        if now.get(name) != size:
            return f"{name} is {'damaged' if name in now else 'missing'}"
    return ""


def _path(venv: Venv) -> Path:
    return venv.folder / "brushcast-setup.json"
