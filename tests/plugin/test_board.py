"""The board: what people and reports are told. The clock is only a number."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from brushcast.board import Board
from brushcast.config import BridgeConfig
from brushcast.desk import Desk
from brushcast.frame import Size
from brushcast.panel.backend import (
    ObsState,
    PanelState,
    Pause,
    PortState,
    ProductState,
    WorkerPhase,
)
from brushcast.playout import Playout, Styled
from brushcast.presets import load_presets
from brushcast.source import SourceStatus
from brushcast.wire.link import LOCAL_TIMES, ClientLink, Lost
from brushcast.wire.messages import Header, Kind, StreamState, Welcome, WorkerStatus

SECOND_NS = 1_000_000_000


def welcome() -> Welcome:
    return Welcome(
        worker="w", version="1", engine="pocket", device="cpu", device_name="a CPU",
        chunk_frames=4, credit_frames=8, revision=1,
    )  # fmt: skip


class Scene:
    """A board with everything that feeds it."""

    def __init__(self, *, remote: bool = False) -> None:
        presets = load_presets()
        config = BridgeConfig(
            source="testcard", preset="ink", endpoint="", remote=remote, ring="", panel=None,
            panel_token="", output_size=Size(1280, 720), model_size=Size(512, 288), rate_fps=30,
            fit="crop", steps=0, user_presets="", fixed_size=False,
        )  # fmt: skip
        self.desk = Desk(presets, presets["ink"])
        self.board = Board(config, presets, 0)
        self.playout: Playout[Any] = Playout()
        state = StreamState(
            revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=512, height=288
        )
        self.link = ClientLink(
            state, client="t", version="0", times=LOCAL_TIMES, rng=random.Random(1)
        )

    def panel(self, now_ns: int = SECOND_NS) -> PanelState:
        state = self.board.panel_state(self.link, self.desk, now_ns)
        self.desk.post(state)
        return state

    def paint(self, now_ns: int) -> None:
        header = Header(kind=Kind.RESULT, seq=1, captured_ns=now_ns - SECOND_NS // 4)
        self.board.styled(header, now_ns, reused=False)
        picture = Styled(np.zeros((2, 2, 3)), now_ns, now_ns - SECOND_NS // 4)
        self.playout.put(picture, now_ns)
        for tick in range(4):
            shown = self.playout.pick(now_ns + tick * SECOND_NS // 30)
            self.board.shown(shown, self.playout)


def test_it_starts_with_the_card_and_says_so() -> None:
    state = Scene().panel()
    assert state.state is ProductState.STARTING
    assert state.worker.state is WorkerPhase.STARTING
    assert not state.privacy.raw_shown


def test_what_obs_tells_reaches_the_panel_and_the_report() -> None:
    scene = Scene()
    assert not scene.panel().obs.connected
    assert scene.board.statistics()["obs"] is None
    obs = ObsState(connected=True, version="29.0.2", render_ms=4.0)
    scene.board.obs_said(obs, {"readings": 3})
    assert scene.panel().obs == obs
    assert scene.board.statistics()["obs"] == {"readings": 3}


def test_live_pictures_make_it_live() -> None:
    scene = Scene()
    scene.board.connected(welcome())
    scene.paint(SECOND_NS)
    state = scene.panel(2 * SECOND_NS)
    assert state.state is ProductState.LIVE
    assert (state.worker.engine, state.worker.device_name) == ("pocket", "a CPU")
    assert state.worker.delay_ms is not None
    assert scene.board.statistics()["first_frame_ms"] == 1000.0


def test_a_worker_that_keeps_failing_is_named_with_its_cause() -> None:
    scene = Scene()
    scene.board.worker_said({"state": "FAILED", "message": "weights are missing"})
    state = scene.panel()
    assert state.state is ProductState.FAILED
    assert "weights are missing" in state.message
    assert state.advice


def test_a_pause_is_off_whatever_else_happens() -> None:
    scene = Scene()
    scene.panel()
    scene.desk.request(Pause(on=True))
    assert scene.panel().state is ProductState.OFF


def test_a_loss_is_counted_and_the_way_back_is_measured() -> None:
    scene = Scene()
    scene.board.connected(welcome())
    scene.paint(SECOND_NS)
    scene.board.lost(Lost("silent", (7, 8), was_ready=True), 2 * SECOND_NS)
    scene.board.lost(Lost("no answer", (), was_ready=False), 2 * SECOND_NS)
    scene.paint(4 * SECOND_NS)
    figures = scene.board.statistics()
    assert figures["reconnects"] == 1
    assert figures["dropped"] == {"lost_with_worker": 2}
    assert figures["restyled_after_ms"] == [2000]


def test_each_change_of_the_rung_is_kept_with_its_time() -> None:
    scene = Scene()
    for second, rung in enumerate(["full", "full", "smaller", "full"]):
        scene.board.status(WorkerStatus(rung=rung), second * SECOND_NS)
    rungs = scene.board.statistics()["rungs"]
    assert [(r["at_s"], r["rung"]) for r in rungs] == [(0, "full"), (2, "smaller"), (3, "full")]
    assert scene.panel().worker.rung_name == ""


@pytest.mark.parametrize("phase", ["opening", "live", "failed"])
def test_the_source_is_shown_as_it_is(phase: Any) -> None:
    scene = Scene()
    message = "unplugged" if phase == "failed" else ""
    scene.board.source_said(SourceStatus(phase=phase, title="Cam", message=message), overtaken=3)
    source = scene.panel().source
    assert (source.state, source.message) == (PortState(phase), message)
    assert scene.board.statistics()["dropped"] == {"overtaken": 3}


def test_the_sinks_are_what_the_camera_process_says() -> None:
    scene = Scene()
    sink = {"id": "null", "title": "Null", "kind": "null", "on": True, "state": "LIVE", "frames": 9}
    scene.board.camera_said({"sinks": [sink], "fps": 30.0, "gap_ms": {"max": 41.0}})
    state = scene.panel()
    assert (state.sinks[0].frames, state.sinks[0].state) == (9, PortState.LIVE)
    assert (state.output.fps, state.output.gap_max_ms) == (30.0, 41.0)


def test_a_prompt_that_the_worker_does_not_know_is_told() -> None:
    scene = Scene()
    scene.board.faulted("prompt 'zzz': no known word")
    assert "zzz" in scene.panel().look.message
    scene.board.look_changed(2)
    assert scene.panel().look.message == ""


def test_the_panel_is_told_of_presets_that_came_later() -> None:
    scene = Scene()
    assert "mine" not in [card.name for card in scene.panel().presets]
    presets = load_presets()
    scene.board.presets_changed({"mine": dataclasses.replace(presets["ink"], name="mine")})
    assert [card.name for card in scene.panel().presets] == ["mine"]


def test_what_a_source_waits_for_is_the_panels_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientLink, "ready", True)
    scene = Scene()
    waiting = SourceStatus(phase="opening", title="OBS", message="Start it in OBS.")
    scene.board.source_said(waiting, 0)
    state = scene.panel()
    assert (state.state, state.advice) == (ProductState.STARTING, "Start it in OBS.")
    assert (state.source.state, state.source.message) == (PortState.OPENING, "Start it in OBS.")


def test_the_parts_of_the_delay_are_said_while_it_is_live() -> None:
    scene = Scene(remote=True)
    figures = {"network_ms": 200.0, "worker_ms": 90.0, "playout_ms": 30.0, "codec": "h264"}
    scene.board.link_said(figures)
    assert scene.panel().worker.network_ms is None, "nothing is shown yet"
    scene.board.connected(welcome())
    scene.paint(SECOND_NS)
    worker = scene.panel().worker
    assert (worker.network_ms, worker.worker_ms, worker.playout_ms) == (200.0, 90.0, 30.0)
    assert worker.codec == "h264"
    assert scene.board.statistics()["link"] == figures


def stream(scene: Scene, begin_ns: int, seconds: float, *, painted: bool) -> int:
    """A source at 30 a second, judged all the time; when it ends."""
    now_ns = begin_ns
    for _ in range(round(30 * seconds)):
        now_ns += SECOND_NS // 30
        scene.board.frame_in(now_ns)
        if painted:
            scene.board.styled(Header(kind=Kind.RESULT, seq=1), now_ns, reused=False)
        scene.board.judge(now_ns, paused=scene.desk.paused)
    return now_ns


def test_a_worker_that_serves_is_called_what_its_pictures_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ClientLink, "ready", True)
    scene = Scene()
    ready = {"state": "READY", "message": ""}
    scene.board.worker_said(ready)
    now_ns = stream(scene, SECOND_NS, 3, painted=True)
    assert scene.panel(now_ns).worker.state is WorkerPhase.READY
    scene.board.status(WorkerStatus(rung="small picture"), now_ns)
    now_ns = stream(scene, now_ns, 1, painted=True)
    assert scene.panel(now_ns).worker.state is WorkerPhase.DEGRADED
    now_ns = stream(scene, now_ns, 2.5, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.STALLED
    scene.board.worker_said(ready)  # told again, of another matter
    assert scene.panel(now_ns).worker.state is WorkerPhase.STALLED
    assert scene.board.process_ready, "the watchdog still has it in view"
    scene.board.worker_said({"state": "BACKOFF", "message": "it died"})
    now_ns = stream(scene, now_ns, 3, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.RECONNECTING
    scene.board.worker_said(ready)
    assert scene.panel(now_ns).worker.state is WorkerPhase.READY


def test_a_pause_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientLink, "ready", True)
    scene = Scene()
    scene.board.worker_said({"state": "READY", "message": ""})
    now_ns = stream(scene, SECOND_NS, 3, painted=True)
    scene.panel(now_ns)
    scene.desk.request(Pause(on=True))
    now_ns = stream(scene, now_ns, 5, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.READY
    scene.desk.request(Pause(on=False))
    now_ns = stream(scene, now_ns, 1, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.READY, "one second is not two"
    now_ns = stream(scene, now_ns, 1.5, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.STALLED


def test_going_back_is_told_beside_the_look_until_it_changes() -> None:
    scene = Scene()
    scene.board.went_back(dataclasses.replace(scene.link.stream_state, revision=3), "it died")
    assert scene.panel().look.message == "it died"
    assert scene.board.statistics()["model_size"] == "512x288"
    scene.board.look_changed(4)
    assert scene.panel().look.message == ""


def test_a_spare_that_takes_over_between_two_looks_is_not_blamed_for_the_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ClientLink, "ready", True)
    scene = Scene()
    scene.board.worker_said({"state": "READY", "message": ""})
    now_ns = stream(scene, SECOND_NS, 3, painted=True)
    now_ns = stream(scene, now_ns, 2.5, painted=False)
    for state in ("BACKOFF", "STARTING", "LOADING", "READY"):
        scene.board.worker_said({"state": state, "message": ""})
    now_ns = stream(scene, now_ns, 1, painted=False)
    assert scene.panel(now_ns).worker.state is WorkerPhase.READY
