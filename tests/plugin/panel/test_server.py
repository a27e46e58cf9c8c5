from __future__ import annotations

import dataclasses
import socket
import threading

import pytest

from brushcast.errors import ConfigError
from brushcast.panel.api import MAX_BODY_BYTES
from brushcast.panel.backend import ChangeLook, PanelState, Pause, RetryWorker, SwitchSink
from brushcast.panel.server import PanelServer
from tests.plugin.panel.conftest import Panel
from tests.plugin.panel.fake_backend import FakeBackend, fake_state

API = [
    ("GET", "/api/v1/state", None),
    ("GET", "/api/v1/preview/after.jpg", None),
    ("GET", "/api/v1/preview/before.jpg", None),
    ("GET", "/api/v1/events", None),
    ("POST", "/api/v1/look", {"preset": "ink"}),
    ("POST", "/api/v1/sinks/camera", {"on": False}),
    ("POST", "/api/v1/control", {"action": "pause"}),
]
CHANGES = API[4:]


def test_the_state_is_told(panel: Panel) -> None:
    answer = panel.ask("GET", "/api/v1/state")
    assert answer.status == 200
    assert answer.json["state"] == "LIVE"
    assert answer.json["privacy"] == {"raw_shown": False}
    assert answer.headers["cache-control"] == "no-store"


def test_a_change_reaches_the_backend_and_comes_back(panel: Panel) -> None:
    answer = panel.ask("POST", "/api/v1/look", {"preset": "ink", "strength": 0.25})
    assert answer.status == 200
    assert answer.json["look"]["preset"] == "ink"
    assert answer.json["look"]["strength"] == 0.25
    assert panel.ask("POST", "/api/v1/sinks/file", {"on": True}).json["sinks"][1]["on"] is True
    assert panel.ask("POST", "/api/v1/control", {"action": "pause"}).json["paused"] is True
    assert panel.ask("POST", "/api/v1/control", {"action": "resume"}).json["paused"] is False
    assert panel.ask("POST", "/api/v1/control", {"action": "retry"}).status == 200
    assert panel.backend.changes == [
        ChangeLook(preset="ink", strength=0.25),
        SwitchSink(id="file", on=True),
        Pause(on=True),
        Pause(on=False),
        RetryWorker(),
    ]


def test_what_the_backend_refuses_is_a_sentence(panel: Panel) -> None:
    answer = panel.ask("POST", "/api/v1/look", {"preset": "nope"})
    assert answer.status == 422
    assert answer.json["kind"] == "PresetError"
    assert "unknown preset 'nope'" in answer.json["error"]
    answer = panel.ask("POST", "/api/v1/sinks/nope", {"on": True})
    assert (answer.status, answer.json["kind"]) == (422, "SinkError")


def test_pictures_are_given_one_by_one(panel: Panel) -> None:
    for side in ("before", "after"):
        answer = panel.ask("GET", f"/api/v1/preview/{side}.jpg")
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"
        assert int(answer.headers["x-brushcast-counter"]) > 0
        assert answer.body.startswith(b"\xff\xd8")
    assert panel.backend.watcher_counts == [1, 0, 1, 0]


def test_no_picture_yet_is_said(panel: Panel) -> None:
    panel.backend.no_picture = True
    answer = panel.ask("GET", "/api/v1/preview/after.jpg")
    assert answer.status == 503
    assert "no picture yet" in answer.json["error"]


@pytest.mark.parametrize(("method", "path", "body"), API)
@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", "Basic TOKEN", "TOKEN"])
def test_nothing_without_the_token(
    panel: Panel, method: str, path: str, body: object, given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given.replace("TOKEN", panel.token)}
    without = ("Authorization",) if given is None else ()
    answer = panel.ask(method, path, body, headers=headers, without=without)
    assert answer.status == 401
    assert not panel.backend.changes


def test_the_token_does_not_count_in_an_address(panel: Panel) -> None:
    path = f"/api/v1/state?token={panel.token}"
    assert panel.ask("GET", path, without=("Authorization",)).status == 401


HOSTS = ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost:PORT.evil.example", "0.0.0.0:PORT"]


@pytest.mark.parametrize(("method", "path", "body"), [*API, ("GET", "/", None)])
@pytest.mark.parametrize("host", HOSTS)
def test_nothing_under_another_name(
    panel: Panel, method: str, path: str, body: object, host: str
) -> None:
    host = host.replace("PORT", str(panel.server.port))
    answer = panel.ask(method, path, body, headers={"Host": host})
    assert answer.status == 403
    assert not panel.backend.changes


def test_nothing_without_a_name(panel: Panel) -> None:
    assert panel.ask("GET", "/api/v1/state", without=("Host",)).status in (400, 403)


def test_our_other_name_is_known(panel: Panel) -> None:
    host = f"localhost:{panel.server.port}"
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert panel.ask("POST", "/api/v1/look", {"seed": 3}, headers=headers).status == 200


ORIGINS = ["null", "http://evil.example", "https://127.0.0.1:PORT", "http://localhost:PORT", ""]


