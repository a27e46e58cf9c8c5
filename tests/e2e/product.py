"""The whole product as a user starts it, on a source that no painted picture looks like.

The source carries a secret in its colours (`tests.faults.watermark`); the preset is ink, which
leaves a third of it. So the sink's file is the oracle: a picture with more of the secret in it is a
raw picture that leaked.
"""

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from brushcast.frame import Pixels, Size
from brushcast.recording import Recording
from tests.faults.watermark import source_picture

SIZE = Size(640, 360)
LEAK_MOST = 0.6  # of a raw picture; one has 1, ink at its strength of 0.6 has 0.31 to 0.34


def write_source(path: Path) -> None:
    """Three seconds of `watermark.source_picture`, for a source that plays them in a loop."""
    with Recording(path, SIZE, Fraction(30)) as recording:
        for index in range(90):
            recording.write(source_picture(index, SIZE), Fraction(index, 30))


def pictures(path: Path) -> list[Pixels]:
    """All of a video's, at 160x90."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)  # small: a minute at 1280x720 would be 5 GB
        return [frame.to_ndarray(format="rgb24", width=160, height=90) for frame in frames]


class Product:
    """`brushcast run` as a user starts it, in a home of its own."""

    def __init__(self, tmp_path: Path, source: Path, *options: str) -> None:
        self.output, self.report_file = tmp_path / "out.mp4", tmp_path / "report.json"
        environment = {
            **os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
            "BRUSHCAST_RUNTIME_DIR": str(tmp_path / "run"),
        }  # fmt: skip
        command = [sys.executable, "-m", "brushcast", "run", "--source", f"file:{source}"]
        command += ["--preset", "ink", "--sink", f"file:{self.output}", "--sink", "null"]
        command += ["--panel", "127.0.0.1:0", "--report", str(self.report_file), *options]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait(self, patience_s: float = 60) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=patience_s)
        return self.process.returncode, out, err

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report_file.read_text())
        return found

    def children(self, kind: str) -> list[int]:
        """Process ids of our children whose command line holds `kind`, oldest first."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parent, started = int(fields[1]), int(fields[19])  # in ticks since the boot
                command = (entry / "cmdline").read_text()
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and kind in command:
                found.append((started, int(entry.name)))  # the numbers themselves wrap
        return [pid for _, pid in sorted(found)]

    def wait_for_children_of(self, kind: str, count: int, patience_s: float = 30) -> list[int]:
        ends = time.monotonic() + patience_s
        while time.monotonic() < ends:
            if len(found := self.children(kind)) >= count:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{len(self.children(kind))} children of {kind}, wanted {count}")
