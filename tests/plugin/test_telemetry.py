"""The telemetry over a real board and playout. The clock is only a number."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from brushcast.bridge_metrics import TABLE
from brushcast.exposition import Point, Spread
from brushcast.health import Verdict
from brushcast.metrics import Histogram
from brushcast.panel.backend import ObsState, PanelState, ProductState
from brushcast.playout import Playout, Styled
from brushcast.sink_thread import GAP_BOUNDS_MS, LATENCY_BOUNDS_MS
from brushcast.source import SourceStatus
from brushcast.telemetry import Telemetry
from brushcast.wire.link import LOCAL_TIMES, ClientLink, Lost, StatusReceived
from brushcast.wire.messages import Header, Kind, StreamState, WorkerStatus
from tests.plugin.test_board import Scene, welcome

S = 1_000_000_000
TICK = S // 30


def camera(*gaps_ms: float, seconds: float = 10.0) -> dict[str, Any]:
    """What the camera process says."""
    gap_ms, latency_ms = Histogram(), Histogram()
    for gap in (*[33.0] * 100, *gaps_ms):
        gap_ms.add(gap)
        latency_ms.add(210)
    sink = {
        "id": "camera", "title": "Camera", "kind": "camera", "on": True, "state": "LIVE",
        "message": "", "frames": 101, "dropped": 2,
    }  # fmt: skip
    spreads = {
        "gap_ms": gap_ms.spread(GAP_BOUNDS_MS),
        "capture_to_sink_ms": latency_ms.spread(LATENCY_BOUNDS_MS),
    }
    return {
        "seconds": seconds, "frames_out": round(30 * seconds), "fps": 30.0,
        "gap_ms": dict(gap_ms.summary()), "sinks": [sink], "spreads": {"camera": spreads},
    }  # fmt: skip


def told(status: WorkerStatus, round_trip_ns: int = 1) -> StatusReceived:
    return StatusReceived(revision=1, status=status, round_trip_ns=round_trip_ns)


class Run:
    """A bridge's turns, by hand."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.playout: Playout[Any] = Playout()
        self.telemetry = Telemetry(self.scene.board, self.playout, False, 0)
        self.now_ns, self.seq = 0, 0
        self.scene.board.source_said(SourceStatus(phase="live", title="camera"), 0)
        state = StreamState(
            revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=64, height=64
        )
        self.link = ClientLink(
            state, client="t", version="0", times=LOCAL_TIMES, rng=random.Random(1)
        )

    def ready(self) -> Run:
        self.scene.board.worker_said({"state": "READY", "message": "", "restarts": 1})
        self.scene.board.connected(welcome())
        self.link = type("Link", (), {"ready": True, "connections": 1, "state": None,
                                      "acknowledged_revision": 1})()  # fmt: skip
        return self

    def ticks(self, count: int, *, age_ms: int = 150, paint: bool = True) -> PanelState:
        for _ in range(count):
            self.now_ns += TICK
            self.telemetry.turned(self.now_ns)
            self.scene.board.frame_in(self.now_ns)
            if paint:
                self.seq += 1
                captured_ns = self.now_ns - age_ms * 1_000_000
                header = Header(kind=Kind.RESULT, seq=self.seq, captured_ns=captured_ns)
                pixels_HWC = np.zeros((16, 16, 3), np.uint8)
                self.playout.put(Styled(pixels_HWC, self.seq, captured_ns), self.now_ns)
                self.telemetry.styled(header, self.now_ns, reused=False)
            self.telemetry.shown(self.playout.pick(self.now_ns), self.now_ns)
            state = self.telemetry.panel_state(self.link, self.scene.desk, self.now_ns)
            self.scene.desk.post(state)
        return state

    def values(self) -> dict[str, Any]:
        """name, or name and labels, → value."""
        return {
            f"{point.metric.name}{list(point.labels) or ''}": point.value
            for point in self.telemetry.points()
        }


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.telemetry.stop()


