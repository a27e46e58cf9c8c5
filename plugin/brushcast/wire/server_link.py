"""ServerLink: the worker's side of one peer's connection, as a pure state machine.

No socket, no clock, no thread: every method takes `now_ns`. One owner thread. The server keeps one
ServerLink per peer (routing id of the ROUTER), makes it on the peer's first message, and forgets it
once `expired`. A bridge that reconnects comes as a new peer with the same `session` and a higher
epoch: on Opened, the server closes any other link of that session (`close(now_ns, "new epoch")`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

from brushcast.errors import MalformedMessage, VersionMismatch
from brushcast.wire.bodies import MAX_FAULT_CHARACTERS
from brushcast.wire.events import (
    Closed,
    FrameArrived,
    Opened,
    ServerEvent,
    ServerTimes,
    StateSet,
)
from brushcast.wire.messages import (
    PROTOCOL,
    Codec,
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
    "Closed",
    "FrameArrived",
    "Opened",
    "ServerEvent",
    "ServerLink",
    "ServerTimes",
    "StateSet",
]

MS = 1_000_000  # nanoseconds


class ServerLink:
    """The worker's side of one peer. Owned by the link thread.

    Invariants: 0 <= in_flight <= the credit granted; every frame that arrives is answered at
    most once, and only in its own epoch; `state.revision` never falls within an epoch.
    """

    def __init__(self, welcome: Welcome, *, now_ns: int, times: ServerTimes | None = None) -> None:
        """welcome: what HELLO is answered with; its revision is filled in."""
        self.times = times or ServerTimes()
        self.session = 0
        self.epoch = 0
        self.state: StreamState | None = None
        self.expired = False
        self.banned = False  # sent too much rubbish: nothing is read from it any more
        self.dropped: Counter[str] = Counter()  # by reason
        self._welcome = welcome
        self._status = WorkerStatus()
        self._granted = welcome.credit_frames  # frames without an answer
        self._in_flight: dict[int, Header] = {}  # frames without an answer, by seq
        self._last_seq = -1
        self._ended = False
        self._heard_ns = self._opened_ns = now_ns
        self._malformed_ns: deque[int] = deque(maxlen=self.times.malformed_limit)
        self._outgoing: list[Parts] = []
        self._events: list[ServerEvent] = []

    @property
    def open(self) -> bool:
        """A stream is open."""
        return self.state is not None

    @property
    def heard_ns(self) -> int:
        """When the peer last said anything."""
        return self._heard_ns

    @property
    def in_flight(self) -> int:
        """How many accepted frames have no answer yet."""
        return len(self._in_flight)

    def receive(self, parts: Sequence[bytes], now_ns: int) -> None:
        """A message from this peer. Never raises for what is in it."""
        self._heard_ns, self.expired = now_ns, False
        if self.banned:
            self.dropped["banned"] += 1
            return
        try:
            message = parse(parts)
        except VersionMismatch as error:
            self.dropped["version"] += 1
            self.fault("version", str(error), fatal=True, now_ns=now_ns)
            return
        except MalformedMessage as error:
            self._on_malformed(str(error), now_ns)
            return
        header, body = message.header, message.body
        if isinstance(body, Hello):
            self._on_hello(header, body)
            return
        if self.state is None or (header.session, header.epoch) != (self.session, self.epoch):
            self._on_stranger(header)
            return
        match body:
            case bytes() if header.kind is Kind.FRAME:
                self._on_frame(header, body, now_ns)
            case StreamState():
                self._on_set(body)
            case None if header.kind is Kind.PING:
                self._pong(header)
            case None if header.kind is Kind.BYE:
                self._end("the bridge said goodbye")
            case _:
                self._on_malformed(f"{header.kind.name} from a bridge", now_ns)

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
        frame = self._answer(epoch, seq)
        if frame is None:
            return False
        header = Header(
            kind=Kind.RESULT,
            flags=(frame.flags & Flags.END) | (Flags.REUSED if reused else Flags.NONE),
            session=self.session,
            epoch=epoch,
            revision=revision,
            seq=seq,
            captured_ns=frame.captured_ns,
            deadline_ms=frame.deadline_ms,
            width=width,
            height=height,
            stride=3 * width,
            pixel_format=PixelFormat.RGB8,
            codec=codec,
        )
        self._outgoing.append(pack(header, payload))
        return True

    def refuse(self, *, epoch: int, seq: int, reason: str, key_wanted: bool = False) -> bool:
        """Answer a frame without a picture: it was dropped, counted as `reason`. key_wanted: and
        what follows cannot be decoded until a keyframe comes. False as in send_result."""
        frame = self._answer(epoch, seq)
        if frame is None:
            return False
        self._refuse(frame, reason, Flags.KEY_WANTED if key_wanted else Flags.NONE)
        return True

    def set_status(self, status: WorkerStatus) -> None:
        """What the next PONG will carry; sent at once where it changes what is to be sent. A credit
        that was granted is not taken back before the bridge can know."""
        before, self._status = self._status, status
        self._granted = max(self._welcome.credit(status), self._welcome.credit(before))
        told = (before.takes, before.chunk_frames) != (status.takes, status.chunk_frames)
        if told and self.open:
            self._pong(self._header(Kind.PING))

    def fault(self, code: str, message: str, *, fatal: bool, now_ns: int) -> None:
        """Tell the peer what cannot be done. fatal: the stream is closed, and the bridge does not
        connect again before something changes."""
        text = "".join(c if c.isprintable() else " " for c in message)[:MAX_FAULT_CHARACTERS]
        body = Fault(code=code, message=text, fatal=fatal)
        self._outgoing.append(pack_control(self._header(Kind.FAULT), body))
        if fatal:
            self._end(f"fault {code}: {text}")

    def close(self, now_ns: int, reason: str = "the worker stops") -> None:
        """Say BYE and close the stream; the bridge will connect again."""
        if self.open:
            self._outgoing.append(pack(self._header(Kind.BYE)))
            self._end(reason)

    def tick(self, now_ns: int) -> None:
        """Let time pass: silence closes the stream and expires the link."""
        if now_ns >= self._heard_ns + self.times.idle_ms * MS:
            self.close(now_ns, f"nothing heard for {self.times.idle_ms} ms")
            self.expired = True

    def next_wakeup_ns(self, now_ns: int) -> int:
        """When `tick` must be called at the latest; never before `now_ns`."""
        return max(now_ns, self._heard_ns + self.times.idle_ms * MS)

    def outgoing(self) -> list[Parts]:
        """The messages to send to this peer, in order; each is handed out once."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def events(self) -> list[ServerEvent]:
        """What happened since the last call, in order."""
        taken, self._events = self._events, []
        return taken

    # Messages

    def _on_hello(self, header: Header, hello: Hello) -> None:
        if header.session == self.session and header.epoch <= self.epoch:
            self.dropped["old_epoch"] += 1
            return
        self._end("a new epoch")
        self.session, self.epoch, self.state = header.session, header.epoch, hello.state
        self._last_seq, self._ended = -1, False
        self._opened_ns = self._heard_ns
        self._status, self._granted = WorkerStatus(), self._welcome.credit_frames
        welcome = replace(self._welcome, revision=hello.state.revision)
        self._outgoing.append(pack_control(self._header(Kind.WELCOME), welcome))
        self._events.append(Opened(self.session, self.epoch, hello))

    def _on_stranger(self, header: Header) -> None:
        """A well-formed message of no open stream: the bridge should say HELLO again."""
        if header.session == self.session and header.epoch < self.epoch:
            self.dropped["old_epoch"] += 1
            return
        self.dropped["no_session"] += 1
        if header.kind is not Kind.BYE:
            goodbye = Header(kind=Kind.BYE, session=header.session, epoch=header.epoch)
            self._outgoing.append(pack(goodbye))

    def _on_frame(self, header: Header, payload: bytes, now_ns: int) -> None:
        assert self.state is not None
        if header.seq <= self._last_seq:
            self._on_malformed(f"frame {header.seq} after {self._last_seq}", now_ns)
            return
        self._last_seq = header.seq
        if self._ended:
            self._refuse(header, "after_end")
        elif len(self._in_flight) >= self._granted:
            self._refuse(header, "over_credit")
        elif header.revision != self.state.revision:
            self._refuse(header, "wrong_revision")
        elif (header.width, header.height) != (self.state.width, self.state.height):
            self._refuse(header, "wrong_size")
        else:
            self._ended = bool(header.flags & Flags.END)
            self._in_flight[header.seq] = header
            self._events.append(FrameArrived(header, payload))

    def _on_set(self, state: StreamState) -> None:
        assert self.state is not None
        if state.revision > self.state.revision:
            self.state = state
            self._events.append(StateSet(self.session, self.epoch, state))
        else:
            self.dropped["old_revision"] += 1
        self._pong(self._header(Kind.SET))

    def _pong(self, asked: Header) -> None:
        assert self.state is not None
        header = replace(self._header(Kind.PONG), seq=asked.seq, captured_ns=asked.captured_ns)
        since_ms = (self._heard_ns - self._opened_ns) / MS
        body = Pong(revision=self.state.revision, status=self._status, since_ms=since_ms)
        self._outgoing.append(pack_control(header, body))

    def _on_malformed(self, what: str, now_ns: int) -> None:
        self.dropped["malformed"] += 1
        times_ns = self._malformed_ns
        times_ns.append(now_ns)
        window_ns = self.times.malformed_window_ms * MS
        if len(times_ns) == times_ns.maxlen and now_ns - times_ns[0] <= window_ns:
            self.banned = True
            message = f"{len(times_ns)} malformed messages; the last: {what}"
            self.fault("malformed", message, fatal=True, now_ns=now_ns)

    # Answers

    def _answer(self, epoch: int, seq: int) -> Header | None:
        frame = None
        if self.state is not None and epoch == self.epoch:
            frame = self._in_flight.pop(seq, None)
        if frame is None:
            self.dropped["late_result"] += 1
        return frame

    def _refuse(self, frame: Header, reason: str, more: Flags = Flags.NONE) -> None:
        self.dropped[reason] += 1
        header = replace(
            self._header(Kind.RESULT),
            flags=(frame.flags & Flags.END) | Flags.REFUSED | more,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
        )
        self._outgoing.append(pack(header))

    def _end(self, reason: str) -> None:
        if self.state is not None:
            self._events.append(Closed(self.session, self.epoch, reason))
        self.state = None
        self._in_flight.clear()

    def _header(self, kind: Kind) -> Header:
        revision = 0 if self.state is None else self.state.revision
        return Header(
            kind=kind,
            session=self.session,
            epoch=self.epoch,
            revision=revision,
            protocol=PROTOCOL,
        )
