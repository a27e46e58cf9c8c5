"""The connection against a server of the test's own: identified, or one clear error."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import brushcast.obs_client as module
from brushcast.errors import ObsError, ObsPasswordError, ObsRequestError
from brushcast.obs_client import ObsClient, number, plain_text
from brushcast.obs_settings import ObsServer
from tests.plugin.fake_obs import FakeObs

pytest.importorskip("obsws_python", reason="obsws-python is not installed")


@pytest.fixture
def obs() -> Iterator[FakeObs]:
    obs = FakeObs("riddle me")
    yield obs
    obs.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    monkeypatch.setattr(module._LocalSocket.begin_answer, "__defaults__", (0.2,))


def test_with_the_right_password_it_is_asked_and_answers(obs: FakeObs) -> None:
    with ObsClient(obs.server) as client:
        assert client.ask("GetVersion")["obsVersion"] == "29.0.2"
        client.ask("SetInputAudioSyncOffset", {"inputName": "Mic/Aux", "inputAudioSyncOffset": 5})
    assert obs.offsets_ms == {"Mic/Aux": 5}
    assert obs.identified == 1


def test_a_goodbye_is_heard_while_nothing_is_asked(obs: FakeObs) -> None:
    """OBS waits five seconds for clients that ask on instead of answering it."""
    stopping = threading.Event()
    with ObsClient(obs.server) as client:
        client.rest(0.1, stopping)
        leaving = threading.Thread(target=obs.close)
        leaving.start()
        with pytest.raises(ObsError, match="hung up"):
            client.rest(5, stopping)
        leaving.join()
        stopping.set()
        client.rest(60, stopping)


def test_without_authentication_no_password_is_wanted() -> None:
    obs = FakeObs("")
    try:
        with ObsClient(obs.server) as client:
            assert client.ask("GetVersion")
    finally:
        obs.close()


def test_a_wrong_password_and_none_at_all_are_told_apart_from_silence(obs: FakeObs) -> None:
    with pytest.raises(ObsPasswordError, match="refuses the password"):
        ObsClient(ObsServer(obs.port, "wrong"))
    assert obs.refused == 1
    with pytest.raises(ObsPasswordError, match="settings hold none"):
        ObsClient(ObsServer(obs.port, ""))
    obs.close()
    with pytest.raises(ObsError, match="no connection") as caught:
        ObsClient(obs.server)
    assert not isinstance(caught.value, ObsPasswordError)


def test_the_password_reaches_no_log_and_no_error(
    obs: FakeObs, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with ObsClient(obs.server) as client:
        client.ask("GetStats")
    for server in (ObsServer(obs.port, "geheim"), ObsServer(1, "geheim")):
        with pytest.raises(ObsError) as caught:
            ObsClient(server)
        assert "geheim" not in repr(caught.value)
    said = caplog.text + "".join(capfd.readouterr())
    assert "riddle me" not in said
    assert "geheim" not in said


def test_a_refusal_of_one_request_leaves_the_connection(obs: FakeObs) -> None:
    with ObsClient(obs.server) as client:
        with pytest.raises(ObsRequestError, match="No source was found") as caught:
            client.ask("GetInputAudioSyncOffset", {"inputName": "nobody"})
        assert caught.value.code == 600
        assert client.ask("GetVersion")


def answer(**changes: Any) -> str:
    status = {"result": True, "code": 100}
    right = {"requestType": "GetStats", "requestId": "1", "requestStatus": status}
    return json.dumps({"op": 7, "d": {**right, **changes}})


@pytest.mark.parametrize(
    "said",
    [
        "", "{", "[]", "7", "null", '"d"', '{"op": 7}', '{"d": 7}', '{"d": []}', "[" * 50_000,
        b"\xff\xfe", answer(requestType="GetVersion"), answer(requestType=None),
        answer(requestStatus=None), answer(requestStatus=[]), answer(requestStatus={"result": 1}),
        answer(requestStatus={}), '{"d": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_what_is_no_answer_ends_the_connection(obs: FakeObs, said: str | bytes) -> None:
    with ObsClient(obs.server) as client:
        obs.answers = lambda name, data: said
        with pytest.raises(ObsError, match="OBS: "):
            client.ask("GetStats")
        obs.answers = obs.answer
        with pytest.raises(ObsError, match="no answer"):
            client.ask("GetStats")


@pytest.mark.parametrize("data", [None, 7, [], "x"])
def test_an_answer_without_data_is_empty(obs: FakeObs, data: Any) -> None:
    with ObsClient(obs.server) as client:
        obs.answers = lambda name, _: answer(responseData=data)
        assert client.ask("GetStats") == {}


def test_a_refusal_may_hold_anything(obs: FakeObs) -> None:
    with ObsClient(obs.server) as client:
        status = {"result": False, "code": "x", "comment": "\x1b[2J" + "long " * 1000}
        obs.answers = lambda name, data: answer(requestStatus=status)
        with pytest.raises(ObsRequestError) as caught:
            client.ask("GetStats")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
        assert caught.value.code == 0


@pytest.mark.parametrize(
    "hello",
    [
        "", "[]", "{}", '{"op": 0}', '{"op": 0, "d": 1}', '{"op": 5, "d": {"rpcVersion": 1}}',
        '{"op": 0, "d": {"rpcVersion": 0}}', '{"op": 0, "d": {"rpcVersion": "1"}}',
        '{"op": 0, "d": {"rpcVersion": 1, "authentication": 3}}',
        '{"op": 0, "d": {"rpcVersion": 1, "authentication": {"salt": 1, "challenge": ""}}}',
        '{"op": 0, "d": {"rpcVersion": 1, "authentication": {"salt": "\\ud800", "challenge": ""}}}',
    ],
)  # fmt: skip
def test_what_greets_otherwise_is_not_obs(obs: FakeObs, hello: str) -> None:
    obs.hello = hello or " "
    with pytest.raises(ObsError, match="no connection") as caught:
        ObsClient(obs.server)
    assert not isinstance(caught.value, ObsPasswordError)


@pytest.mark.usefixtures("impatient")
def test_an_obs_that_does_not_answer_is_given_up(obs: FakeObs) -> None:
    with ObsClient(obs.server) as client:
        obs.answers = lambda name, data: None
        with pytest.raises(ObsError, match="no answer to GetStats"):
            client.ask("GetStats")


def test_an_answer_without_end_is_given_up(obs: FakeObs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 2000)
    with ObsClient(obs.server) as client:
        obs.answers = lambda name, data: answer(padding="x" * 3000)
        with pytest.raises(ObsError, match="the answer is too long"):
            client.ask("GetStats")


class Crier:
    """Accepts one connection, says something, and drips on."""

    def __init__(self, first: bytes, drip: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._first, self._drip = first, drip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crier")
        self._thread.start()

    def _run(self) -> None:
        self._listener.settimeout(5)
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.connections += 1
        with client:
            try:
                client.sendall(self._first)
                while self._drip and not self._ended.wait(0.02):
                    client.sendall(self._drip)
            except OSError:
                return

    def close(self) -> None:
        self._ended.set()
        self._listener.close()
        self._thread.join(6)


@pytest.mark.usefixtures("impatient")
def test_a_header_that_drips_for_ever_is_given_up() -> None:
    crier = Crier(b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"y")
    try:
        with pytest.raises(ObsError, match="no connection"):
            ObsClient(ObsServer(crier.port, ""))
    finally:
        crier.close()


def test_a_redirection_is_not_followed() -> None:
    elsewhere = Crier(b"", b"")
    away = f"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:{elsewhere.port}/\r\n\r\n"
    crier = Crier(away.encode(), b"")
    try:
        with pytest.raises(ObsError, match="no connection"):
            ObsClient(ObsServer(crier.port, "geheim"))
    finally:
        crier.close()
        elsewhere.close()
    assert elsewhere.connections == 0


def test_no_proxy_of_the_environment_is_asked(
    obs: FakeObs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org")
    with ObsClient(obs.server) as client:
        assert client.ask("GetVersion")


@pytest.mark.parametrize(
    "value", [None, "30", True, float("nan"), float("inf"), -1, 10**400, [], 1e10]
)
def test_figures_are_checked(value: Any) -> None:
    with pytest.raises(ObsError, match="fps is .* wanted a number from 0 to 1000"):
        number({"fps": value}, "fps", 0, 1000)
    assert number({"fps": 30}, "fps", 0, 1000) == 30.0


def test_texts_are_made_printable_and_short() -> None:
    assert plain_text("29.0.2") == "29.0.2"
    assert plain_text("a\x1b[2J\n b\u202e") == "a [2J b"
    assert plain_text(29) == ""
    assert len(plain_text("x" * 10_000)) == 200