@pytest.mark.parametrize(("method", "path", "body"), API)
@pytest.mark.parametrize("origin", ORIGINS)
def test_nothing_for_another_page(
    panel: Panel, method: str, path: str, body: object, origin: str
) -> None:
    headers = {"Origin": origin.replace("PORT", str(panel.server.port))}
    assert panel.ask(method, path, body, headers=headers).status == 403
    assert not panel.backend.changes


@pytest.mark.parametrize(("method", "path", "body"), API)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_nothing_that_another_site_fetches(
    panel: Panel, method: str, path: str, body: object, site: str
) -> None:
    assert panel.ask(method, path, body, headers={"Sec-Fetch-Site": site}).status == 403


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_only_json(panel: Panel, method: str, path: str, body: object, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    without = ("Content-Type",) if kind is None else ()
    answer = panel.ask(method, path, body, headers=headers, without=without)
    assert answer.status == 415
    assert not panel.backend.changes


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_only_small_bodies(panel: Panel, method: str, path: str, body: object) -> None:
    answer = panel.ask(method, path, b" " * (MAX_BODY_BYTES + 1) + b"{}")
    assert answer.status == 413
    assert str(MAX_BODY_BYTES) in answer.json["error"]
    assert not panel.backend.changes


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 20_000, b'{"preset":"ink","x":1}'])
def test_only_objects_of_known_keys(panel: Panel, body: bytes) -> None:
    assert panel.ask("POST", "/api/v1/look", body).status == 422
    assert not panel.backend.changes


def test_a_change_is_never_a_get_and_nothing_is_allowed_across(panel: Panel) -> None:
    assert panel.ask("GET", "/api/v1/look").status == 405
    preflight = panel.ask(
        "OPTIONS", "/api/v1/look", headers={"Access-Control-Request-Method": "POST"}
    )
    assert preflight.status == 405
    for answer in (preflight, panel.ask("GET", "/api/v1/state"), panel.ask("GET", "/")):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/", "/static/panel.js", "/static/none", "/api/v1/state", "/x"])
def test_every_answer_is_closed_to_frames_and_scripts(panel: Panel, path: str) -> None:
    for headers in ({}, {"Host": "evil.example"}):
        answer = panel.ask("GET", path, headers=headers)
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "evil" not in policy
        assert "aiohttp" not in answer.headers["server"]


def test_the_page_holds_no_token_and_needs_none(panel: Panel) -> None:
    answer = panel.ask("GET", "/", without=("Authorization",))
    assert answer.status == 200
    assert panel.token.encode() not in answer.body
    page = answer.body.decode()
    assert "style=" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/",
        "/static//etc/passwd",
    ],
)
def test_only_the_pages_own_files(panel: Panel, path: str) -> None:
    assert panel.ask("GET", path).status in (403, 404)


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"panel port {port} is in use"):
            PanelServer(FakeBackend(), token="t", port=port).start()


@pytest.mark.parametrize(("host", "port"), [("0.0.0.0", 0), ("127.0.0.1", 65536)])
def test_an_address_that_cannot_be_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="panel"):
        PanelServer(FakeBackend(), token="t", host=host, port=port)


def test_stopping_joins_the_thread_and_frees_the_port() -> None:
    server = PanelServer(FakeBackend(), token="t")
    server.stop()
    server.start()
    port = server.port
    assert server.url == f"http://127.0.0.1:{port}/?token=t"
    server.stop()
    server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "panel"]
    again = PanelServer(FakeBackend(), token="t", port=port)
    again.start()
    again.stop()


def test_a_bridge_that_fails_is_an_answer_and_not_the_end(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeBackend):
        fails = True

        def snapshot(self) -> PanelState:
            if self.fails:
                raise RuntimeError("no state")
            return super().snapshot()

    backend = Broken()
    server = PanelServer(backend, token=panel.token)
    server.start()
    broken = Panel(backend=backend, server=server, token=panel.token)
    assert broken.ask("GET", "/api/v1/state").status == 500
    backend.fails = False
    assert broken.ask("GET", "/api/v1/state").status == 200
    server.stop()
    assert not server.alive
    assert "no state" in caplog.text


def test_the_state_is_never_older_than_the_request(panel: Panel) -> None:
    for number in range(20):
        panel.backend.state = dataclasses.replace(fake_state(), message=f"message {number}")
        assert panel.ask("GET", "/api/v1/state").json["message"] == f"message {number}"


def test_a_client_that_sends_nothing_does_not_hold_up_the_others(panel: Panel) -> None:
    idle = [socket.create_connection(("127.0.0.1", panel.server.port)) for _ in range(40)]
    assert panel.ask("GET", "/api/v1/state").status == 200
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    "given", ["Bearer \xff\xfe", "Bearer \xe4" + "x" * 42, "Bearer " + "x" * 5000]
)
def test_a_token_of_any_bytes_opens_nothing_and_ends_nothing(panel: Panel, given: str) -> None:
    answer = panel.ask("GET", "/api/v1/state", headers={"Authorization": given})
    assert answer.status in (400, 401)
    assert panel.ask("GET", "/api/v1/state").status == 200
