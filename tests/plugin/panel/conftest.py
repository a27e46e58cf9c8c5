"""A panel over a fake bridge, and a client that can send any header."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from brushcast.panel.access import new_token
from brushcast.panel.server import PanelServer
from tests.plugin.panel.fake_backend import FakeBackend
from tests.plugin.panel.fake_telemetry import FakeTelemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    backend: FakeBackend
    telemetry: FakeTelemetry = field(default_factory=FakeTelemetry)
    server: PanelServer
    token: str

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        without: tuple[str, ...] = (),
    ) -> Answer:
        """A proper request, with `headers` laid over it and those `without` taken away."""
        sent = {"Host": self.host, "Authorization": f"Bearer {self.token}"}
        payload = b""
        if body is not None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(payload))}
        sent |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if name not in without:
                    connection.putheader(name, value)
            connection.endheaders(payload)
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=response.read(),
            )
        finally:
            connection.close()


@pytest.fixture
def panel() -> Iterator[Panel]:
    backend, telemetry, token = FakeBackend(), FakeTelemetry(), new_token()
    server = PanelServer(backend, telemetry, token=token)
    server.start()
    yield Panel(backend=backend, telemetry=telemetry, server=server, token=token)
    server.stop()
    assert not server.alive
