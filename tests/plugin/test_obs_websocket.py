"""The thread against a server of the test's own, over a real socket, at a twentieth of its pace."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ConfigError
from brushcast.obs_settings import ObsServer
from brushcast.obs_websocket import NOT_INSTALLED, NOT_THERE, OFF, ObsThread
from tests.plugin.fake_obs import FakeObs
from tests.plugin.panel.fake_backend import fake_state

pytest.importorskip("obsws_python", reason="obsws-python is not installed")

PACE = 0.05


class Clock:
    """Runs as much faster as the pauses are shorter."""

    def __call__(self) -> int:
        return int(time.monotonic_ns() / PACE)


class Stage:
    """A thread that runs, the server that it is to find, and where it is said to be."""

    def __init__(self, record: Path) -> None:
        self.obs = FakeObs()
        self.record = record
        self.found: ObsServer | None | Exception = self.obs.server
        self.searches = 0
        self._threads: list[ObsThread] = []

    def find(self) -> ObsServer | None:
        self.searches += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def start(self, *, audio_input: str = "", **options: Any) -> ObsThread:
        thread = ObsThread(
            audio_input=audio_input, record=str(self.record), find=self.find, pace=PACE,
            **{"clock_ns": Clock(), **options},
        )  # fmt: skip
        thread.post(fake_state())
        thread.start()
        self._threads.append(thread)
        return thread

    def close(self) -> None:
        for thread in self._threads:
            thread.stop()
        self.obs.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "obs-audio.json")
    yield stage
    stage.close()


def wait_for(what: Callable[[], object], seconds: float = 10.0) -> bool:
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(0.005)
    return True


def is_running() -> bool:
    return any(thread.name == "obs-websocket" for thread in threading.enumerate())


def test_it_finds_obs_and_tells_how_it_fares(stage: Stage) -> None:
    thread = stage.start()
    assert wait_for(lambda: thread.state.render_ms)
    state = thread.state
    assert (state.connected, state.version, state.render_ms) == (True, "29.0.2", 4.0)
    assert not state.pressure
    assert wait_for(lambda: thread.report.get("readings", 0) >= 2)
    assert thread.report["version"] == "29.0.2"
    assert stage.obs.events[0]["state"] == "LIVE"


def test_a_slow_obs_is_pressure_and_a_calm_one_is_none_after_ten_seconds(stage: Stage) -> None:
    thread = stage.start()
    assert wait_for(lambda: thread.state.connected)
    assert not thread.pressure
    stage.obs.stats["averageFrameRenderTime"] = 60
    assert wait_for(lambda: thread.pressure)
    assert thread.state.pressure
    stage.obs.stats["averageFrameRenderTime"] = 5
    assert wait_for(lambda: not thread.pressure)


def test_it_ends_with_the_bridge_and_says_so(stage: Stage) -> None:
    thread = stage.start()
    assert wait_for(lambda: stage.obs.events)
    thread.stop()
    assert not is_running()
    assert stage.obs.events[-1]["state"] == "STOPPED"


def test_an_obs_that_goes_is_found_again(stage: Stage) -> None:
    thread = stage.start(audio_input="Mic/Aux")
    assert wait_for(lambda: stage.obs.offsets_ms["Mic/Aux"] == 184)
    stage.obs.close()
    assert wait_for(lambda: thread.state.message == NOT_THERE)
    assert not thread.state.connected
    assert stage.record.exists()
    stage.obs.offsets_ms["Mic/Aux"] = 0  # it ended before it saved
    stage.obs.open()
    assert wait_for(lambda: thread.state.connected)
    thread.post(fake_state())
    assert wait_for(lambda: stage.obs.offsets_ms["Mic/Aux"] == 184)
    thread.stop()
    assert stage.obs.offsets_ms == {"Mic/Aux": 0}, "given back, though OBS was away in between"
    assert not stage.record.exists()


def test_a_run_that_ended_without_obs_gives_back_at_the_next_start(stage: Stage) -> None:
    thread = stage.start(audio_input="Mic/Aux")
    assert wait_for(lambda: stage.obs.offsets_ms["Mic/Aux"] == 184)
    stage.obs.close()
    thread.stop()
    assert stage.obs.offsets_ms == {"Mic/Aux": 184}
    stage.obs.open()
    stage.start()
    assert wait_for(lambda: stage.obs.offsets_ms == {"Mic/Aux": 0})
    assert wait_for(lambda: not stage.record.exists())


def test_a_wrong_password_is_said_once_and_tried_once_a_minute(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "brushcast")
    now_s = [1000]
    stage.found = ObsServer(stage.obs.port, "wrong")
    thread = stage.start(clock_ns=lambda: now_s[0] * 10**9)
    assert wait_for(lambda: stage.searches >= 4)
    assert stage.obs.refused == 1
    assert "refuses the password" in thread.state.message
    now_s[0] += 61
    assert wait_for(lambda: stage.obs.refused == 2)
    searches = stage.searches
    assert wait_for(lambda: stage.searches > searches + 1)
    said = [record for record in caplog.records if record.name.startswith("brushcast")]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "wrong" not in caplog.text
    assert stage.obs.refused == 2
    stage.found = stage.obs.server
    assert wait_for(lambda: thread.state.connected), "other settings are tried at once"


def test_a_server_that_is_off_is_looked_for_again_in_silence(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.found = None
    thread = stage.start()
    assert wait_for(lambda: stage.searches >= 3)
    assert thread.state.message == OFF
    assert not caplog.records
    stage.found = stage.obs.server
    assert wait_for(lambda: thread.state.connected)


def test_settings_that_are_none_are_said_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.found = ConfigError("OBS's settings: server port 0, wanted 1 to 65535")
    thread = stage.start()
    assert wait_for(lambda: stage.searches >= 3)
    assert thread.state.message == "OBS's settings: server port 0, wanted 1 to 65535"
    assert len(caplog.records) == 1


def test_without_obsws_python_nothing_happens_and_the_thread_is_gone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def connect(server: ObsServer) -> Any:
        raise ImportError("No module named 'obsws_python'")

    thread = stage.start(connect=connect)
    assert wait_for(lambda: not is_running())
    assert thread.state.message == NOT_INSTALLED
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert stage.searches == 1


def test_what_nobody_thought_of_does_not_end_the_thread(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.found = ZeroDivisionError("surprise")
    thread = stage.start()
    assert wait_for(lambda: "unexpected" in thread.state.message)
    assert "ZeroDivisionError" in caplog.text
    stage.found = stage.obs.server
    assert wait_for(lambda: thread.state.connected)


def test_an_obs_that_talks_nonsense_is_tried_ever_more_rarely(stage: Stage) -> None:
    stage.obs.stats["averageFrameRenderTime"] = "fast"
    thread = stage.start()
    begun = time.monotonic()
    assert wait_for(lambda: stage.searches >= 5)
    # 1 + 2 + 4 + 8 seconds of pauses between five attempts.
    assert time.monotonic() - begun >= 15 * PACE
    assert not thread.pressure


def test_an_obs_that_is_silent_does_not_hold_up_the_end(stage: Stage) -> None:
    thread = stage.start()
    assert wait_for(lambda: thread.state.connected)
    stage.obs.answers = lambda name, data: None
    thread.stop()
    assert wait_for(lambda: not is_running())


def test_the_camera_is_switched_from_the_bridges_thread(stage: Stage) -> None:
    thread = stage.start()
    thread.switch_camera(True)
    assert wait_for(lambda: thread.state.connected)
    assert not stage.obs.camera, "a wish from before the connection would be a surprise"
    thread.switch_camera(True)
    assert wait_for(lambda: stage.obs.camera)
    thread.switch_camera(False)
    assert wait_for(lambda: not stage.obs.camera)


def test_without_a_record_obs_is_left_alone() -> None:
    thread = ObsThread(audio_input="", record="")
    thread.start()
    assert not is_running()
    assert not thread.state.connected
    thread.stop()
