"""Writes `weights/manifest.json`: sizes and SHA-256 of the weights that are shipped.

    python -m training.manifest        (from worker/, after new weights)

`brushcast models verify` holds a user's files against it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import brushcast_worker

WEIGHTS = Path(brushcast_worker.__file__).parent / "weights"


def main() -> None:
    files = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(WEIGHTS.glob("pocket*.safetensors"))
    }
    text = json.dumps({"pocket": files}, indent=2) + "\n"
    (WEIGHTS / "manifest.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
