"""The charts, the alerts and OBS's line in a real Chromium. Screenshots land in pytest's tmp."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brushcast.panel.backend import AlertState, ObsState
from tests.plugin.panel.fake_backend import FakeBackend, fake_state
from tests.plugin.panel.fake_telemetry import FakeTelemetry
from tests.system.test_panel_chromium import WIDTHS_PX, Window, browser, pytestmark

__all__ = ["browser", "pytestmark"]
INKED = """id => {
    const canvas = document.getElementById(id);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) inked += data[i] > 100;
    return inked / (canvas.width * canvas.height);
}"""
ALERTS = (
    AlertState(name="latency", level="warning", message="The picture is late: wait.", since_s=400),
    AlertState(name="gpu-idle", level="note", message="<b>The GPU</b> is hardly used.", since_s=9),
)


@pytest.fixture
def window(browser: Any, tmp_path: Path) -> Iterator[Window]:  # noqa: F811 (pytest's way)
    window = Window(browser, FakeBackend(), tmp_path)
    yield window
    window.close()


def charts(window: Window) -> Any:
    page = window.open()
    page.locator("#history").scroll_into_view_if_needed()
    window.seen("Number(document.querySelector('#history').dataset.samples) >= 590")
    return page


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_charts_are_drawn_and_fit(window: Window, width_px: int) -> None:
    window.backend.state = dataclasses.replace(
        fake_state(),
        alerts=ALERTS,
        obs=ObsState(connected=True, version="31.0.3", fps=60.0, render_ms=3.1, pressure=True),
    )
    window.page.set_viewport_size({"width": width_px, "height": WIDTHS_PX[width_px]})
    page = charts(window)
    for name in ("latency", "rate", "gpu", "drops", "state", "rungs"):
        assert page.evaluate(f"({INKED})('chart-{name}')") > 0.005, name
    assert page.inner_text("#now-latency").endswith(" ms")
    assert "memory 41 %" in page.inner_text("#now-gpu")
    assert page.inner_text("#now-state") == "Live"
    assert page.inner_text("#now-rungs") == "full quality"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    outputs = "[...document.querySelectorAll('.chart output')]"
    assert page.evaluate(f"{outputs}.every(e => e.scrollWidth <= e.clientWidth)")
    assert "drawing 3.1 ms" in page.inner_text("#obs")
    assert "gives way" in page.inner_text("#obs")
    window.picture(f"charts-{width_px}")
    assert window.problems == []


def test_the_pointer_reads_the_past(window: Window) -> None:
    window.page.set_viewport_size({"width": 1280, "height": 900})
    page = charts(window)
    box = page.locator("#chart-state").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 303 / 600, box["y"] + 6)
    window.seen("document.querySelector('#now-state').textContent === 'Reconnecting'")
    assert page.inner_text("#now-latency") == "–"
    assert page.inner_text("#history-when") in ("4:56 min ago", "4:57 min ago", "4:58 min ago")
    page.mouse.move(box["x"] + box["width"] * 470 / 600, box["y"] + 6)
    window.seen("document.querySelector('#now-rungs').textContent === 'fewer steps'")
    window.picture("pointed")
    page.mouse.move(5, 5)
    window.seen("document.querySelector('#history-when').textContent === ''")


def test_new_seconds_come_by_themselves_and_a_new_bridge_begins_anew(window: Window) -> None:
    page = charts(window)
    page.evaluate("window.before = document.querySelector('#now-latency').textContent")
    telemetry = window.server._telemetry
    assert isinstance(telemetry, FakeTelemetry)
    for _ in range(11):
        telemetry.pass_second()
    window.seen("document.querySelector('#now-latency').textContent !== window.before")
    window.server.stop()
    page.wait_for_selector("body.offline")
    window.restart()
    page.wait_for_selector("body:not(.offline)")
    fresh = window.server._telemetry
    assert isinstance(fresh, FakeTelemetry)
    fresh._history, fresh._second = type(fresh._history)(), 0
    window.server.stop()
    page.wait_for_selector("body.offline")
    window.restart()
    telemetry = window.server._telemetry
    assert isinstance(telemetry, FakeTelemetry)
    telemetry._history, telemetry._second = type(telemetry._history)(), 0
    for _ in range(3):
        telemetry.pass_second()
    page.wait_for_selector("body:not(.offline)")
    page.locator("#history").scroll_into_view_if_needed()
    window.seen("document.querySelector('#history').dataset.samples === '3'")
    assert page.inner_text("#now-state") == "Starting"


def test_alerts_are_text_and_go_again(window: Window) -> None:
    page = window.open()
    assert page.is_hidden("#alerts")
    window.backend.state = dataclasses.replace(fake_state(), alerts=ALERTS)
    page.wait_for_selector("#alerts:visible")
    assert page.locator("#alerts li").all_inner_texts() == [alert.message for alert in ALERTS]
    assert page.locator("#alerts li.note").count() == 1
    window.backend.state = fake_state()
    page.wait_for_selector("#alerts", state="hidden")


def test_without_obs_its_line_says_why(window: Window) -> None:
    window.backend.state = dataclasses.replace(fake_state(), obs=ObsState(message="OBS is off"))
    page = window.open()
    window.seen("document.querySelector('#obs').textContent === 'OBS is off'")
    assert page.inner_text("#obs") == "OBS is off"


def test_the_delays_parts_are_told_when_the_worker_is_elsewhere(window: Window) -> None:
    page = window.open()
    assert page.is_hidden("#way-row")
    worker = dataclasses.replace(
        fake_state().worker,
        delay_ms=456.4, network_ms=209.4, worker_ms=167.6, playout_ms=75.3, codec="h264",
    )  # fmt: skip
    window.backend.state = dataclasses.replace(fake_state(), worker=worker)
    page.wait_for_selector("#way-row", state="visible")
    assert page.inner_text("#way") == "network 209 ms · worker 168 ms · even pace 75 ms · H.264"
    page.locator("#way-row").scroll_into_view_if_needed()
    page.screenshot(path=window.pictures / "way.png")
