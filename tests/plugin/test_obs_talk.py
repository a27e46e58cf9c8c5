"""What is said on a connection, turn by turn. Neither a socket nor a clock."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ObsError, ObsRequestError
from brushcast.obs_client import Answer
from brushcast.obs_pressure import PressureGauge, Tally
from brushcast.obs_sound import SoundKeeper, SoundRecord
from brushcast.obs_talk import ObsTalk
from brushcast.panel.backend import AlertState, ObsState, PanelState, ProductState
from tests.plugin.fake_obs import FakeObs
from tests.plugin.panel.fake_backend import fake_state

NS_PER_S = 1_000_000_000


class Answers(FakeObs):
    """The fake's answers, without its server."""

    def open(self) -> None:
        pass

    def ask(self, request: str, data: Answer | None = None) -> dict[str, Any]:
        """As ObsClient."""
        given = dict(data or {})
        self.asked.append((request, given))
        found = self.answers(request, given)
        if isinstance(found, tuple):
            raise ObsRequestError(f"OBS refuses {request}: {found[1]}", code=found[0])
        assert isinstance(found, dict)
        return found


class Stage:
    """A talk that has a turn every quarter of a second."""

    def __init__(self, folder: Path, name: str = "") -> None:
        self.obs = Answers()
        self.gauge, self.tally = PressureGauge(), Tally()
        self.sound = SoundKeeper(name, SoundRecord(folder / "obs-audio.json"))
        self.talk = ObsTalk(self.obs, gauge=self.gauge, tally=self.tally, sound=self.sound)
        self.quarters = 0
        self.product: PanelState | None = fake_state()
        self.state = ObsState()

    def run(self, seconds: float = 0.25, camera: bool | None = None) -> ObsState:
        for _ in range(round(4 * seconds)):
            self.state = self.talk.turn(self.now_ns, self.product, camera)
            self.quarters, camera = self.quarters + 1, None
        return self.state

    @property
    def now_ns(self) -> int:
        return self.quarters * NS_PER_S // 4


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_it_tells_how_obs_fares_once_a_second(stage: Stage) -> None:
    state = stage.run(10)
    assert state == ObsState(connected=True, version="29.0.2", fps=30.0, render_ms=4.0)
    assert stage.obs.count("GetStats") == 10
    assert stage.obs.count("GetVideoSettings") == 1
    stage.run(10)
    assert stage.obs.count("GetVideoSettings") == 2, "the canvas may be changed"
    assert stage.tally.report()["readings"] == 20


def test_a_slow_obs_is_pressure_at_its_own_rate(stage: Stage) -> None:
    stage.obs.stats["averageFrameRenderTime"] = 26
    stage.run(2)
    assert not stage.gauge.pressed(stage.now_ns), "26 of 33 ms"
    stage.obs.answers = lambda name, data: (
        {"fpsNumerator": 60_000, "fpsDenominator": 1001}
        if name == "GetVideoSettings"
        else stage.obs.answer(name, data)
    )
    stage.run(10)
    assert stage.gauge.pressed(stage.now_ns), "26 of 17 ms"


@pytest.mark.parametrize(
    ("request_name", "key", "value"),
    [
        ("GetStats", "activeFps", "30"),
        ("GetStats", "averageFrameRenderTime", 1e300),
        ("GetStats", "averageFrameRenderTime", -1),
        ("GetStats", "renderTotalFrames", 2**70),
        ("GetStats", "renderSkippedFrames", None),
        ("GetStats", "outputTotalFrames", True),
        ("GetStats", "outputSkippedFrames", float("nan")),
        ("GetVideoSettings", "fpsNumerator", 0),
        ("GetVideoSettings", "fpsDenominator", 1e400),
    ],
)
def test_figures_that_are_none_end_the_connection(
    stage: Stage, request_name: str, key: str, value: Any
) -> None:
    def answers(name: str, data: dict[str, Any]) -> Any:
        found = stage.obs.answer(name, data)
        return {**found, key: value} if name == request_name else found  # type: ignore[dict-item]

    stage.obs.answers = answers
    with pytest.raises(ObsError, match=key):
        stage.run()
    assert not stage.gauge.pressed(0)


