"""The supervisor's decisions, with children that are only notebooks."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import brushcast.supervisor as module
from brushcast.config import RunConfig
from brushcast.errors import ChildError, ConfigError, InputError
from brushcast.run_file import read_run_file
from brushcast.supervisor import Supervisor
from tests.plugin.paper_run import PaperChild, Run


@pytest.fixture(autouse=True)
def paper_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Child", PaperChild)


@pytest.fixture(autouse=True)
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder, empty."""
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "meeting"))
    return tmp_path / "meeting"


def test_a_local_run_starts_three_children_and_tells_the_bridge_where_the_worker_is(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    assert sorted(child.name for child in PaperChild.made) == ["bridge", "camera", "worker"]
    run.worker_is_up()
    last = run.child("bridge").heard[-1]
    assert (last["state"], last["endpoint"]) == ("READY", "tcp://127.0.0.1:7000")
    assert "Worker: pocket on a CPU" in run.told


def test_a_remote_worker_is_not_started_here(tmp_path: Path) -> None:
    Run(tmp_path, worker="tcp://10.0.0.2:7000")
    assert sorted(child.name for child in PaperChild.made) == ["bridge", "camera"]


def test_a_worker_gives_way_once_it_paints_and_later_ones_from_the_start(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = run.child("worker")
    assert first.niceness == 0
    run.event(first, "listening", endpoint="tcp://127.0.0.1:7")
    run.event(first, "ready", engine="pocket")
    assert first.niceness == module.WORKER_NICENESS
    run.dies("worker")
    run.supervisor._start_worker()
    assert run.child("worker").niceness == module.WORKER_NICENESS


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "still loading"])
def test_a_spare_takes_the_place_of_a_dead_worker_at_the_same_address(
    tmp_path: Path, warm: bool
) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    run.later()
    spare = run.child("spare")
    if warm:
        run.event(spare, "standby")
    run.dies("worker")
    assert run.child("bridge").states()[-1] == "BACKOFF"
    run.later()
    assert run.supervisor._children["worker"] is spare
    assert run.child("worker").heard[-1] == {"command": "serve", "endpoint": "tcp://127.0.0.1:7000"}


