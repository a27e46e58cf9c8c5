"""`brushcast bench`: asks the worker package to measure itself in a process of its own, and prints
what it says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from brushcast.config import check_model_size
from brushcast.errors import ChildError, ConfigError, InputError
from brushcast.frame import Size


def run_bench(
    *, engine: str, size: Size | None, steps: int, device: str, seconds: float
) -> dict[str, Any]:
    """The worker's figures: fps end to end and per stage, first-frame ms, peak memory, versions.

    Raises InputError for what cannot be measured, ChildError when the measurement died.
    """
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("bench needs the worker: install brushcast[worker] (torch is missing)")
    arguments = ["bench", "--json", "--engine", engine, "--device", device]
    arguments += ["--seconds", str(seconds)]
    if size is not None:
        check_model_size(size)
        arguments += ["--size", str(size)]
    if steps:
        arguments += ["--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, "-m", "brushcast_worker", *arguments], capture_output=True, text=True
    )
    last_words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if done.returncode == 2:
        raise InputError(last_words[0].removeprefix("brushcast-worker: "))
    if done.returncode:
        raise ChildError(f"the measurement died: {last_words[0]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def print_bench(result: Mapping[str, Any]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"brushcast bench: {result.get('engine')} on {result.get('device')}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, value in result.items():
        if isinstance(value, Mapping):
            for inner, figure in value.items():
                table.add_row(f"{key}.{inner}", _shown(figure))
        else:
            table.add_row(key, _shown(value))
    Console().print(table)


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
