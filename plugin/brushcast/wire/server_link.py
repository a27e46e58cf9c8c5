"""ServerLink: the worker's side of one peer's connection, as a pure state machine.

No socket, no clock, no thread: every method takes `now_ns`. One owner thread. The server keeps one
ServerLink per peer (routing id of the ROUTER), makes it on the peer's first message, and forgets it
once `expired`. A bridge that reconnects comes as a new peer with the same `session` and a higher
epoch: on Opened, the server closes any other link of that session (`close(now_ns, "new epoch")`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from brushcast.wire.messages import (
    Codec,
    Header,
    Hello,
    Parts,
    Payload,
    StreamState,
    Welcome,
    WorkerStatus,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimes:
    """idle_ms: a peer that is silent this long is gone. malformed_limit: so many malformed
    messages within malformed_window_ms, and the peer is told and ignored."""

    idle_ms: int = 4000
    malformed_limit: int = 20
    malformed_window_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream begins, cold. (session, epoch) name it; the old one of this link is Closed."""

    session: int
    epoch: int
    hello: Hello

    @property
    def state(self) -> StreamState:
        return self.hello.state


@dataclass(frozen=True, slots=True)
class StateSet:
    """The stream's state changed; every frame that follows is meant for it."""

    session: int
    epoch: int
    state: StreamState


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame within its credit, of the state's revision and size. It must be answered, by
    `send_result` or `refuse`, or its credit is lost. header.flags has END on a stream's last."""

    header: Header
    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream is over: BYE, silence, a new epoch, a fault. Its frames need no answer."""

    session: int
    epoch: int
    reason: str


ServerEvent = Opened | StateSet | FrameArrived | Closed


class ServerLink:
    """The worker's side of one peer. Owned by the link thread."""

    def __init__(self, welcome: Welcome, *, now_ns: int, times: ServerTimes | None = None) -> None:
        """welcome: what HELLO is answered with; its revision is filled in."""
        self.times = times or ServerTimes()
        self.session = 0
        self.epoch = 0
        self.state: StreamState | None = None
        self.expired = False
        self.dropped: Counter[str] = Counter()

    @property
    def open(self) -> bool:
        """A stream is open."""
        return self.state is not None

    @property
    def in_flight(self) -> int:
        """How many accepted frames have no answer yet."""
        raise NotImplementedError

    def receive(self, parts: list[bytes], now_ns: int) -> None:
        """A message from this peer. Never raises for what is in it."""
        raise NotImplementedError

    def send_result(
        self,
        payload: Payload,
        *,
        epoch: int,
        seq: int,
        revision: int,
        width: int,
        height: int,
        codec: Codec,
        reused: bool = False,
    ) -> bool:
        """Queue a frame's result (END is added to the last frame's). False, and counted, when the
        epoch is over or that frame is not waiting for an answer."""
        raise NotImplementedError

    def refuse(self, *, epoch: int, seq: int, reason: str) -> bool:
        """Answer a frame without a picture: it was dropped, counted as `reason`."""
        raise NotImplementedError

    def set_status(self, status: WorkerStatus) -> None:
        """What the next PONG will carry."""
        raise NotImplementedError

    def fault(self, code: str, message: str, *, fatal: bool, now_ns: int) -> None:
        """Tell the peer what cannot be done. fatal: the stream is closed, and the bridge does not
        connect again before something changes."""
        raise NotImplementedError

    def close(self, now_ns: int, reason: str = "the worker stops") -> None:
        """Say BYE and close the stream; the bridge will connect again."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> None:
        """Let time pass: silence closes the stream and then expires the link."""
        raise NotImplementedError

    def next_wakeup_ns(self, now_ns: int) -> int:
        """When `tick` must be called at the latest."""
        raise NotImplementedError

    def outgoing(self) -> list[Parts]:
        """The messages to send to this peer, in order; each is handed out once."""
        raise NotImplementedError

    def events(self) -> list[ServerEvent]:
        """What happened since the last call, in order."""
        raise NotImplementedError
