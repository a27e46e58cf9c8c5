"""The whole product as a user starts it, on a source that no painted picture looks like.

The source is saturated colour in every pixel; the preset is ink, which has none. So the sink's file
is the oracle: a picture as colourful as the source is a raw picture that leaked.
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
import numpy as np

from brushcast.frame import Pixels, Size
from brushcast.recording import Recording

SIZE = Size(640, 360)
RAW_SATURATION = 150  # of the source: above 200; of ink and of the cards: far below


def source_picture(index: int) -> Pixels:
    """Moving bars of pure red, green and blue."""
    columns = (np.arange(SIZE.width) + 6 * index) // 40 % 3
    row = np.eye(3, dtype=np.uint8)[columns] * 255
    return np.ascontiguousarray(np.broadcast_to(row, (SIZE.height, SIZE.width, 3)))


def write_source(path: Path) -> None:
    """Three seconds of `source_picture`, for a source that plays it in a loop."""
    with Recording(path, SIZE, Fraction(30)) as recording:
        for index in range(90):
            recording.write(source_picture(index), Fraction(index, 30))


def saturation(pixels_HWC: Pixels) -> float:
    """The mean spread of the channels, 0..255: 0 for grey."""
    return float(np.ptp(pixels_HWC, axis=2).mean())


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
