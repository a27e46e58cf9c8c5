from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import struct
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from brushcast.panel.backend import PanelState
from brushcast.panel.events import MOST_CLIENTS, MOST_UNSHOWN, PROTOCOL
from tests.plugin.panel.conftest import Panel
from tests.plugin.panel.fake_backend import fake_state

Socket = aiohttp.ClientWebSocketResponse[bool]
TIMEOUT_S = 5.0


def talk(panel: Panel, conversation: Callable[[Socket], Awaitable[None]]) -> None:
    """Connect as the page does, with the token among the protocols."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session, connected(panel, session) as client:
            await asyncio.wait_for(conversation(client), 20)

    asyncio.run(run())


def connected(
    panel: Panel, session: aiohttp.ClientSession, *, token: str | None = None, origin: str = ""
) -> aiohttp.client._WSRequestContextManager:
    token = panel.token if token is None else token
    return session.ws_connect(
        f"ws://{panel.host}/api/v1/events",
        protocols=(PROTOCOL, f"token.{token}"),
        headers={"Origin": origin or f"http://{panel.host}"},
    )


async def next_state(client: Socket) -> dict[str, object]:
    while True:
        message = await client.receive(TIMEOUT_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            said = json.loads(message.data)
            assert said["type"] == "state"
            return dict(said["state"])
        assert message.type is aiohttp.WSMsgType.BINARY, message


async def next_picture(client: Socket) -> tuple[int, int, bytes]:
    while True:
        message = await client.receive(TIMEOUT_S)
        if message.type is aiohttp.WSMsgType.BINARY:
            side, counter = struct.unpack(">BI", message.data[:5])
            return side, counter, message.data[5:]
        assert message.type is aiohttp.WSMsgType.TEXT, message


def test_the_state_comes_at_once_and_again_when_it_changed(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        assert client.protocol == PROTOCOL
        assert (await next_state(client))["message"] == "You are live as a watercolour."
        panel.backend.state = dataclasses.replace(fake_state(), message="Something else.")
        assert (await next_state(client))["message"] == "Something else."
        with pytest.raises(asyncio.TimeoutError):
            await client.receive(0.6)

    talk(panel, conversation)


def test_a_change_of_one_client_is_seen_by_all(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await next_state(client)
        await asyncio.to_thread(panel.ask, "POST", "/api/v1/look", {"seed": 99})
        look = (await next_state(client))["look"]
        assert isinstance(look, dict)
        assert look["seed"] == 99

    talk(panel, conversation)


def test_only_the_sides_that_are_watched_are_sent(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await next_state(client)
        assert panel.backend.pictures_asked == 0
        await client.send_json({"watch": ["after"]})
        counters = []
        for _ in range(5):
            side, counter, jpeg = await next_picture(client)
            assert side == 1
            assert jpeg.startswith(b"\xff\xd8")
            assert jpeg.endswith(b"\xff\xd9")
            counters.append(counter)
            await client.send_json({"shown": "after"})
        assert counters == sorted(set(counters))
        await client.send_json({"watch": ["before"]})
        while (await next_picture(client))[0] == 1:
            pass  # underway already
        assert (await next_picture(client))[0] == 0

    talk(panel, conversation)


def test_nothing_is_encoded_while_nobody_watches(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await next_state(client)
        await client.send_json({"watch": ["before", "after"]})
        await next_picture(client)
        assert panel.backend.watcher_counts == [1]
        await client.send_json({"watch": []})
        await until(lambda: panel.backend.watcher_counts == [1, 0])
        asked = panel.backend.pictures_asked
        await asyncio.sleep(0.4)
        assert panel.backend.pictures_asked == asked

    talk(panel, conversation)
    assert panel.backend.watcher_counts == [1, 0]


def test_a_client_that_goes_away_watches_no_more(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await client.send_json({"watch": ["after"]})
        await next_picture(client)

    talk(panel, conversation)

    async def gone() -> None:
        await until(lambda: panel.backend.watcher_counts == [1, 0])

    asyncio.run(gone())


def test_a_slow_client_gets_newer_pictures_and_no_queue(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await client.send_json({"watch": ["after"]})
        first = [(await next_picture(client))[1] for _ in range(MOST_UNSHOWN)]
        await asyncio.sleep(0.6)
        asked = panel.backend.pictures_asked
        await client.send_json({"shown": "after"})
        _, counter, _ = await next_picture(client)
        assert counter > first[-1] + 3
        assert counter >= asked
        with pytest.raises(asyncio.TimeoutError):
            await client.receive(0.4)

    talk(panel, conversation)


def test_when_the_source_has_no_picture_the_old_one_is_not_kept(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await client.send_json({"watch": ["after"]})
        await next_picture(client)
        panel.backend.no_picture = True
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                await client.receive(0.3)
        await client.send_json({"watch": ["before"]})
        await client.send_json({"watch": ["after"]})
        panel.backend.state = dataclasses.replace(fake_state(), message="No more pictures.")
        message = await client.receive(TIMEOUT_S)
        assert message.type is aiohttp.WSMsgType.TEXT
        assert "No more pictures." in message.data

    talk(panel, conversation)


@pytest.mark.parametrize(
    "message", ["hello", "[]", '{"watch":["raw"]}', '{"preset":"ink"}', '{"watch":"after"}']
)
def test_another_language_ends_the_conversation(panel: Panel, message: str) -> None:
    async def conversation(client: Socket) -> None:
        await next_state(client)
        await client.send_str(message)
        closing = await client.receive(TIMEOUT_S)
        assert closing.type is aiohttp.WSMsgType.CLOSE
        assert closing.data == aiohttp.WSCloseCode.POLICY_VIOLATION

    talk(panel, conversation)
    assert not panel.backend.changes


def test_a_long_message_ends_the_conversation(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await next_state(client)
        await client.send_str(" " * 2000)
        closing = await client.receive(TIMEOUT_S)
        assert closing.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    talk(panel, conversation)


def test_messages_are_not_compressed(panel: Panel) -> None:
    async def run() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"ws://{panel.host}/api/v1/events",
                protocols=(PROTOCOL, f"token.{panel.token}"),
                compress=15,
            ) as client,
        ):
            assert client.compress == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("token", "origin", "status"),
    [("wrong", "", 401), ("", "", 401), (None, "null", 403), (None, "http://evil.example", 403)],
)
def test_the_handshake_is_guarded(
    panel: Panel, token: str | None, origin: str, status: int
) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connected(panel, session, token=token, origin=origin)
            assert refused.value.status == status

    asyncio.run(run())


def test_there_is_room_for_a_few_clients_only(panel: Panel) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            clients = [await connected(panel, session) for _ in range(MOST_CLIENTS)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connected(panel, session)
            assert refused.value.status == 503
            await clients.pop().close()
            clients.append(await connected(panel, session))
            for client in clients:
                await client.close()

    asyncio.run(run())


def test_stopping_says_goodbye(panel: Panel) -> None:
    async def conversation(client: Socket) -> None:
        await client.send_json({"watch": ["before"]})
        await next_picture(client)
        await asyncio.to_thread(panel.server.stop)
        while (message := await client.receive(TIMEOUT_S)).type in (
            aiohttp.WSMsgType.TEXT,
            aiohttp.WSMsgType.BINARY,
        ):
            pass
        assert message.data == aiohttp.WSCloseCode.GOING_AWAY

    talk(panel, conversation)
    assert panel.backend.watcher_counts[-1] == 0


def test_a_bridge_that_stumbles_is_asked_again(
    panel: Panel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble() -> PanelState:
        raise RuntimeError("no state")

    async def conversation(client: Socket) -> None:
        await next_state(client)
        with monkeypatch.context() as broken:
            broken.setattr(panel.backend, "snapshot", stumble)
            await until(lambda: "no state" in caplog.text)
        panel.backend.state = dataclasses.replace(fake_state(), message="Well again.")
        assert (await next_state(client))["message"] == "Well again."

    talk(panel, conversation)


async def until(true: Callable[[], bool]) -> None:
    deadline_s = asyncio.get_running_loop().time() + TIMEOUT_S
    while not true():
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0.02)
