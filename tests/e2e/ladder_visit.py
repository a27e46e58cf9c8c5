"""Record a load: the real product, and processes that take its cores away for a while.

    python tests/e2e/ladder_visit.py TRACE [--quiet 20] [--hogs 4] [--hogged 40] [--calm 60]
        [--target-fps 24] [--mode balanced] [--output-size 1280x720]

writes the trace that `python -m brushcast_worker.ladder_trace TRACE` plays again, and prints what
the ladder did while it was recorded. No test: it needs minutes and the whole machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from brushcast_worker.ladder_trace import from_log, read_trace

HOG = "while True: pass"


def record(options: argparse.Namespace) -> list[str]:
    """The lines of the trace."""
    seconds = options.quiet + options.hogged + options.calm
    command = [
        *(sys.executable, "-m", "brushcast", "run", "--source", "testcard", "--sink", "null"),
        *("--panel", "off", "--for", str(seconds), "--mode", options.mode),
        *("--target-fps", str(options.target_fps), "--output-size", options.output_size),
    ]
    environment = {**os.environ, "BRUSHCAST_LOG": "DEBUG"}
    with tempfile.TemporaryFile("w+") as log:
        run = subprocess.Popen(command, stderr=log, env=environment)
        time.sleep(options.quiet)
        hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(options.hogs)]
        try:
            time.sleep(options.hogged)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        run.wait()
        log.seek(0)
        return list(from_log(log))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--quiet", type=float, default=20)
    parser.add_argument("--hogs", type=int, default=4)
    parser.add_argument("--hogged", type=float, default=40)
    parser.add_argument("--calm", type=float, default=60)
    parser.add_argument("--target-fps", type=int, default=24)
    parser.add_argument("--mode", default="balanced")
    parser.add_argument("--output-size", default="1280x720")
    options = parser.parse_args()
    lines = record(options)
    options.trace.write_text("\n".join(lines) + "\n")
    before = None
    for step in read_trace(lines):
        if step.rung != before:
            sys.stdout.write(f"{step.at_ns / 1e9:9.1f} s  {step.rung.name}\n")
        before = step.rung


if __name__ == "__main__":
    main()