def test_without_a_spare_a_new_worker_takes_the_same_address(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    run.dies("worker")
    run.later()
    arguments = PaperChild.made[-1].arguments
    assert arguments[arguments.index("--bind") + 1] == "tcp://127.0.0.1:7000"


def test_a_worker_that_never_paints_is_given_up_and_a_person_can_retry(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(5):
        run.worker_is_up()
        run.dies("worker")
        run.supervisor._due.pop("spare", None)
        run.later()
    bridge = run.child("bridge")
    assert bridge.states()[-1] == "FAILED"
    assert bridge.heard[-1]["message"] == "boom"
    starts = len(PaperChild.made)
    run.later()
    assert len(PaperChild.made) == starts, "nothing is started until a person asks"
    run.event(bridge, "retry")
    run.later()
    assert len(PaperChild.made) == starts + 1


def test_twenty_crashes_in_a_row_are_five_starts(tmp_path: Path) -> None:
    """Each comes up and dies without a picture; so does each spare that takes over."""
    run = Run(tmp_path)
    for _ in range(20):
        if run.supervisor._children["worker"].alive:
            run.worker_is_up()
            run.later()  # the spare
            run.dies("worker")
        run.later()
        run.event(run.child("bridge"), "stats", live=False)
    served = [c for c in PaperChild.made if c.name == "worker"]
    assert len(served) == 5
    assert len([c for c in PaperChild.made if c.name == "spare"]) <= 1, "warm, for Retry"
    assert run.child("bridge").states().count("FAILED") == 1


def test_a_spare_that_takes_over_after_a_retry_is_no_failed_worker(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(5):
        run.worker_is_up()
        run.dies("worker")
        run.supervisor._due.pop("spare", None)
        run.later()
    run.supervisor._start_worker(spare=True)
    bridge = run.child("bridge")
    run.event(bridge, "retry")
    run.later()
    assert bridge.states()[-2:] == ["FAILED", "STARTING"]
    run.worker_is_up()
    assert bridge.states()[-2:] == ["LOADING", "READY"]


def test_a_spare_does_not_load_beside_a_worker_that_starts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    assert "spare" in run.supervisor._due
    run.dies("worker")
    run.later()
    run.later()
    assert not any("--standby" in child.arguments for child in PaperChild.made)
    run.worker_is_up()
    run.later()
    assert sum("--standby" in child.arguments for child in PaperChild.made) == 1


@pytest.mark.parametrize("warm", [False, True])
def test_given_up_no_spare_is_loaded_and_a_warm_one_is_kept(tmp_path: Path, warm: bool) -> None:
    run = Run(tmp_path)
    for _ in range(4):
        run.worker_is_up()
        run.dies("worker")
        run.supervisor._due.pop("spare", None)
        run.later()
    run.supervisor._start_worker(spare=True)
    if warm:
        run.event(run.child("spare"), "standby")
    run.dies("worker")
    assert run.child("spare").killed is not warm
    if not warm:
        run.dies("spare")
    run.later()
    assert "spare" not in run.supervisor._due


def test_a_retry_does_not_wait_for_the_back_off(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(4):
        run.worker_is_up()
        run.dies("worker")
        run.supervisor._due.pop("spare", None)
    run.event(run.child("bridge"), "retry")
    assert run.supervisor._due["worker"] <= time.monotonic()


def test_a_spare_that_cannot_load_ends_no_run_and_is_given_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    for started in range(1, 9):
        run.later()
        spares = [child for child in PaperChild.made if child.name == "spare"]
        assert len(spares) == min(started, 5)
        if started <= 5:
            run.event(spares[-1], "error", message="no memory for a second one")
            run.dies("spare")
    assert run.supervisor._failure is None
    assert run.child("bridge").states()[-1] == "READY"


def silent_for(run: Run, seconds: float) -> None:
    """The supervisor's own turns, with nothing heard."""
    for turn in range(round(seconds * 4)):
        run.supervisor._watch(round((run.now_s + turn / 4) * 1e9))
    run.now_s += seconds


@pytest.mark.parametrize("name", ["bridge", "camera"])
def test_a_child_that_lives_and_does_nothing_is_shot(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    silent_for(run, 30)
    assert not run.child(name).killed, "it may still be opening a camera"
    for second in range(20):
        for speaker in ("bridge", "camera"):
            run.event(run.child(speaker), "stats", live=True, frames_out=30 * second)
        silent_for(run, 1)
    other = "bridge" if name == "camera" else "camera"
    for second in range(20, 40):
        run.event(run.child(other), "stats", live=True, frames_out=30 * second)
        if name == "camera":  # its reports have a thread of their own: the count stands still
            run.event(run.child(name), "stats", frames_out=570)
        silent_for(run, 1)
    assert run.child(name).killed
    assert not run.child(other).killed


def test_a_worker_that_never_comes_up_is_shot(tmp_path: Path) -> None:
    run = Run(tmp_path)
    silent_for(run, module.LOAD_PATIENCE_S - 1)
    assert not run.child("worker").killed
    silent_for(run, 3)
    assert run.child("worker").killed
    wan = Run(tmp_path, engine="wan-1.3b")
    silent_for(wan, module.LOAD_PATIENCE_S + 30)
    assert not wan.child("worker").killed, "tens of gigabytes take longer"


def test_a_worker_that_is_up_has_no_limit_here(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    run.later()
    run.event(run.child("spare"), "standby")
    silent_for(run, 2 * module.LOAD_PATIENCE_S)
    assert not run.child("worker").killed
    assert not run.child("spare").killed


def test_a_hung_worker_is_shot(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.worker_is_up()
    run.event(run.child("bridge"), "stuck", reason="no progress for 700 ms")
    assert run.child("worker").killed


def test_bridge_and_camera_are_started_again_with_what_they_need(tmp_path: Path) -> None:
    run = Run(tmp_path, sinks=("file:o.mp4",))
    run.worker_is_up()
    for name in ("bridge", "camera"):
        run.dies(name)
        run.later()
    assert run.child("camera").first_line["restarted"] is True, "the recording is not overwritten"
    assert run.child("bridge").first_line["endpoint"] == "tcp://127.0.0.1:7000"


def test_a_dead_camera_process_is_replaced_by_one_that_waits(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.later()
    assert len(PaperChild.made) == 3, "not beside a worker that starts"
    run.worker_is_up()
    run.later()
    waiting = run.child("next camera")
    assert not waiting.heard, "it has not been told anything"
    first = run.child("camera")
    run.event(waiting, "exited", code=1, last_words="")
    assert run.child("camera") is first, "the end of one that waits is none of the picture"
    run.supervisor._policies["camera"].died()
    run.dies("camera")
    run.supervisor._start_what_is_due()
    assert run.supervisor._children["camera"] is waiting, "at once, though it is not the first time"
    assert run.child("camera").first_line["restarted"]
    assert run.supervisor._patience.left_s("camera") == module.SILENCE_S, "it has nothing to load"
    run.later()
    waiting = run.child("next camera")
    waiting.alive = False
    run.dies("camera")
    run.later()
    cold = run.supervisor._children["camera"]
    assert cold is not waiting, "a dead one is left alone"
    assert cold.first_line["restarted"]
    run.later()
    run.supervisor._stop()
    assert run.child("next camera").killed


def test_a_sink_that_was_switched_off_stays_off_for_the_next_camera_process(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, sinks=("null", "camera"))
    for sink, on in (("camera", False), ("null", False), ("null", True)):
        run.event(run.child("bridge"), "sink", id=sink, on=on)
    run.dies("camera")
    run.later()
    assert run.child("camera").first_line["off"] == ["camera"]


def test_what_cannot_work_at_the_start_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.event(run.child("camera"), "error", message="sink x: wanted y")
    assert isinstance(run.supervisor._failure, InputError)
    assert str(run.supervisor._failure) == "sink x: wanted y"


@pytest.mark.parametrize("name", ["worker", "bridge", "camera"])
def test_what_has_worked_and_fails_later_is_started_again(tmp_path: Path, name: str) -> None:
    """The first worker too: its model may be damaged after an hour."""
    run = Run(tmp_path)
    run.worker_is_up()
    run.event(run.child("bridge"), "stats", live=True)
    run.event(run.child("camera"), "stats", frames_out=1)
    run.event(run.child(name), "error", message="no usable picture any more")
    assert run.supervisor._failure is None
    starts = len(PaperChild.made)
    run.dies(name)
    run.later()
    assert run.supervisor._failure is None
    assert len(PaperChild.made) > starts


def test_a_camera_process_that_keeps_failing_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(5):
        run.dies("camera")
        run.later()
    assert isinstance(run.supervisor._failure, ChildError)


def test_a_switch_on_the_panel_reaches_the_camera_process(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.event(run.child("bridge"), "sink", id="null", on=False)
    assert run.child("camera").heard[-1] == {"command": "sink", "id": "null", "on": False}


def test_the_run_ends_in_time_with_a_report(tmp_path: Path) -> None:
    PaperChild.made = []
    supervisor = Supervisor(RunConfig(seconds=0.2), user_presets=tmp_path, tell=lambda line: None)
    before = time.monotonic()
    report = supervisor.run()
    assert time.monotonic() - before < 30
    assert report["frames_out"] == 0
    assert not any(child.alive for child in PaperChild.made)
    assert not supervisor._ring.path.exists(), "nothing stays in shared memory"


def test_the_attention_that_the_worker_chose_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    worker = run.child("worker")
    run.event(worker, "listening", endpoint="tcp://127.0.0.1:7000")
    run.event(
        worker, "ready", engine="wan-1.3b", device="cuda:0", device_name="X",
        attention="cudnn 0.30 ms, math 9.00 ms",
    )  # fmt: skip
    assert "Worker: wan-1.3b on X; attention: cudnn 0.30 ms, math 9.00 ms" in run.told


PANEL = "http://127.0.0.1:5555/?token=secret"


def test_the_obs_script_can_find_the_panel(tmp_path: Path, meeting: Path) -> None:
    run = Run(tmp_path, panel_token="secret")
    run.event(run.child("bridge"), "panel", url=PANEL)
    found = read_run_file(meeting)
    assert found is not None
    assert (found.url, found.token) == ("http://127.0.0.1:5555", "secret")
    assert (found.pid, found.source) == (os.getpid(), "auto")
    run.dies("bridge")
    run.later()
    run.event(run.child("bridge"), "panel", url=PANEL.replace("5555", "6666"))
    moved = read_run_file(meeting)
    assert moved is not None
    assert moved.url == "http://127.0.0.1:6666", "a bridge that was restarted has another port"


@pytest.mark.parametrize("options", [{"source": "obs"}, {"sinks": ("null", "obs")}, {}])
def test_the_end_leaves_nothing_where_the_obs_script_looks(
    tmp_path: Path, meeting: Path, options: dict[str, Any]
) -> None:
    supervisor = Supervisor(RunConfig(**options), user_presets=tmp_path, tell=lambda line: None)
    supervisor._meeting.announce(PANEL)
    (meeting / "obs-in").touch()
    (meeting / "obs-out").touch()
    supervisor.stop()
    supervisor.run()
    left = [] if options else ["obs-in", "obs-out"]  # of a run that has nothing to do with OBS
    assert sorted(path.name for path in meeting.iterdir()) == left


def test_a_runtime_folder_that_cannot_be_ends_a_run_with_obs_alone(
    tmp_path: Path, meeting: Path
) -> None:
    meeting.write_text("in the way")
    run = Run(tmp_path)
    run.event(run.child("bridge"), "panel", url=PANEL)
    assert run.supervisor._failure is None
    with_obs = Supervisor(RunConfig(source="obs"), user_presets=tmp_path, tell=lambda line: None)
    with pytest.raises(ConfigError, match="runtime folder .*meeting"):
        with_obs.run()


def test_a_badge_that_was_switched_off_stays_off_for_children_that_start_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = Run(tmp_path, badge_corner="bottom-right")
    assert run.child("camera").first_line["badge"] == "bottom-right"
    assert "badge" in caplog.text
    caplog.clear()
    run.event(run.child("bridge"), "badge", on=False)
    assert run.child("camera").heard[-1] == {"command": "badge", "badge": None}
    assert "switched off" in caplog.text
    for name in ("bridge", "camera"):
        run.dies(name)
        run.later()
    assert run.child("camera").first_line["badge"] is None
    assert run.child("bridge").first_line["badge"] is False
    run.event(run.child("bridge"), "badge", on=True)
    assert run.child("camera").heard[-1] == {"command": "badge", "badge": "bottom-right"}


def test_files_are_told_what_makes_their_pictures(tmp_path: Path) -> None:
    origins = [
        Run(tmp_path, preset="ink", worker=worker).child("camera").first_line["origin"]
        for worker in ("local", "tcp://10.0.0.2:7000")
    ]
    assert origins == [
        {"engine": "pocket", "look": "ink at the start"},
        {"engine": "remote", "look": "ink at the start"},
    ]
