"""ClientLink: the bridge's side of the connection to a worker, as a pure state machine.

No socket, no clock, no thread: every method takes `now_ns` (monotonic), randomness is given. One
owner thread. What is to be sent comes out of `outgoing()`, what happened out of `events()`; which
socket must be open follows from `wanted_epoch`. sockets.Dialler drives it.

    IDLE ─start→ CONNECTING ─WELCOME→ READY          a new epoch and the full state on every
                  ↑      │ no answer    │ silent, no progress, BYE, socket lost       connection
                  └─ WAITING ←──────────┘            back-off with full jitter, for ever
    any ─fatal FAULT, other major version→ REFUSED   tried again only slowly, or when asked
    any ─close→ CLOSED

The worker's side is server_link.ServerLink; the events and time limits are in events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from brushcast.errors import MalformedMessage, VersionMismatch
from brushcast.wire.bodies import MAX_CREDIT_FRAMES
from brushcast.wire.events import (
    LOCAL_TIMES,
    REMOTE_TIMES,
    ClientEvent,
    ClientState,
    Connected,
    Faulted,
    FrameRefused,
    LinkTimes,
    Lost,
    Refused,
    Result,
    StateAcknowledged,
    StatusReceived,
)
from brushcast.wire.messages import (
    Codec,
    Control,
    Fault,
    Flags,
    Header,
    Hello,
    Kind,
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

__all__ = [
    "LOCAL_TIMES",
    "REMOTE_TIMES",
    "ClientEvent",
    "ClientLink",
    "ClientState",
    "Connected",
    "Faulted",
    "FrameRefused",
    "LinkTimes",
    "Lost",
    "Refused",
    "Result",
    "StateAcknowledged",
    "StatusReceived",
]

MS = 1_000_000  # nanoseconds
SLOW_STEPS = 3  # a worker that needs this many of its own measured steps for a chunk is hung
REFUSING_NS = 250 * MS  # refusals nearer than this to each other are one spell without progress
MIN_BACKOFF_MS = 20  # full jitter may draw 0: a refused connection must not become a busy loop


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
        self.welcome: Welcome | None = None  # of this epoch
        self.status: WorkerStatus | None = None  # of this epoch
        self.acknowledged_revision: int | None = None  # in this epoch
        self.round_trip_ns: int | None = None
        self.connections = 0  # welcomes so far: one less than that are reconnects
        self.refusal = ""  # why the link is REFUSED, for people
        self.dropped: Counter[str] = Counter()  # messages and frames that went nowhere, by reason
        self._client, self._version, self._rng = client, version, rng
        self._window = MAX_CREDIT_FRAMES
        self._in_flight: dict[int, int] = {}  # seq → captured_ns, oldest first
        self._outgoing: list[Parts] = []
        self._events: list[ClientEvent] = []
        self._attempts = 0  # since the last stable connection
        self._deadline_ns = 0  # of the handshake (CONNECTING) or of the retry (WAITING, REFUSED)
        self._hello_revision = 0
        self._ready_ns = self._heard_ns = self._ping_ns = 0
        self._set_ns = 0  # the last SET
        self._last_seq, self._ended = -1, False
        self._cold_revision = 0  # a result of this revision shows that the worker is warm
        self._warm = False
        self._owing_ns: int | None = None  # since when the worker owes a result
        self._refused_ns = 0  # the last refusal of a frame

    @property
    def ready(self) -> bool:
        """Frames may be sent (given credit)."""
        return self.state is ClientState.READY

    @property
    def credit(self) -> int:
        """How many frames may be sent now."""
        if self.welcome is None or not self.ready:
            return 0
        return max(0, min(self.welcome.credit(self.status), self._window) - len(self._in_flight))

    @property
    def in_flight(self) -> int:
        """How many frames have been sent without an answer."""
        return len(self._in_flight)

    @property
    def wanted_epoch(self) -> int | None:
        """The epoch whose own, fresh socket must be open now; None: no socket."""
        return self.epoch if self.state in (ClientState.CONNECTING, ClientState.READY) else None

    def start(self, now_ns: int) -> None:
        """Begin to connect."""
        assert self.state is ClientState.IDLE, self.state
        self._connect(now_ns)

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
        if self.credit <= 0:
            return False
        if (width, height) != (self.stream_state.width, self.stream_state.height):
            self.dropped["wrong_size"] += 1
            return False
        assert seq > self._last_seq, (seq, self._last_seq)
        assert not self._ended, "a frame after the end"
        header = Header(
            kind=Kind.FRAME,
            flags=Flags.END if end else Flags.NONE,
            session=self.session,
            epoch=self.epoch,
            revision=self.stream_state.revision,
            seq=seq,
            captured_ns=captured_ns,
            deadline_ms=deadline_ms,
            width=width,
            height=height,
            stride=3 * width,
            pixel_format=PixelFormat.RGB8,
            codec=codec,
        )
        self._outgoing.append(pack(header, payload))
        self._in_flight[seq] = captured_ns
        self._last_seq, self._ended = seq, end
        going_on = self._owing_ns is not None and now_ns < self._refused_ns + REFUSING_NS
        if self._owes(now_ns) and not going_on:
            self._owing_ns = now_ns
        return True

    def limit(self, frames: int, now_ns: int) -> None:
        """So many frames may be on their way at most, if the worker grants them."""
        self._window = frames
        if self._owing_ns is None and self._owes(now_ns):
            self._owing_ns = now_ns

    def set_state(self, state: StreamState, now_ns: int) -> None:
        """The stream's new state, with a higher revision: sent now if ready, and on every
        connection from now on."""
        old = self.stream_state
        assert state.revision > old.revision, (state.revision, old.revision)
        self.stream_state = state
        if state.prepared_for != old.prepared_for:
            self._cold_revision, self._warm = state.revision, False
        if self.ready:
            self._send_state(now_ns)

    def receive(self, parts: Sequence[bytes], now_ns: int) -> None:
        """A message from the socket of this epoch. Never raises for what is in it."""
        if self.wanted_epoch is None:
            self.dropped["not_connected"] += 1
            return
        try:
            message = parse(parts)
        except VersionMismatch as error:
            self._refuse(str(error), now_ns)
            return
        except MalformedMessage:
            self.dropped["malformed"] += 1
            return
        header, body = message.header, message.body
        mine = (header.session, header.epoch) == (self.session, self.epoch)
        # A worker that could not read our HELLO answers for no session.
        nameless = header.kind is Kind.FAULT and header.session == header.epoch == 0
        if not mine and not nameless:
            self.dropped["other_epoch"] += 1
            return
        self._heard_ns = now_ns
        match body:
            case Fault():
                self._on_fault(body, now_ns)
            case Welcome() if self.state is ClientState.CONNECTING:
                self._on_welcome(body, now_ns)
            case Pong() if self.ready:
                self._on_pong(header, body, now_ns)
            case bytes() if header.kind is Kind.RESULT and self.ready:
                self._on_result(header, body, now_ns)
            case None if header.kind is Kind.BYE:
                self._lose("the worker said goodbye", now_ns)
            case _:
                self.dropped["unexpected"] += 1

    def tick(self, now_ns: int) -> None:
        """Let time pass: heartbeat, liveness, progress, retries. Receive before ticking."""
        if self.state is ClientState.READY:
            self._tick_ready(now_ns)
        elif self.state is ClientState.CONNECTING:
            if now_ns >= self._deadline_ns:
                self._lose("the worker does not answer", now_ns)
        elif self.state in (ClientState.WAITING, ClientState.REFUSED):
            if now_ns >= self._deadline_ns:
                self._connect(now_ns)

    def next_wakeup_ns(self, now_ns: int) -> int:
        """When `tick` must be called at the latest; never before `now_ns`."""
        if self.state in (ClientState.IDLE, ClientState.CLOSED):
            return now_ns + self.times.heartbeat_ms * MS
        if self.state is not ClientState.READY:
            return max(now_ns, self._deadline_ns)
        due = [self._ping_ns, self._heard_ns + self.times.liveness_ns]
        if self._owing_ns is not None and self._owes(now_ns):
            due.append(self._owing_ns + self._progress_limit_ns)
        return max(now_ns, min(due))

    def socket_lost(self, reason: str, now_ns: int) -> None:
        """The socket of this epoch is gone (refused, reset); quicker than waiting for silence."""
        if self.wanted_epoch is not None:
            self._lose(reason, now_ns)

    def reconnect(self, now_ns: int, reason: str = "asked to connect again") -> None:
        """Start a new epoch now, whatever the state and the back-off (not when closed)."""
        if self.state is ClientState.CLOSED:
            return
        if self.wanted_epoch is not None:
            self._lose(reason, now_ns)
        self._attempts = 0
        self._connect(now_ns)

    def close(self, now_ns: int) -> None:
        """Say BYE and stop for good."""
        self._outgoing.clear()
        if self.ready:
            self._send(Kind.BYE)
        self.state = ClientState.CLOSED

    def outgoing(self) -> list[Parts]:
        """The messages to send, in order; each is handed out once."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def events(self) -> list[ClientEvent]:
        """What happened since the last call, in order."""
        taken, self._events = self._events, []
        return taken

    # Connecting and losing

    def _connect(self, now_ns: int) -> None:
        self.epoch += 1
        self.state = ClientState.CONNECTING
        self._forget_connection()
        state = self.stream_state
        self._hello_revision = self._cold_revision = state.revision
        self._deadline_ns = now_ns + self.times.handshake_ms * MS
        self._send(Kind.HELLO, Hello(client=self._client, version=self._version, state=state))

    def _forget_connection(self) -> tuple[int, ...]:
        """Everything that belongs to one epoch; returns the frames that were on their way."""
        seqs = tuple(self._in_flight)
        self._in_flight.clear()
        self._outgoing.clear()
        self.welcome = self.status = self.acknowledged_revision = self.round_trip_ns = None
        self._last_seq, self._ended = -1, False
        self._warm, self._owing_ns = False, None
        return seqs

    def _lose(self, reason: str, now_ns: int, *, hung: bool = False) -> None:
        was_ready = self.ready
        self.state = ClientState.WAITING
        times = self.times
        ceiling_ms = min(times.backoff_limit_ms, times.backoff_first_ms << min(self._attempts, 16))
        delay_ms = max(float(MIN_BACKOFF_MS), self._rng.uniform(0, ceiling_ms))
        self._attempts += 1
        self._deadline_ns = now_ns + round(delay_ms * MS)
        self._events.append(Lost(reason, self._forget_connection(), was_ready, hung))

    def _refuse(self, message: str, now_ns: int) -> None:
        self.state = ClientState.REFUSED
        self.refusal = message
        self._deadline_ns = now_ns + self.times.refused_retry_ms * MS
        self._events.append(Refused(message, self._forget_connection()))

    # Messages

    def _on_welcome(self, welcome: Welcome, now_ns: int) -> None:
        if welcome.revision != self._hello_revision:
            self.dropped["wrong_revision"] += 1
            return
        self.state = ClientState.READY
        self.welcome = welcome
        self.refusal = ""
        self.connections += 1
        self._ready_ns = now_ns
        self._ping_ns = now_ns + self.times.heartbeat_ms * MS
        self._events.append(Connected(self.epoch, welcome))
        self._acknowledge(welcome.revision)
        if self.stream_state.revision > welcome.revision:
            self._send_state(now_ns)

    def _on_result(self, header: Header, payload: bytes, now_ns: int) -> None:
        captured_ns = self._in_flight.pop(header.seq, None)
        if captured_ns is None:
            self.dropped["unknown_seq"] += 1
            return
        if header.flags & Flags.REFUSED:  # returns its credit, but is no progress
            self._refused_ns = now_ns
            key_wanted = bool(header.flags & Flags.KEY_WANTED)
            self._events.append(FrameRefused(header.seq, captured_ns, key_wanted))
            return
        self._owing_ns = now_ns if self._owes(now_ns) else None
        if header.captured_ns != captured_ns or header.revision > self.stream_state.revision:
            self.dropped["wrong_echo"] += 1
            return
        if not self._warm and header.revision >= self._cold_revision:
            self._warm = True
            self._ping_ns = min(self._ping_ns, now_ns)  # ask at once how long its steps take
        self._acknowledge(header.revision)
        self._events.append(Result(header, payload))

    def _on_pong(self, header: Header, pong: Pong, now_ns: int) -> None:
        self.status = pong.status
        passed_ns = 0
        if header.captured_ns:
            passed_ns = max(0, now_ns - header.captured_ns)
            self.round_trip_ns = passed_ns
            # Nothing gets lost on a healthy connection; where a SET did, this heals it.
            if pong.revision < self.stream_state.revision and header.captured_ns > self._set_ns:
                self._send_state(now_ns)
        self._acknowledge(pong.revision)
        self._events.append(StatusReceived(pong.status, pong.revision, passed_ns, pong.since_ms))

    def _on_fault(self, fault: Fault, now_ns: int) -> None:
        if fault.fatal:
            self._refuse(fault.message, now_ns)
        else:
            self._events.append(Faulted(fault.code, fault.message))

    def _acknowledge(self, revision: int) -> None:
        known = self.acknowledged_revision
        if revision <= self.stream_state.revision and (known is None or revision > known):
            self.acknowledged_revision = revision
            self._events.append(StateAcknowledged(revision))

    def _send_state(self, now_ns: int) -> None:
        self._set_ns = now_ns
        self._send(Kind.SET, self.stream_state)

    # Time

    def _tick_ready(self, now_ns: int) -> None:
        if now_ns >= self._heard_ns + self.times.liveness_ns:
            silent = f"the worker is silent: nothing heard for {self.times.liveness_ns // MS} ms"
            self._lose(silent, now_ns, hung=True)
            return
        if self._owing_ns is not None and self._owes(now_ns):
            limit_ns = self._progress_limit_ns
            if now_ns >= self._owing_ns + limit_ns:
                stuck = f"the worker makes no progress: no result for {limit_ns // MS} ms"
                self._lose(stuck, now_ns, hung=True)
                return
        if now_ns >= self._ready_ns + self.times.stable_ms * MS:
            self._attempts = 0
        if now_ns >= self._ping_ns:
            self._ping_ns = now_ns + self.times.heartbeat_ms * MS
            self._outgoing.append(pack(self._header(Kind.PING, now_ns)))

    def _owes(self, now_ns: int) -> bool:
        """The worker has (or keeps refusing) all that it may have, so a result must come. Short of
        that it may rightly wait for the rest of a chunk."""
        refusing = now_ns < self._refused_ns + REFUSING_NS
        return bool(self._in_flight) and (self.credit == 0 or self._ended or refusing)

    @property
    def _progress_limit_ns(self) -> int:
        """How long the worker may owe a result: a slow worker is not a dead one, so its own
        measured step counts; the first chunk of an epoch or of a new look may take longer."""
        times = self.times
        limit_ms = float(times.progress_ms)
        if self.stream_state.lossless:
            limit_ms = times.lossless_ms
        if not self._warm and self.welcome is not None:
            limit_ms = max(limit_ms, self.welcome.warmup_ms)
        elif self.status is not None:
            limit_ms = max(limit_ms, min(SLOW_STEPS * self.status.step_ms, times.lossless_ms))
        return round(limit_ms * MS)

    def _send(self, kind: Kind, body: Control | None = None) -> None:
        self._outgoing.append(pack_control(self._header(kind), body))

    def _header(self, kind: Kind, captured_ns: int = 0) -> Header:
        return Header(
            kind=kind,
            session=self.session,
            epoch=self.epoch,
            revision=self.stream_state.revision,
            captured_ns=captured_ns,
        )
