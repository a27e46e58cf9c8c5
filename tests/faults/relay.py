"""Relay: a TCP connection that is as slow, narrow or broken as a test wants it.

What a client sends passes through a token bucket (the narrow link), then a delay line (the long
one): bytes are under way at the same time, as on a real link, not one after the other. Both
directions are alike and independent; all connections of a direction share its bucket. Needs no
rights and no netem: `namespaces` drops real packets where that is allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

CHUNK_BYTES = 4096  # 3 ms of a 10 Mb/s link: what is read at once
KERNEL_BUFFER_BYTES = 65536  # of each socket here: the kernel's own would hide seconds of a link
LATE_S = 0.02  # a wake-up this late costs the narrow link nothing
MOST_UNDER_WAY_BYTES = 8 * 2**20  # of a direction; more is not read
STEP_S = 0.01  # how soon a black hole's end is noticed
PATIENCE_S = 5.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection, what waits is lost

T = TypeVar("T")


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@dataclass(slots=True)
class Conditions:
    """latency_s and jitter_s: one way; each chunk's own delay is latency_s + 0..jitter_s, and none
    overtakes another. bytes_per_s: of each direction; None: as fast as it goes.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    black_hole: bool = False


class Relay:
    """Stands before `target`; clients connect to `port`. Everything public may be called from any
    thread while the relay is entered; the sockets belong to a thread of its own.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        bytes_per_s: float | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        listening: Callable[[], socket.socket] = _new_socket,
        going_on: Callable[[], socket.socket] = _new_socket,
    ) -> None:
        """host: where it listens. listening, going_on: make the socket that listens and those to
        the target, for one that stands in a network namespace of its own."""
        self.target = target
        self._host, self._listening, self._going_on = host, listening, going_on
        self.port = 0  # once entered
        self.connections = 0  # accepted so far
        self._conditions = Conditions(latency_s, jitter_s, bytes_per_s)
        self._rng = random.Random(seed)
        self._up, self._down = _Direction(self._conditions), _Direction(self._conditions)
        self._live: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")

    # ------------------------------------------------------------------ what a test says

    def set(
        self,
        *,
        latency_s: float | None = None,
        jitter_s: float | None = None,
        bytes_per_s: float | None = None,
    ) -> None:
        """From now on; what is not named stays. bytes_per_s=inf: no limit any more."""

        def change() -> None:
            conditions = self._conditions
            if latency_s is not None:
                conditions.latency_s = latency_s
            if jitter_s is not None:
                conditions.jitter_s = jitter_s
            if bytes_per_s is not None:
                conditions.bytes_per_s = None if bytes_per_s == float("inf") else bytes_per_s

        self._call(change)

    def cut(self) -> int:
        """Reset every connection, both ends, at once; what was under way is lost. How many."""

        async def cut() -> int:
            cutting = list(self._live)
            for task in cutting:
                task.cancel()
            await asyncio.gather(*cutting, return_exceptions=True)
            return len(cutting)

        return self._run(cut())

    def refuse(self, on: bool) -> None:
        """New connections are refused (nobody listens), or accepted again. Live ones stay."""

        def change() -> None:
            if on:
                self._deafen()
            elif self._listener is None:
                self._listen(self.port)

        self._call(change)

    def black_hole(self, on: bool) -> None:
        """Nothing passes, in either direction; connections are accepted and stay open, and what
        they carried goes on when it is over, as TCP's own retransmission would have it."""

        def change() -> None:
            self._conditions.black_hole = on

        self._call(change)

    @property
    def bytes_up(self) -> int:
        """From clients, given to the target so far."""
        return self._up.passed_bytes

    @property
    def bytes_down(self) -> int:
        """From the target, given to clients so far."""
        return self._down.passed_bytes

    def __enter__(self) -> Relay:
        self._thread.start()
        try:
            self._call(lambda: self._listen(0))
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.refuse(True)
            self.cut()
        finally:
            self._end_thread()

    # ------------------------------------------------------------------ on its thread

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _listen(self, port: int) -> None:
        listener = self._listening()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Before listen: a connection inherits it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        listener.setblocking(False)
        try:
            listener.bind((self._host, port))
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._loop.add_reader(listener, self._accept, listener)

    def _deafen(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it was gone again
        self.connections += 1
        task = self._loop.create_task(self._carry(client))
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        task.add_done_callback(lambda _: client.close())  # also if it was cut before it ran

    async def _carry(self, client: socket.socket) -> None:
        """One connection, from its acceptance until both directions have ended."""
        server = self._going_on()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        both = (client, server)
        try:
            for side in both:
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            while self._conditions.black_hole:
                await asyncio.sleep(STEP_S)
            await self._loop.sock_connect(server, self.target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(client, server, self._up))
                group.create_task(self._pass(server, client, self._down))
            for side in both:  # both ends had said goodbye: so do we
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        except* OSError:
            pass  # one end is gone: the other is reset
        finally:
            for side in both:
                side.close()

    async def _pass(
        self, source: socket.socket, sink: socket.socket, direction: _Direction
    ) -> None:
        """One direction of one connection: the delay line runs beside the reading."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(line, sink, direction))
            due_s, room = 0.0, direction
            while True:
                await room.open()
                chunk = await self._loop.sock_recv(source, CHUNK_BYTES)
                await room.serialise(len(chunk))
                conditions = self._conditions
                delay_s = conditions.latency_s + self._rng.uniform(0, conditions.jitter_s)
                due_s = max(due_s, time.monotonic() + delay_s)
                room.under_way_bytes += len(chunk)
                line.put_nowait((due_s, chunk))
                if not chunk:
                    return  # the end travels down the line too

    async def _deliver(
        self, line: asyncio.Queue[tuple[float, bytes]], sink: socket.socket, direction: _Direction
    ) -> None:
        held_bytes = 0
        try:
            while True:
                due_s, chunk = await line.get()
                held_bytes = len(chunk)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                while self._conditions.black_hole:
                    await asyncio.sleep(STEP_S)
                if not chunk:
                    with contextlib.suppress(OSError):
                        sink.shutdown(socket.SHUT_WR)
                    return
                direction.passed_bytes += len(chunk)  # before anybody can have seen them
                await self._loop.sock_sendall(sink, chunk)
                direction.under_way_bytes -= held_bytes
                held_bytes = 0
        finally:  # what a cut lost is under way no more
            direction.under_way_bytes -= held_bytes
            while not line.empty():
                direction.under_way_bytes -= len(line.get_nowait()[1])


class _Direction:
    """What all connections share on the way one way."""

    def __init__(self, conditions: Conditions) -> None:
        self.passed_bytes = 0
        self.under_way_bytes = 0
        self._conditions = conditions
        self._free_s = 0.0  # when the narrow link has sent what it was given

    async def open(self) -> None:
        """Until something may be read."""
        while self._conditions.black_hole or self.under_way_bytes > MOST_UNDER_WAY_BYTES:
            await asyncio.sleep(STEP_S)

    async def serialise(self, count: int) -> None:
        """Until the narrow link has sent so many bytes."""
        rate = self._conditions.bytes_per_s
        if rate is None:
            return
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s - LATE_S) + count / rate
        await asyncio.sleep(max(0.0, self._free_s - now_s))
