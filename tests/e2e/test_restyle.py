"""`brushcast restyle` on real files: every picture of them, in order, with the sound."""

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

SIZE = Size(320, 240)


def make_clip(path: Path, count: int) -> None:
    """A picture that gets brighter from frame to frame, so that the order can be read back."""
    with Recording(path, SIZE, Fraction(25)) as recording:
        for index in range(count):
            level = 40 + 160 * index // max(count, 2)
            pixels = np.full((SIZE.height, SIZE.width, 3), level, np.uint8)
            pixels[60:180, 100:220] = (200, 60, 40)
            recording.write(pixels, Fraction(index, 25))


def restyle(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    command = [sys.executable, "-m", "brushcast", "restyle", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def pictures(path: Path) -> list[Pixels]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("count", [1, 3, 4, 22])
def test_every_frame_comes_out_in_order(tmp_path: Path, count: int) -> None:
    make_clip(tmp_path / "in.mp4", count)
    out, report_file = tmp_path / "out.mp4", tmp_path / "r.json"
    done = restyle(
        str(tmp_path / "in.mp4"), str(out), "--preset", "ink", "--report", str(report_file),
        home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = pictures(out)
    assert len(seen) == count
    assert seen[0].shape == (SIZE.height, SIZE.width, 3)
    report: dict[str, Any] = json.loads(report_file.read_text())
    assert report["complete"]
    assert (report["frames_in"], report["frames_out"]) == (count, count)
    assert report["dropped"] == {}


@pytest.mark.parametrize("engine", ["wan-small-random", "wan-small-tiny-random"])
@pytest.mark.parametrize("steps", [1, 4])
def test_no_frame_stays_in_a_deep_stream_batch(tmp_path: Path, engine: str, steps: int) -> None:
    """Four steps hold three chunks back, and a tiny autoencoder three pictures more."""
    make_clip(tmp_path / "in.mp4", 22)
    done = restyle(
        str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4"), "--engine", engine,
        "--steps", str(steps), "--size", "96x64", "--json", home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["frames_in"], report["frames_out"]) == (22, 22)
    assert len(pictures(tmp_path / "out.mp4")) == 22


def test_the_same_seed_gives_the_same_file_and_the_asked_size(tmp_path: Path) -> None:
    make_clip(tmp_path / "in.mp4", 6)
    outs = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for out in outs:
        done = restyle(
            str(tmp_path / "in.mp4"), str(out), "--seed", "3", "--size", "256x192", home=tmp_path
        )
        assert done.returncode == 0, done.stderr
    first, second = (pictures(out) for out in outs)
    assert first[0].shape == (192, 256, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_ctrl_c_leaves_a_playable_file(tmp_path: Path) -> None:
    make_clip(tmp_path / "in.mp4", 2400)
    out = tmp_path / "out.mp4"
    process = subprocess.Popen(
        [sys.executable, "-m", "brushcast", "restyle", str(tmp_path / "in.mp4"), str(out)],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ends = time.monotonic() + 40
    while time.monotonic() < ends and not (out.exists() and out.stat().st_size > 20_000):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=20)
    assert process.returncode == 130, complaint
    assert "playable" in said
    assert 1 <= len(pictures(out)) < 2400


def test_a_worker_that_dies_in_the_middle_loses_no_frame(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("finds the worker in /proc")
    make_clip(tmp_path / "in.mp4", 150)
    out = tmp_path / "out.mp4"
    process = subprocess.Popen(
        [sys.executable, "-m", "brushcast", "restyle", str(tmp_path / "in.mp4"), str(out)],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ends = time.monotonic() + 40
    while time.monotonic() < ends and not (out.exists() and out.stat().st_size > 5_000):
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    _, complaint = process.communicate(timeout=90)
    assert process.returncode == 0, complaint
    assert len(pictures(out)) == 150


def test_an_unknown_wording_is_painted_and_said(tmp_path: Path) -> None:
    make_clip(tmp_path / "in.mp4", 4)
    clip, target = str(tmp_path / "in.mp4"), tmp_path / "o.mp4"
    done = restyle(clip, str(target), "--prompt", "qwertz asdf", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'qwertz asdf' names no look that is known; the nearest is " in done.stderr
    assert len(pictures(target)) == 4


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    make_clip(tmp_path / "in.mp4", 4)
    clip = str(tmp_path / "in.mp4")
    (tmp_path / "empty.mp4").touch()
    wrong = [
        ([str(tmp_path / "absent.mp4"), "o.mp4"], "absent.mp4"),
        ([str(tmp_path / "empty.mp4"), str(tmp_path / "o.mp4")], "zero bytes"),
        ([clip, clip], "the input itself"),
        ([clip, str(tmp_path / "o.xyz")], ".xyz"),
        ([clip, "/absent/o.mp4"], "/absent"),
        ([clip, str(tmp_path / "o.mp4"), "--size", "511x288"], "511"),
        ([clip, str(tmp_path / "o.mp4"), "--prompt", ""], "prompt"),
    ]
    for arguments, complaint in wrong:
        done = restyle(*arguments, home=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert done.stdout == ""
        assert complaint in done.stderr
        assert done.stderr.strip().count("\n") == 0, done.stderr
    assert not (tmp_path / "o.mp4").exists()