def test_before_the_first_report_there_are_no_figures(run: Run) -> None:
    assert list(run.telemetry.points()) == []
    assert run.telemetry.history(-1)["at_s"] == []


def test_a_live_stream_in_figures(run: Run) -> None:
    status = WorkerStatus(
        step_ms=80, rung="full", cache_hits=3, gpu_share=0.75, gpu_used_bytes=4, gpu_total_bytes=16,
        batch_share=0.9, cache_share=0.97, queue_frames=2, refused_frames=5, memory_bytes=7,
    )  # fmt: skip
    run.ready().telemetry.status(told(status, 4_000_000), 0)
    run.scene.board.camera_said(camera())
    run.scene.board.obs_said(
        ObsState(connected=True, fps=60.0, render_ms=4.0, skipped_share=0.01), {}
    )
    run.scene.board.dropped("paced")
    state = run.ticks(60)
    assert state.state is ProductState.LIVE
    values = run.values()
    assert values["brushcast_state['LIVE']"] == 1
    assert values["brushcast_frames_in_total"] == 60
    assert values["brushcast_frames_styled_total"] == 60
    assert values["brushcast_frames_dropped_total['paced']"] == 1
    assert values["brushcast_frames_dropped_total['late']"] == run.playout.counts.late
    assert values["brushcast_step_seconds"] == 0.08
    assert values["brushcast_frame_seconds"] == 0.02
    assert values["brushcast_gpu_use_ratio"] == 0.75
    assert values["brushcast_gpu_memory_used_bytes"] == 4
    assert values["brushcast_batch_efficiency_ratio"] == 0.9
    assert values["brushcast_cache_hit_ratio"] == 0.97
    assert values["brushcast_link_round_trip_seconds"] == 0.004
    assert values["brushcast_worker_restarts_total"] == 1
    assert values["brushcast_obs_render_seconds"] == 0.004
    assert values["brushcast_rung['full']"] == 1
    assert values["brushcast_rung_seconds_total['full']"] == pytest.approx(2, abs=0.01)
    assert 1.5 < values["brushcast_state_seconds_total['LIVE']"] <= 2
    assert values["brushcast_first_frame_seconds"] == pytest.approx(1 / 30, abs=0.001)
    latency = values["brushcast_latency_seconds['camera']"]
    assert isinstance(latency, Spread)
    assert dict(latency.up_to)[0.2] == 0
    assert (dict(latency.up_to)[0.25], latency.count) == (100, 100)
    assert values["brushcast_output_gap_max_seconds"] == pytest.approx(0.033, rel=0.02)


def test_every_point_is_of_the_table_and_every_row_has_a_name_of_its_own(run: Run) -> None:
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names) > 50
    run.ready().ticks(5)
    points: list[Point] = list(run.telemetry.points())
    assert {point.metric.name for point in points} <= set(names)
    assert len({(point.metric.name, point.labels) for point in points}) == len(points)


def test_what_is_unknown_is_not_told(run: Run) -> None:
    run.ready().ticks(3)
    names = {point.metric.name for point in run.telemetry.points()}
    assert not names & {
        "brushcast_gpu_use_ratio", "brushcast_gpu_memory_used_bytes", "brushcast_step_seconds",
        "brushcast_cache_hit_ratio", "brushcast_obs_render_seconds", "brushcast_frames_out_total",
        "brushcast_link_round_trip_seconds",
    }  # fmt: skip


def test_the_answer_to_a_set_is_no_round_trip(run: Run) -> None:
    run.ready().telemetry.status(told(WorkerStatus(), 7_000_000), 0)
    run.telemetry.status(told(WorkerStatus(), 0), 0)
    run.ticks(1)
    assert run.values()["brushcast_link_round_trip_seconds"] == 0.007


