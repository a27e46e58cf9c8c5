"""No wall clock is asked for anything that runs; and the one that tests move does move."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.clock import MovedClock

ROOT = Path(__file__).parents[2]
FOLDERS = ("plugin/brushcast", "worker/brushcast_worker", "obs_scripts")
WALL = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today")
# The day of a pairing is for people to read in `pair --list`: nothing is decided by it.
SHOWN = ("plugin/brushcast/commands/pair.py", "worker/brushcast_worker/pair.py")


def test_nothing_that_runs_asks_the_wall_clock() -> None:
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if (name := ast.unparse(node.func)).endswith(WALL)
        if not (name == "datetime.date.today" and path.relative_to(ROOT).as_posix() in SHOWN)
    ]
    assert not asked, "monotonic_ns is the clock here: " + ", ".join(asked)


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
def test_the_moved_clock_is_the_wall_clock_alone(tmp_path: Path) -> None:
    try:
        clock = MovedClock(tmp_path)
    except OSError as error:
        pytest.skip(str(error))
    code = "import time; time.sleep(0.01); print(time.time(), time.monotonic())"

    def told() -> tuple[float, float]:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **clock.environment},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        wall, monotonic = done.stdout.split()
        return float(wall) - time.time(), float(monotonic) - time.monotonic()

    for offset_s in (0, 3600, -3600):
        clock.move(offset_s)
        wall_s, monotonic_s = told()
        assert wall_s == pytest.approx(offset_s, abs=30)
        assert abs(monotonic_s) < 30
