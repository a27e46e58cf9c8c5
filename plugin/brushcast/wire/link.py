"""ClientLink: the bridge's side of the connection to a worker, as a pure state machine.

No socket, no clock, no thread: every method takes `now_ns` (monotonic), randomness is given. One
owner thread. What is to be sent comes out of `outgoing()`, what happened out of `events()`; which
socket must be open follows from `wanted_epoch`. sockets.Dialler drives it.

    IDLE ─start→ CONNECTING ─WELCOME→ READY          a new epoch and the full state on every
                  ↑      │ no answer    │ silent, no progress, BYE, socket lost       connection
                  └─ WAITING ←──────────┘            back-off with full jitter, for ever
    any ─fatal FAULT, other major version→ REFUSED   tried again only slowly, or when asked
    any ─close→ CLOSED

The worker's side is server_link.ServerLink, exported here too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from random import Random

from brushcast.errors import ConfigError, MalformedMessage, VersionMismatch
from brushcast.wire.messages import (
    Codec,
    Fault,
    Flags,
    Header,
    Hello,
    Kind,
    Message,
    Parts,
    Payload,
    PixelFormat,
    Pong,
    StreamState,
    Welcome,
    WorkerStatus,
    pack,
    pack_control,
    parse,
)
from brushcast.wire.server_link import (
    Closed,
    FrameArrived,
    Opened,
    ServerEvent,
    ServerLink,
    ServerTimes,
    StateSet,
)

__all__ = [
    "LOCAL_TIMES",
    "REMOTE_TIMES",
    "ClientEvent",
    "ClientLink",
    "ClientState",
    "Closed",
    "Connected",
    "Faulted",
    "FrameArrived",
    "FrameRefused",
    "LinkTimes",
    "Lost",
    "Opened",
    "Refused",
    "Result",
    "ServerEvent",
    "ServerLink",
    "ServerTimes",
    "StateAcknowledged",
    "StateSet",
    "StatusReceived",
]

MS = 1_000_000  # nanoseconds
SLOW_STEPS = 3  # a worker that needs this many of its own measured steps for a chunk is hung
MIN_BACKOFF_MS = 20  # full jitter may draw 0: a refused connection must not become a busy loop


class ClientState(Enum):
    """Where the connection stands; the values are what people read."""

    IDLE = "not started"
    WAITING = "waiting to connect again"
    CONNECTING = "connecting"
    READY = "ready"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """The link's time limits, all in milliseconds.

    heartbeat_ms, liveness: a PING every heartbeat; silence for `liveness` heartbeats is death.
    handshake_ms: from opening the socket to WELCOME.
    progress_ms: without credit, how long the worker may take to the next result once warmed.
    lossless_ms: the same for lossless streams.
    backoff_first_ms, backoff_limit_ms: the n-th delay is drawn from 0 to first * 2^n, at most limit.
    stable_ms: a connection that held this long resets the back-off.
    refused_retry_ms: the slow retry of a refused link.
    """

    heartbeat_ms: int = 1000
    liveness: int = 3
    handshake_ms: int = 1500
    progress_ms: int = 700
    lossless_ms: int = 60_000
    backoff_first_ms: int = 100
    backoff_limit_ms: int = 2000
    stable_ms: int = 2000
    refused_retry_ms: int = 30_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} {value!r}: wanted a whole number of at least 1")


LOCAL_TIMES = LinkTimes()
REMOTE_TIMES = LinkTimes(handshake_ms=4000, progress_ms=2500, backoff_limit_ms=8000)


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
    """The worker refused or dropped this frame; its credit is back."""

    seq: int
    captured_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended, or an attempt failed (`was_ready` False); the link goes on by itself.

    seqs: frames that were on their way and will get no result (lossless: send them again).
    """

    reason: str
    seqs: tuple[int, ...]
    was_ready: bool


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
    """A PONG: how the worker fares. round_trip_ns: of the PING (0 for the answer to a SET)."""

    status: WorkerStatus
    revision: int
    round_trip_ns: int


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


class ClientLink:
    """The bridge's side. Owned by one thread. See the file's head for the states.

    Invariants: 0 <= credit <= welcome.credit_frames; no event of another epoch; after every
    Connected the worker has, or has been sent, the newest state before any frame.
    """

    def __init__(
        self, state: StreamState, *, client: str, version: str, times: LinkTimes, rng: Random
    ) -> None:
        """client, version: who we are, for the worker's log. rng: draws the session and jitter."""
        self.session = rng.getrandbits(63) + 1
        self.epoch = 0
        self.times = times
        self.state = ClientState.IDLE
        self.stream_state = state
        self.welcome: Welcome | None = None
        self.status: WorkerStatus | None = None
        self.acknowledged_revision: int | None = None
        self.round_trip_ns: int | None = None
        self.connections = 0
        self.refusal = ""
        self.dropped: Counter[str] = Counter()  # messages and frames that went nowhere, by reason

    @property
    def ready(self) -> bool:
        """Frames may be sent (given credit)."""
        return self.state is ClientState.READY

    @property
    def credit(self) -> int:
        """How many frames may be sent now."""
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """How many frames have been sent without an answer."""
        raise NotImplementedError

    @property
    def wanted_epoch(self) -> int | None:
        """The epoch whose own, fresh socket must be open now; None: no socket."""
        raise NotImplementedError

    def start(self, now_ns: int) -> None:
        """Begin to connect."""
        raise NotImplementedError

    def send_frame(
        self,
        payload: Payload,
        *,
        seq: int,
        captured_ns: int,
        width: int,
        height: int,
        codec: Codec,
        now_ns: int,
        deadline_ms: int = 0,
        end: bool = False,
    ) -> bool:
        """Queue a frame. False (and nothing happened) when not ready, without credit, or when the
        size is not the state's. `seq` must rise within an epoch; `end`: the last of a lossless
        stream, after which nothing may follow."""
        raise NotImplementedError

    def set_state(self, state: StreamState, now_ns: int) -> None:
        """The stream's new state, with a higher revision: sent now if ready, and on every
        connection from now on."""
        raise NotImplementedError

    def receive(self, parts: list[bytes], now_ns: int) -> None:
        """A message from the socket of this epoch. Never raises for what is in it."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> None:
        """Let time pass: heartbeat, liveness, progress, retries. Receive before ticking."""
        raise NotImplementedError

    def next_wakeup_ns(self, now_ns: int) -> int:
        """When `tick` must be called at the latest; never before `now_ns`."""
        raise NotImplementedError

    def socket_lost(self, reason: str, now_ns: int) -> None:
        """The socket of this epoch is gone (refused, reset); quicker than waiting for silence."""
        raise NotImplementedError

    def reconnect(self, now_ns: int, reason: str = "asked to connect again") -> None:
        """Start a new epoch now, whatever the state and the back-off (not when closed)."""
        raise NotImplementedError

    def close(self, now_ns: int) -> None:
        """Say BYE and stop for good."""
        raise NotImplementedError

    def outgoing(self) -> list[Parts]:
        """The messages to send, in order; each is handed out once."""
        raise NotImplementedError

    def events(self) -> list[ClientEvent]:
        """What happened since the last call, in order."""
        raise NotImplementedError
