"""The whole product between OBS's two rings, as the OBS script starts it, with the embedded
model."""

import json
import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from brushcast.frame import Pixels, Size
from tests.e2e.obs_rig import FakeObs, ObsRun
from tests.e2e.product import LEAK_MOST

pytest.importorskip("torch", reason="the light install has no worker")

S = 1_000_000_000


@pytest.fixture
def obs(tmp_path: Path) -> Iterator[FakeObs]:
    fake = FakeObs(tmp_path / "run")
    yield fake
    fake.close()


@pytest.fixture
def run(tmp_path: Path, obs: FakeObs) -> Iterator[ObsRun]:
    started = ObsRun(tmp_path, obs.folder)
    yield started
    started.kill()


def differs(one: Pixels, other: Pixels) -> bool:
    return bool(abs(one.astype(int) - other.astype(int)).mean() > 5)


def test_the_picture_goes_through_obs_and_nothing_is_left(run: ObsRun, obs: FakeObs) -> None:
    run.until(lambda: run.found() is not None and len(obs.seen) > 0)
    card = obs.seen[0].y_HW
    time.sleep(1.5)
    state = run.state()  # OBS is not there yet: the run waits, and says so
    assert state["source"]["state"] == "opening"
    assert "Tools > Scripts" in state["source"]["message"]
    assert not any(differs(card, seen.y_HW) for seen in obs.seen)

    obs.plays(Size(640, 360))
    run.until(lambda: run.state()["state"] == "LIVE")
    run.until(lambda: differs(card, obs.seen[-1].y_HW))
    styled = run.state()["source"]
    assert (styled["state"], styled["size"], styled["message"]) == ("live", "640x360", "")

    obs.plays(None)
    run.until(lambda: run.state()["source"]["state"] == "failed")
    assert "OBS sends no picture" in run.state()["source"]["message"]
    run.until(lambda: not differs(card, obs.seen[-1].y_HW) or run.state()["state"] != "LIVE")
    obs.plays(Size(480, 270))  # another source, in a new ring
    run.until(lambda: run.state()["state"] == "LIVE")
    assert run.state()["source"]["size"] == "480x270"

    code, _, err = run.hang_up()
    assert code == 0, err
    assert max(seen.leak for seen in obs.seen) < LEAK_MOST, "a raw picture reached OBS"
    assert json.loads(run.report_file.read_text())["frames_styled"] > 10
    assert os.listdir(run.folder) == []
    gaps_s = [(b.written_ns - a.written_ns) / S for a, b in pairwise(obs.seen)]
    assert max(gaps_s) < 1, "OBS would have shown its own card"
    assert np.ptp([seen.y_HW.mean() for seen in obs.seen]) > 5


@pytest.mark.skipif(os.name != "posix", reason="shoots a child")
def test_a_shot_camera_process_leaks_nothing_and_a_second_run_is_refused(
    tmp_path: Path, run: ObsRun, obs: FakeObs
) -> None:
    obs.plays(Size(640, 360))
    run.until(lambda: run.found() is not None and len(obs.seen) > 5)
    second = ObsRun(tmp_path, obs.folder)
    code, _, err = second.ended()
    assert code == 2, err
    assert "another run of Brushcast shows its picture in OBS already" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert run.process.poll() is None
    run.until(lambda: (found := run.found()) is not None and found.pid == run.process.pid)

    count = len(obs.seen)
    run.until(lambda: len(obs.seen) > count + 5)
    os.kill(run.child("camera-process"), signal.SIGKILL)
    count = len(obs.seen)
    run.until(lambda: len(obs.seen) > count + 20)
    os.kill(run.child("camera-process"), signal.SIGKILL)
    code, _, err = run.hang_up()
    assert code == 0, err
    assert os.listdir(run.folder) == []
    assert max(seen.leak for seen in obs.seen) < LEAK_MOST
