"""What the links report, where they stand, and the time limits that they keep. Values only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from brushcast.errors import ConfigError
from brushcast.wire.messages import Header, Hello, StreamState, Welcome, WorkerStatus


def _positive(times: Any) -> None:
    for field in fields(times):
        value = getattr(times, field.name)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{field.name} {value!r}: wanted a whole number of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """The link's time limits, all in milliseconds.

    heartbeat_ms, liveness: a PING every heartbeat; silence for `liveness` heartbeats is death.
    handshake_ms: from opening the socket to WELCOME.
    progress_ms: from running out of credit (0.25 s at 30 fps) to the next result, once warmed.
    lossless_ms: the same for lossless streams.
    backoff_first_ms, backoff_limit_ms: the n-th delay is drawn from 0 to first * 2^n, at most the
    limit.
    stable_ms: a connection that held this long resets the back-off.
    refused_retry_ms: the slow retry of a refused link.
    """

    # Four questions a second: what the link control measures a network by (link_rate); and what a
    # step takes must be known when pictures are called live.
    heartbeat_ms: int = 250
    liveness: int = 12
    handshake_ms: int = 1500
    progress_ms: int = 600
    lossless_ms: int = 60_000
    backoff_first_ms: int = 100
    backoff_limit_ms: int = 2000
    stable_ms: int = 2000
    refused_retry_ms: int = 30_000

    def __post_init__(self) -> None:
        _positive(self)

    @property
    def liveness_ns(self) -> int:
        """Silence of so long is death."""
        return self.heartbeat_ms * self.liveness * 1_000_000


LOCAL_TIMES = LinkTimes()
REMOTE_TIMES = LinkTimes(handshake_ms=4000, progress_ms=2500, backoff_limit_ms=8000)


class ClientState(Enum):
    """Where the connection stands; the values are what people read."""

    IDLE = "not started"
    WAITING = "waiting to connect again"
    CONNECTING = "connecting"
    READY = "ready"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Connected:
    """A worker welcomed this epoch and acknowledged the state; frames may be sent."""

    epoch: int
    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Result:
    """A restyled picture of the current epoch; payload as `header.codec` says (codec.decode)."""

    header: Header
    payload: bytes


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """The worker refused or dropped this frame; its credit is back. key_wanted: it cannot decode
    what follows until a keyframe comes."""

    seq: int
    captured_ns: int
    key_wanted: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended, or an attempt failed (`was_ready` False); the link goes on by itself.

    seqs: frames that were on their way and will get no result (lossless: send them again).
    hung: the worker was silent or made no progress, so its process may still be there.
    """

    reason: str
    seqs: tuple[int, ...]
    was_ready: bool
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Connecting again will not help until something changes; `message` is one sentence for people.

    seqs: as in Lost.
    """

    message: str
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StateAcknowledged:
    """The worker has this revision of the state; what it sends from now on follows it."""

    revision: int


@dataclass(frozen=True, slots=True)
class StatusReceived:
    """A PONG: how the worker fares. round_trip_ns: of the PING (0 for the answer to a SET).
    since_ms: as in Pong."""

    status: WorkerStatus
    revision: int
    round_trip_ns: int
    since_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Faulted:
    """The worker cannot do something that was asked, and goes on without it."""

    code: str
    message: str


ClientEvent = (
    Connected
    | Result
    | FrameRefused
    | Lost
    | Refused
    | StateAcknowledged
    | StatusReceived
    | Faulted
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimes:
    """idle_ms: a peer that is silent this long is gone. malformed_limit: so many malformed
    messages within malformed_window_ms, and the peer is told and ignored."""

    idle_ms: int = 4000
    malformed_limit: int = 20
    malformed_window_ms: int = 10_000

    def __post_init__(self) -> None:
        _positive(self)


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
