"""The whole product, live, with the embedded model: card first, then painted, whatever dies.

The source is saturated colour; the preset is ink, which has none. So the sink's file is the oracle:
a picture as colourful as the source is a raw picture that leaked.
"""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from brushcast.frame import Pixels, Size
from brushcast.recording import Recording

pytest.importorskip("torch", reason="the light install has no worker")

SIZE = Size(640, 360)
RAW_SATURATION = 150  # of the source: above 200; of ink and of the cards: far below


def source_picture(index: int) -> Pixels:
    """Moving bars of pure red, green and blue."""
    columns = (np.arange(SIZE.width) + 6 * index) // 40 % 3
    row = np.eye(3, dtype=np.uint8)[columns] * 255
    return np.ascontiguousarray(np.broadcast_to(row, (SIZE.height, SIZE.width, 3)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "bars.mp4"
    with Recording(path, SIZE, Fraction(30)) as recording:
        for index in range(90):
            recording.write(source_picture(index), Fraction(index, 30))
    return path


def saturation(pixels_HWC: Pixels) -> float:
    return float(np.ptp(pixels_HWC, axis=2).mean())


def pictures(path: Path) -> list[Pixels]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)  # small: a minute at 1280x720 would be 5 GB
        return [frame.to_ndarray(format="rgb24", width=160, height=90) for frame in frames]


class Product:
    """`brushcast run` as a user starts it, in a home of its own."""

    def __init__(self, tmp_path: Path, source: Path, *options: str) -> None:
        self.output, self.report_file = tmp_path / "out.mp4", tmp_path / "report.json"
        environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
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
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_text()
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and kind in command:
                found.append(int(entry.name))
        return sorted(found)

    def wait_for_children_of(self, kind: str, count: int, patience_s: float = 30) -> list[int]:
        ends = time.monotonic() + patience_s
        while time.monotonic() < ends:
            if len(found := self.children(kind)) >= count:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{len(self.children(kind))} children of {kind}, wanted {count}")


def test_a_run_paints_live_and_ends_with_a_report(tmp_path: Path, source: Path) -> None:
    product = Product(tmp_path, source, "--for", "25")
    code, out, err = product.wait()
    assert code == 0, err
    assert "http://127.0.0.1:" in out
    report = product.report()
    assert report["frames_styled"] > 12, "a few chunks at least, however busy the machine"
    assert report["frames_out"] > 24 * 30 * 0.5
    assert report["engine"] == "pocket"
    assert {"p50", "p95", "p99"} <= set(report["capture_to_sink_ms"])
    seen = pictures(product.output)
    assert len(seen) > 200
    assert max(map(saturation, seen)) < RAW_SATURATION, "a raw picture reached the sink"
    assert not np.array_equal(seen[-1], seen[0]), "the card only"


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
def test_the_picture_goes_on_when_the_worker_is_shot(tmp_path: Path, source: Path) -> None:
    product = Product(tmp_path, source)
    for _ in range(2):
        product.wait_for_children_of("brushcast_worker", 2)  # the worker and its warm spare
        time.sleep(7)
        os.kill(product.children("brushcast_worker")[0], signal.SIGKILL)
        time.sleep(1)
    time.sleep(12)
    product.process.send_signal(signal.SIGINT)
    code, _, err = product.wait()
    assert code == 0, err
    report = product.report()
    assert report["worker_restarts"] == 2
    assert len(report["restyled_after_ms"]) == 2, "painted again after each"
    assert max(report["restyled_after_ms"]) < 15_000
    # The sink never waits for a worker. How near it comes to the promised 100 ms depends on the
    # machine and is measured: docs/BENCHMARKS.md.
    assert report["output_gap_ms"]["max"] < 1000
    assert report["output_gap_ms"]["p99"] < 200
    assert max(map(saturation, pictures(product.output))) < RAW_SATURATION


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
@pytest.mark.parametrize("victim", ["bridge-process", "camera-process"])
def test_any_other_child_may_die_too(tmp_path: Path, source: Path, victim: str) -> None:
    product = Product(tmp_path, source, "--for", "26")
    (pid,) = product.wait_for_children_of(victim, 1)
    time.sleep(6)
    os.kill(pid, signal.SIGKILL)
    code, _, err = product.wait()
    assert code == 0, err
    files = [product.output]
    if victim == "camera-process":
        files.append(product.output.with_name("out-2.mp4"))
    seen = [picture for file in files for picture in pictures(file)]
    assert max(map(saturation, seen)) < RAW_SATURATION
    assert not np.array_equal(seen[-1], seen[0])


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
def test_nothing_outlives_a_supervisor_that_was_shot(tmp_path: Path, source: Path) -> None:
    product = Product(tmp_path, source)
    product.wait_for_children_of("process", 2)
    time.sleep(4)
    orphans = product.children("brushcast")
    assert len(orphans) >= 3
    product.process.kill()
    product.process.communicate()
    ends = time.monotonic() + 10
    while time.monotonic() < ends and any(Path(f"/proc/{pid}").exists() for pid in orphans):
        time.sleep(0.1)
    assert not [pid for pid in orphans if Path(f"/proc/{pid}").exists()]
    assert pictures(product.output), "what was recorded so far is playable"


def test_ctrl_c_ends_the_run_well(tmp_path: Path, source: Path) -> None:
    product = Product(tmp_path, source)
    product.wait_for_children_of("camera-process", 1)
    time.sleep(6)
    product.process.send_signal(signal.SIGINT)
    code, _, err = product.wait(20)
    assert code == 0, err
    assert product.report()["frames_out"] > 60
    assert len(pictures(product.output)) > 60


def test_wrong_input_ends_with_one_line_and_code_2(tmp_path: Path, source: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    for wrong, complaint in ((empty, "zero bytes"), (text, "not a video"), (tmp_path, "folder")):
        code, _, err = Product(tmp_path, wrong, "--for", "5").wait()
        assert code == 2, (wrong, err)
        assert complaint in err
        assert err.strip().count("\n") == 0, err
        assert "Traceback" not in err


def test_a_port_in_use_and_an_unwritable_output_are_named(tmp_path: Path, source: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = Product(tmp_path, source, "--for", "5", "--panel", address).wait()
    assert code == 2, err
    assert "in use" in err
    code, _, err = Product(tmp_path, source, "--sink", "file:/proc/x.mp4", "--for", "5").wait()
    assert code == 2, err
    assert "/proc" in err
    assert "Traceback" not in err
