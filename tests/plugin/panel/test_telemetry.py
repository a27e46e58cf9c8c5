"""/metrics, /livez, /readyz and the charts' data over a real socket."""

from __future__ import annotations

import time

import pytest

from brushcast.exposition import CONTENT_TYPE
from brushcast.panel.access import new_token
from brushcast.panel.server import PanelServer
from tests.plugin.panel.conftest import Panel
from tests.plugin.panel.fake_backend import FakeBackend


def test_figures_are_for_whoever_has_the_token(panel: Panel) -> None:
    answer = panel.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    assert answer.headers["cache-control"] == "no-store"
    assert b"brushcast_frames_in_total 5402.0\n" in answer.body
    panel.telemetry.frames_in = 5403
    assert b"brushcast_frames_in_total 5403.0\n" in panel.ask("GET", "/metrics").body
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        refused = panel.ask("GET", "/metrics", headers=headers)
        assert refused.status == 401
        assert b"brushcast_" not in refused.body
    assert panel.ask("GET", "/metrics", without=("Authorization",)).status == 401
    assert (
        panel.ask("GET", f"/metrics?token={panel.token}", without=("Authorization",)).status == 401
    )


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/api/v1/history"])
def test_other_names_and_pages_get_nothing(panel: Panel, path: str) -> None:
    assert panel.ask("GET", path, headers={"Host": "evil.example"}).status == 403
    if path not in ("/livez", "/readyz"):
        origin = {"Origin": "http://evil.example"}
        assert panel.ask("GET", path, headers=origin).status == 403


def test_health_wants_no_token_and_says_one_word(panel: Panel) -> None:
    health = panel.telemetry.health
    health.turned(time.monotonic_ns())
    answer = panel.ask("GET", "/livez", without=("Authorization",))
    assert (answer.status, answer.body) == (200, b"live\n")
    health.explain("reconnecting")
    answer = panel.ask("GET", "/readyz", without=("Authorization",))
    assert (answer.status, answer.body) == (503, b"reconnecting\n")
    health.frame_done(time.monotonic_ns())
    answer = panel.ask("GET", "/readyz", without=("Authorization",))
    assert (answer.status, answer.body) == (200, b"ready\n")
    assert answer.headers["cache-control"] == "no-store"
    health.turned(time.monotonic_ns() - 3_000_000_000)
    for path in ("/livez", "/readyz"):
        assert panel.ask("GET", path).body == b"stuck\n"


def test_the_history_is_what_is_newer(panel: Panel) -> None:
    everything = panel.ask("GET", "/api/v1/history").json
    assert len(everything["at_s"]) == 600
    assert panel.ask("GET", "/api/v1/history?after=598").json["at_s"] == [599, 600]
    assert panel.ask("GET", "/api/v1/history?after=600").json["at_s"] == []
    assert panel.ask("GET", "/api/v1/history", without=("Authorization",)).status == 401


@pytest.mark.parametrize("after", ["x", "1.5", "", "1e3", "9" * 40, "--1", "%D9%A3"])
def test_what_is_no_second_is_refused_with_a_sentence(panel: Panel, after: str) -> None:
    answer = panel.ask("GET", f"/api/v1/history?after={after}")
    assert answer.status == 400
    assert "wanted a second" in answer.json["error"]


def test_nothing_can_be_changed_there(panel: Panel) -> None:
    for path in ("/metrics", "/livez", "/readyz", "/api/v1/history"):
        assert panel.ask("POST", path, {}).status == 405


def test_a_panel_without_telemetry_has_none_of_it() -> None:
    token = new_token()
    server = PanelServer(FakeBackend(), token=token)
    server.start()
    bare = Panel(backend=FakeBackend(), server=server, token=token)
    try:
        assert [bare.ask("GET", path).status for path in ("/metrics", "/livez")] == [404, 404]
    finally:
        server.stop()
