"""What a process asks of the system is optional and never fails."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from brushcast import process


def in_thread(what: object) -> None:
    """So that the test's own thread keeps its priority."""
    assert callable(what)
    thread = threading.Thread(target=what)
    thread.start()
    thread.join()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="priorities of threads")
def test_priority_is_raised_for_one_thread_and_can_be_lowered_a_little() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)  # whoever runs the tests may have been preferred
    seen: list[int] = []

    policies: list[int] = []

    def work() -> None:
        if process.raise_priority():
            seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        process.step_back()
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        policies.append(os.sched_getscheduler(0))

    in_thread(work)
    assert policies == [os.SCHED_OTHER], "an encoder in real time would stop everything else"
    assert seen in ([process.NICENESS, process.ENCODER_NICENESS], [usual])
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual, "of that thread alone"


def test_a_refusal_is_only_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    assert process.raise_priority() is False
    process.step_back()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")
def test_a_session_gets_its_place_among_the_others() -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert process.weigh_session(sleeper.pid, 7)
        assert "nice 7" in Path(f"/proc/{sleeper.pid}/autogroup").read_text()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert process.weigh_session(sleeper.pid, 7) is False, "it is gone: only an answer"


def test_memory_and_pauses_can_be_asked_for_twice() -> None:
    before = sys.getswitchinterval()
    assert process.keep_freed_memory() == process.keep_freed_memory()
    process.avoid_pauses()
    process.avoid_pauses()
    sys.setswitchinterval(before)
    gc.unfreeze()


def test_stolen_time_never_falls() -> None:
    before = process.stolen_s()
    assert 0 <= before <= process.stolen_s()
