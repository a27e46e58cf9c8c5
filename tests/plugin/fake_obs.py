"""A server that speaks obs-websocket 5 as OBS 29 does, on a port of its own, and remembers what it
was asked. A test may make it answer anything."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from brushcast.obs_settings import ObsServer

SALT, CHALLENGE = "c2FsdA==", "Y2hhbGxlbmdl"
WRONG_PASSWORD = 4009  # the close code of obs-websocket
CALM = {
    "activeFps": 30.0,
    "averageFrameRenderTime": 4.0,
    "renderTotalFrames": 1000,
    "renderSkippedFrames": 0,
    "outputTotalFrames": 0,
    "outputSkippedFrames": 0,
}
Raw = str | bytes
# From a request's name and data to: its data, a refusal as (code, comment), text to be sent as it
# is, or None for no answer at all.
Answers = Callable[[str, dict[str, Any]], "dict[str, Any] | tuple[int, str] | Raw | None"]


class FakeObs:
    """Attributes may be changed at any time; `close` and `open` again are OBS ending and starting
    on the same port."""

    def __init__(self, password: str = "right") -> None:
        self.password = password
        self.stats: dict[str, Any] = dict(CALM)
        self.offsets_ms: dict[str, int] = {"Mic/Aux": 0}
        self.collection = "lab"
        self.camera = False
        self.camera_works = True
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.identified = 0
        self.refused = 0
        self.hello: Raw | None = None  # instead of the right one
        self.answers: Answers = self.answer
        self.port = 0
        self.open()

    @property
    def server(self) -> ObsServer:
        return ObsServer(self.port, self.password)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [data["eventData"] for name, data in self.asked if name == "BroadcastCustomEvent"]

    def count(self, request: str) -> int:
        return sum(name == request for name, _ in self.asked)

    def answer(self, name: str, data: dict[str, Any]) -> dict[str, Any] | tuple[int, str] | None:
        """As OBS would."""
        match name:
            case "GetVersion":
                return {"obsVersion": "29.0.2", "obsWebSocketVersion": "5.1.0", "rpcVersion": 1}
            case "GetVideoSettings":
                return {"fpsNumerator": 30, "fpsDenominator": 1, "baseWidth": 640}
            case "GetStats":
                return self.stats
            case "GetSceneCollectionList":
                return {"currentSceneCollectionName": self.collection, "sceneCollections": []}
            case "GetInputAudioSyncOffset" | "SetInputAudioSyncOffset":
                return self._sound(name, data)
            case "StartVirtualCam" | "StopVirtualCam":
                on = name == "StartVirtualCam"
                if on == self.camera:
                    return (500, "running") if on else (501, "not running")
                self.camera = on and self.camera_works
                return {}
            case "GetVirtualCamStatus":
                return {"outputActive": self.camera}
            case "BroadcastCustomEvent":
                return {} if isinstance(data.get("eventData"), dict) else (300, "eventData missing")
        return 204, "unknown request"

    def _sound(self, name: str, data: dict[str, Any]) -> dict[str, Any] | tuple[int, str]:
        where = data["inputName"]
        if where not in self.offsets_ms:
            return 600, "No source was found by that name."
        if name == "SetInputAudioSyncOffset":
            self.offsets_ms[where] = data["inputAudioSyncOffset"]
            return {}
        return {"inputAudioSyncOffset": self.offsets_ms[where]}

    # ------------------------------------------------------------------ the server

    def open(self) -> None:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="fake OBS")
        self._thread.start()
        assert ready.wait(5)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(5)

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._ended = asyncio.Event()
            self._sockets: set[web.WebSocketResponse] = set()
            app = web.Application()
            app.router.add_get("/", self._client)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await self._ended.wait()
            for socket in list(self._sockets):
                await socket.close()
            await runner.cleanup()

        self._loop.run_until_complete(main())
        self._loop.close()

    async def _client(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.2)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._talk(socket)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        hello: dict[str, Any] = {"obsWebSocketVersion": "5.1.0", "rpcVersion": 1}
        if self.password:
            hello["authentication"] = {"challenge": CHALLENGE, "salt": SALT}
        await _send(socket, self.hello or json.dumps({"op": 0, "d": hello}))
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                return
            body = json.loads(message.data)
            if body["op"] == 1:
                if self.password and body["d"].get("authentication") != proof(self.password):
                    self.refused += 1
                    await socket.close(code=WRONG_PASSWORD, message=b"Authentication failed.")
                    return
                self.identified += 1
                await _send(socket, json.dumps({"op": 2, "d": {"negotiatedRpcVersion": 1}}))
            else:
                await self._request(socket, body["d"])

    async def _request(self, socket: web.WebSocketResponse, body: dict[str, Any]) -> None:
        name, data = body["requestType"], body.get("requestData", {})
        self.asked.append((name, data))
        found = self.answers(name, data)
        if found is None:
            return
        if isinstance(found, str | bytes):
            await _send(socket, found)
            return
        status: dict[str, Any] = {"result": True, "code": 100}
        if isinstance(found, tuple):
            status = {"result": False, "code": found[0], "comment": found[1]}
        answer = {"requestType": name, "requestId": body["requestId"], "requestStatus": status}
        if isinstance(found, dict) and found:
            answer["responseData"] = found
        await _send(socket, json.dumps({"op": 7, "d": answer}))


async def _send(socket: web.WebSocketResponse, text: Raw) -> None:
    if isinstance(text, bytes):
        await socket.send_bytes(text)
    else:
        await socket.send_str(text)


def proof(password: str) -> str:
    """The string of Identify: base64(sha256(base64(sha256(password + salt)) + challenge))."""
    secret = base64.b64encode(hashlib.sha256((password + SALT).encode()).digest())
    return base64.b64encode(hashlib.sha256(secret + CHALLENGE.encode()).digest()).decode()
