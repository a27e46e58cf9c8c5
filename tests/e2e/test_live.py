"""The whole product, live, with the embedded model: card first, then painted, whatever dies.

What a leaked raw picture looks like: `tests.faults.watermark`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.product import LEAK_MOST, Product, pictures, write_source
from tests.e2e.shooting import shoot
from tests.faults.watermark import leak

pytest.importorskip("torch", reason="the light install has no worker")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "bars.mp4"
    write_source(path)
    return path


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
    assert max(map(leak, seen)) < LEAK_MOST, "a raw picture reached the sink"
    assert not np.array_equal(seen[-1], seen[0]), "the card only"


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
def test_the_picture_goes_on_when_the_worker_is_shot(tmp_path: Path, source: Path) -> None:
    verdict = shoot(Product(tmp_path, source), times=2, every_s=8)
    assert verdict.worker_restarts == 2
    assert len(verdict.restyled_after_ms) == 2, "painted again after each"
    assert max(verdict.restyled_after_ms) < 15_000
    # The sink never waits for a worker. How near it comes to the promised 100 ms depends on the
    # machine and is measured: docs/BENCHMARKS.md.
    assert verdict.gap_ms["max"] < 1000
    assert verdict.gap_ms["p99"] < 200
    assert verdict.pictures > 200
    assert verdict.raw_pictures == 0


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
    assert max(map(leak, seen)) < LEAK_MOST
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
