"""A ClientLink with a fake clock and a worker that says what the test wants it to say."""

from __future__ import annotations

from random import Random
from typing import Any

from brushcast.wire.link import LOCAL_TIMES, ClientLink, ClientState, LinkTimes
from brushcast.wire.messages import (
    Codec,
    Control,
    Flags,
    Header,
    Kind,
    Message,
    PixelFormat,
    pack,
    pack_control,
    parse,
)
from tests.plugin.wire.samples import PICTURE, plain, state, welcome

MS = 1_000_000


class Script:
    """One link, 4x2 pictures whose captured_ns is their seq."""

    def __init__(self, times: LinkTimes = LOCAL_TIMES, **changes: Any) -> None:
        self.now = 5_000 * MS
        stream = state(**changes)
        self.link = ClientLink(stream, client="test", version="1", times=times, rng=Random(1))
        self.seq = 0

    def connect(self, credit_frames: int = 4, warmup_ms: int = 5000) -> Script:
        """Start, or wait for the next attempt, and welcome it."""
        if self.link.state is ClientState.IDLE:
            self.link.start(self.now)
        while self.link.state is not ClientState.CONNECTING:
            self.wait(10)
        hello = self.sent()[-1].header
        assert hello.kind is Kind.HELLO
        body = welcome(credit_frames, warmup_ms=warmup_ms, revision=hello.revision)
        self.say(Kind.WELCOME, body)
        assert self.link.ready
        return self

    def warm(self) -> Script:
        """The first result has come."""
        assert self.frame()
        self.result(self.seq - 1)
        self.link.events()
        return self

    def say(self, kind: Kind, body: Control | None = None, **fields: Any) -> None:
        """The worker sends a message without a picture."""
        base = {"session": self.link.session, "epoch": self.link.epoch, **fields}
        self.link.receive(plain(pack_control(Header(kind=kind, **base), body)), self.now)

    def result(self, seq: int, *, flags: Flags = Flags.NONE, **fields: Any) -> None:
        """The worker sends a result; REFUSED has no picture."""
        base = {
            "session": self.link.session,
            "epoch": self.link.epoch,
            "revision": self.link.stream_state.revision,
            "captured_ns": seq,
            **fields,
        }
        if flags & Flags.REFUSED:
            self.say(Kind.RESULT, flags=flags, seq=seq, **base)
            return
        header = Header(
            kind=Kind.RESULT,
            flags=flags,
            seq=seq,
            width=4,
            height=2,
            stride=12,
            pixel_format=PixelFormat.RGB8,
            codec=Codec.RAW,
            **base,
        )
        self.link.receive(plain(pack(header, PICTURE)), self.now)

    def frame(self, *, end: bool = False) -> bool:
        """The bridge sends the next frame."""
        seq = self.seq
        sent = self.link.send_frame(
            PICTURE,
            seq=seq,
            captured_ns=seq,
            width=4,
            height=2,
            codec=Codec.RAW,
            now_ns=self.now,
            end=end,
        )
        self.seq += sent
        return sent

    def wait(self, ms: int, *, alive: bool = False) -> None:
        """Time passes, the link ticking at its own wake-ups; `alive`: pings are answered."""
        until = self.now + ms * MS
        while self.now < until:
            wakeup = self.link.next_wakeup_ns(self.now)
            assert wakeup >= self.now
            self.now = min(until, max(wakeup, self.now + 1))
            self.link.tick(self.now)
            if alive and self.link.ready:
                self.say(Kind.PING)  # of no use to a bridge, but a sign of life

    def sent(self) -> list[Message]:
        """What the bridge has sent since the last call."""
        return [parse(plain(parts)) for parts in self.link.outgoing()]
