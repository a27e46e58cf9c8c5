"""The clients of /api/v1/events: the state when it changed, pictures as fast as each shows them.

Everything here runs on the panel's event loop. Nothing is queued: a client that is busy gets the
newest picture once it is ready, and the ones between are never sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from brushcast.errors import ConfigError
from brushcast.panel.api import parse_event, parse_object, state_json
from brushcast.panel.backend import PanelBackend, Preview, Which

PROTOCOL = "brushcast.v1"
# Side (0 before, 1 after) and counter modulo 2**32; the JPEG follows.
PICTURE_HEADER = struct.Struct(">BI")
SIDE_NUMBERS: dict[Which, int] = {"before": 0, "after": 1}

PICTURES_FPS = 12  # smooth enough to judge a look; about 1 MB/s a side at 512x288
TICKS_PER_STATE = 3  # the state at 4 Hz
MOST_CLIENTS = 16
MOST_UNSHOWN = 2  # pictures of one side on their way to a client: one shown, one underway
MAX_MESSAGE_BYTES = 1024
SEND_TIMEOUT_S = 5.0
HEARTBEAT_S = 10.0
FIRST_PICTURE_TIMEOUT_S = 1.0


@dataclass(eq=False, slots=True)
class _Client:
    socket: web.WebSocketResponse
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    watching: frozenset[Which] = frozenset()
    state_sent: int = -1
    counters_sent: dict[Which, int] = field(default_factory=dict)
    unshown: dict[Which, int] = field(default_factory=dict)


class Audience:
    """All clients, and the one task (`pump`) that asks the backend on behalf of them all."""

    def __init__(self, backend: PanelBackend) -> None:
        self._backend = backend
        self._clients: set[_Client] = set()
        self._glances = 0  # requests for a single picture that are waiting for it
        self._watchers = 0
        self._state_text = ""
        self._state_number = 0
        self._pictures: dict[Which, Preview] = {}
        self._somebody = asyncio.Event()

    @property
    def full(self) -> bool:
        """No further client is taken."""
        return len(self._clients) >= MOST_CLIENTS

    async def pump(self) -> None:
        """Ask the backend for states and pictures while there are clients, until cancelled."""
        tick = 0
        while True:
            await self._somebody.wait()
            if tick % TICKS_PER_STATE == 0:
                self.refresh()
            tick += 1
            for side in {side for client in self._clients for side in client.watching}:
                picture = self._backend.preview(side)
                if picture is None:
                    self._pictures.pop(side, None)
                else:
                    self._pictures[side] = picture
            for client in self._clients:
                if client.watching:
                    client.wake.set()
            await asyncio.sleep(1 / PICTURES_FPS)

    def refresh(self) -> str:
        """The state now as JSON; whoever has an older one is sent it."""
        text = state_json(self._backend.snapshot())
        if text != self._state_text:
            self._state_text = text
            self._state_number += 1
            for client in self._clients:
                client.wake.set()
        return text

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One client, from its handshake to its end."""
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            heartbeat=HEARTBEAT_S,
            timeout=1.0,
        )
        await socket.prepare(request)
        client = _Client(socket)
        self._clients.add(client)
        self._somebody.set()
        writer = asyncio.create_task(self._write(client), name="panel-client-writer")
        try:
            self.refresh()
            client.wake.set()
            async for message in socket:
                reason = self._heard(client, message)
                if reason:
                    await socket.close(
                        code=WSCloseCode.POLICY_VIOLATION, message=reason.encode()[:120]
                    )
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._clients.discard(client)
            self._count_watchers()
            if not self._clients:
                self._somebody.clear()
        return socket

    async def glance(self, side: Which) -> Preview | None:
        """One new picture, None when there is none within a second."""
        loop = asyncio.get_running_loop()
        unwatched = self._watchers == 0
        self._glances += 1
        self._count_watchers()
        try:
            deadline_s = loop.time() + FIRST_PICTURE_TIMEOUT_S
            first = picture = self._backend.preview(side)
            # With nobody watching until now, what is there may be old: wait for the next one.
            while picture is None or (
                unwatched and first is not None and picture.counter == first.counter
            ):
                if loop.time() >= deadline_s:
                    break
                await asyncio.sleep(1 / PICTURES_FPS)
                picture = self._backend.preview(side)
            return picture
        finally:
            self._glances -= 1
            self._count_watchers()

    async def close(self) -> None:
        """Tell every client that we go away."""
        for client in tuple(self._clients):
            await client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the panel stops")

    def _heard(self, client: _Client, message: WSMessage) -> str:
        """Act on one message; the reason to close the connection, or ""."""
        if message.type is not WSMsgType.TEXT:
            return "wanted text"
        try:
            said = parse_event(parse_object(message.data))
        except ConfigError as error:
            return str(error)
        if isinstance(said, str):
            client.unshown[said] = max(0, client.unshown.get(said, 0) - 1)
        else:
            for side in said - client.watching:
                client.unshown[side] = 0
                client.counters_sent.pop(side, None)
            client.watching = said
            self._count_watchers()
        client.wake.set()
        return ""

    async def _write(self, client: _Client) -> None:
        try:
            while True:
                await client.wake.wait()
                client.wake.clear()
                if client.state_sent != self._state_number:
                    client.state_sent = self._state_number
                    text = f'{{"type":"state","state":{self._state_text}}}'
                    await asyncio.wait_for(client.socket.send_str(text), SEND_TIMEOUT_S)
                for side in client.watching:
                    await self._write_picture(client, side)
        except (TimeoutError, ConnectionError):
            logging.getLogger(__name__).debug("a panel client does not read any more")
            await client.socket.close(code=WSCloseCode.TRY_AGAIN_LATER, drain=False)

    async def _write_picture(self, client: _Client, side: Which) -> None:
        picture = self._pictures.get(side)
        if picture is None or client.counters_sent.get(side) == picture.counter:
            return
        if client.unshown.get(side, 0) >= MOST_UNSHOWN:
            return
        client.counters_sent[side] = picture.counter
        client.unshown[side] = client.unshown.get(side, 0) + 1
        header = PICTURE_HEADER.pack(SIDE_NUMBERS[side], picture.counter & 0xFFFFFFFF)
        await asyncio.wait_for(client.socket.send_bytes(header + picture.jpeg), SEND_TIMEOUT_S)

    def _count_watchers(self) -> None:
        watchers = self._glances + sum(bool(client.watching) for client in self._clients)
        if watchers != self._watchers:
            self._watchers = watchers
            if watchers == 0:
                self._pictures.clear()  # no old camera picture is kept for whoever comes next
            self._backend.watchers(watchers)