def test_a_version_that_is_none_is_empty(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.obs.answers = lambda name, data: {"obsVersion": ["\x1b"]}
    talk = ObsTalk(stage.obs, gauge=stage.gauge, tally=stage.tally, sound=stage.sound)
    assert talk._version == ""


def test_what_the_product_does_is_broadcast_when_it_changes(stage: Stage) -> None:
    stage.run(5)
    live = {
        "source": "brushcast",
        "state": "LIVE",
        "preset": "watercolour",
        "strength": 0.6,
        "paused": False,
        "alerts": [],
    }
    assert stage.obs.events == [live]
    stage.product = dataclasses.replace(fake_state(), state=ProductState.OFF, paused=True)
    stage.run(5)
    assert stage.obs.events == [live, {**live, "state": "OFF", "paused": True}]
    alert = AlertState(name="gap", level="warning", message="The output stood still.", since_s=3)
    stage.product = dataclasses.replace(fake_state(), alerts=(alert,))
    stage.run(5)
    assert stage.obs.events[2:] == [{**live, "alerts": ["gap"]}]
    look = dataclasses.replace(fake_state().look, preset="ink", strength=0.123456)
    stage.product = dataclasses.replace(fake_state(), look=look)
    stage.run(5)
    assert stage.obs.events[3:] == [{**live, "preset": "ink", "strength": 0.123}]
    stage.talk.end()
    assert stage.obs.events[4:] == [{**stage.obs.events[3], "state": "STOPPED"}]


def test_before_the_product_said_anything_nothing_is_broadcast(stage: Stage) -> None:
    stage.product = None
    stage.run(5)
    stage.talk.end()
    assert stage.obs.events == []


def test_an_event_that_obs_refuses_is_not_repeated(stage: Stage) -> None:
    stage.obs.answers = lambda name, data: (
        (204, "no such request") if name == "BroadcastCustomEvent" else stage.obs.answer(name, data)
    )
    assert stage.run(5).connected
    assert stage.obs.count("BroadcastCustomEvent") == 1


def test_the_camera_of_obs_is_switched_and_looked_after(stage: Stage) -> None:
    assert stage.run(2, camera=True).message == ""
    assert stage.obs.camera
    assert stage.obs.count("GetVirtualCamStatus") == 1
    assert stage.run(2, camera=True).message == "", "it runs already"
    assert stage.run(2, camera=False).message == ""
    assert not stage.obs.camera


def test_a_camera_that_does_not_start_is_told(stage: Stage) -> None:
    stage.obs.camera_works = False
    stage.run(2, camera=True)
    assert "did not start" in stage.state.message
    stage.obs.answers = lambda name, data: (
        (604, "VirtualCam is not available.")
        if name == "StartVirtualCam"
        else stage.obs.answer(name, data)
    )
    stage.run(2, camera=True)
    assert stage.state.message == "OBS refuses StartVirtualCam: VirtualCam is not available."
    stage.run(2, camera=False)
    assert stage.state.message == "", "another wish, another answer"
    stage.run(2, camera=True)
    assert stage.run(50).message != ""
    assert stage.run(10).message == "", "by now everybody has read it"


def test_the_sound_follows_the_delay_and_is_given_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Mic/Aux")
    assert stage.run(10).message == ""
    assert stage.obs.offsets_ms == {"Mic/Aux": 184}, "worker.delay_ms of the state"
    stage.talk.end()
    assert stage.obs.offsets_ms == {"Mic/Aux": 0}


def test_an_input_that_is_not_there_is_said_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path, "Mike")
    assert stage.run(1).message == "--obs-audio 'Mike': OBS has no input of this name"
    assert not caplog.records, "an OBS that ends has no inputs for a moment"
    stage.run(10)
    assert len(caplog.records) == 1
    stage.talk.end()


def test_a_record_that_cannot_be_written_costs_the_sound_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "file", "Mic/Aux")
    (tmp_path / "file").write_text("")
    state = stage.run(6)
    assert state.connected
    assert "cannot be written" in state.message
    assert stage.obs.offsets_ms == {"Mic/Aux": 0}