def test_the_pictures_are_looked_at(run: Run) -> None:
    run.telemetry.start()
    run.ready()
    ends_s = time.monotonic() + 30
    while "brushcast_consistency_ssim_ratio['yes']" not in (values := run.values()):
        assert time.monotonic() < ends_s, sorted(values)
        run.ticks(10)
        time.sleep(0.01)  # the looking thread's turn
    assert values["brushcast_consistency_ssim_ratio['yes']"] == pytest.approx(1, abs=0.01)
    assert values["brushcast_picture_samples_total"] >= 1


def test_a_second_is_a_sample(run: Run) -> None:
    run.ready().scene.board.camera_said(camera(seconds=10))
    run.ticks(32)
    run.scene.board.camera_said(camera(seconds=11))
    run.scene.board.dropped("paced")
    run.ticks(30)
    table = run.telemetry.history(-1)
    assert table["at_s"] == [1, 2]
    assert table["state"] == ["LIVE", "LIVE"]
    assert table["latency_ms"][1] == pytest.approx(154, abs=35)
    assert table["fps_out"][1] == pytest.approx(30)
    assert table["dropped"][1] == 1
    assert table["gpu_share"] == [None, None]
    assert run.telemetry.history(1)["at_s"] == [2]


def test_nothing_shown_has_no_latency(run: Run) -> None:
    run.ready().ticks(40)
    run.ticks(95, paint=False)
    table = run.telemetry.history(-1)
    assert table["latency_ms"][-1] is None
    assert table["state"][-1] != "LIVE"


def test_alerts_reach_the_state_and_the_log_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="brushcast.telemetry")
    run.ready().scene.board.camera_said(camera())
    assert run.ticks(10).alerts == ()
    run.scene.board.camera_said(camera(180.0))
    state = run.ticks(60)
    assert [(alert.name, alert.level, alert.since_s) for alert in state.alerts] == [
        ("gap", "warning", 0)
    ]
    assert "100 ms" in state.alerts[0].message
    assert run.values()["brushcast_alert['gap']"] == 1
    assert run.values()["brushcast_alert['latency']"] == 0
    state = run.ticks(30 * 31)
    assert state.alerts == ()
    said = [(record.levelname, record.message.partition(":")[0]) for record in caplog.records]
    assert said == [("WARNING", "gap"), ("INFO", "gap")]


def test_late_pictures_are_an_alert_by_the_limit_of_this_worker(run: Run) -> None:
    status = WorkerStatus(step_ms=80, rung="full")
    run.ready().telemetry.status(told(status), 0)
    state = run.ticks(30, age_ms=350)  # 250 and the engine's own 180
    assert state.alerts == ()
    state = run.ticks(70, age_ms=1600)  # too old to be called live: held as they come on
    assert run.telemetry.history(-1)["latency_ms"][-1] > 1000
    assert [alert.name for alert in state.alerts] == ["latency"]


def test_health_is_that_of_the_turns_and_the_results(run: Run) -> None:
    health = run.telemetry.health
    run.ready().ticks(3, paint=False)
    assert health.ready(run.now_ns) == Verdict(False, "starting")
    run.ticks(30)
    assert health.ready(run.now_ns) == Verdict(True, "ready")
    run.ticks(70, paint=False)
    assert not health.ready(run.now_ns).good
    assert health.live(run.now_ns).good
    assert health.live(run.now_ns + 3 * S) == Verdict(False, "stuck")


def test_a_lost_worker_is_told(run: Run) -> None:
    run.ready().ticks(30)
    run.scene.board.lost(Lost("silent", (7, 8), was_ready=True), run.now_ns)
    run.scene.board.worker_said({"state": "BACKOFF", "message": "died", "restarts": 2})
    state = run.ticks(90, paint=False)
    assert "worker" in [alert.name for alert in state.alerts]
    values = run.values()
    assert values["brushcast_reconnects_total"] == 1
    assert values["brushcast_worker_restarts_total"] == 2
    assert values["brushcast_frames_dropped_total['lost_with_worker']"] == 2
    assert values["brushcast_worker_state['reconnecting']"] == 1
