"""Which models there are, whether their weights are here, and whether they are what we shipped. No
torch.

Each model's weights are described by `weights/manifest.json` of the worker package: files, sizes
and SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from brushcast.errors import ConfigError, WeightsError

EMBEDDED = {"pocket": "embedded, trained by us; runs on two CPU cores"}


def weights_folder() -> Path:
    """The worker package's folder of weights, found without importing it. Raises WeightsError."""
    spec = importlib.util.find_spec("brushcast_worker")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the worker is not installed here: wanted the package brushcast_worker")
    return Path(next(iter(spec.submodule_search_locations))) / "weights"


def list_models() -> list[dict[str, Any]]:
    """One row a model: name, state (`ready`, `missing`), mb, about."""
    rows = []
    for name, about in EMBEDDED.items():
        files = _manifest(name)
        folder = weights_folder()
        here = all((folder / file).is_file() for file in files)
        rows.append(
            {
                "name": name,
                "state": "ready" if here else "missing",
                "mb": round(sum(entry["bytes"] for entry in files.values()) / 1e6, 1),
                "about": about,
            }
        )
    return rows


def fetch_model(name: str) -> dict[str, Any]:
    """Make a model's weights present. The embedded model comes with the package: then this
    verifies it."""
    result = verify_model(name)
    return {
        **result,
        "message": f"{name} comes with Brushcast: nothing to fetch; {result['message']}",
    }


def verify_model(name: str) -> dict[str, Any]:
    """Hold every file of a model against its size and hash. Raises ConfigError, WeightsError."""
    files = _manifest(name)
    for file, wanted in files.items():
        path = weights_folder() / file
        if not path.is_file():
            raise WeightsError(f"{name}: {path} is missing; reinstall Brushcast")
        seen = hashlib.sha256(path.read_bytes()).hexdigest()
        if seen != wanted["sha256"]:
            raise WeightsError(
                f"{name}: {path} has SHA-256 {seen[:16]}…, wanted {wanted['sha256'][:16]}…; "
                "the file is damaged or not ours: reinstall Brushcast"
            )
    total_mb = sum(entry["bytes"] for entry in files.values()) / 1e6
    message = f"{len(files)} files, {total_mb:.1f} MB, all hashes as shipped"
    return {"name": name, "files": sorted(files), "ok": True, "message": message}


def _manifest(name: str) -> dict[str, dict[str, Any]]:
    if name not in EMBEDDED:
        raise ConfigError(f"unknown model {name!r}: there is {', '.join(sorted(EMBEDDED))}")
    path = weights_folder() / "manifest.json"
    try:
        table: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return table[name]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: not a list of weights with hashes ({error})") from None
