"""How a measurement ends: its figures as JSON, on standard output and where they are wanted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def tell(found: dict[str, Any], out: Path | None) -> None:
    text = json.dumps(found, indent=1) + "\n"
    if out is not None:
        out.write_text(text)
    sys.stdout.write(text)
