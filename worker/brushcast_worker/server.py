"""The link thread: the listening socket, one ServerLink per peer, mail to and from the GPU thread.

A peer that sends nonsense costs nobody else anything: its link counts, warns and ignores it, and
pictures are decoded before they reach the GPU thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from brushcast.errors import MalformedMessage
from brushcast.frame import Frame, Pixels
from brushcast.packing import Packer, Unpacker
from brushcast.wire import events as wire
from brushcast.wire.messages import Codec, Flags, Header, Parts, Payload, Welcome
from brushcast.wire.server_link import ServerLink
from brushcast.wire.sockets import RouterSocket, Waker
from brushcast_worker.mail import (
    Arrived,
    Changed,
    Closed,
    Opened,
    Outbox,
    Painted,
    Problem,
    Refused,
    Status,
    Stream,
    ToGpu,
    ToLink,
)
from brushcast_worker.mode import mode_of

log = logging.getLogger(__name__)

MAX_STREAMS = 8
MAX_PEERS = 64  # connections that said something; those with a stream are never forgotten for it
LOSSLESS_DEADLINE_NS = 0  # the scheduler has a patience of its own for streams without deadlines
LONGEST_WAIT_NS = 250_000_000
# then results are sent first: a flood from one peer does not hold up another
MESSAGES_PER_TURN = 64
BACKLOG_MOST = 64  # messages that a peer does not read; credit keeps an honest one far below
RETRY_NS = 3_000_000


@dataclass(slots=True)
class Peer:
    """One routing id. codec: how its last frame came, and so how its results go. keys: as often it
    asked for a keyframe. backlog: what its socket did not take yet; a result that were dropped here
    would take its credit with it."""

    link: ServerLink
    unpacker: Unpacker
    packer: Packer = field(default_factory=Packer)
    stream: Stream | None = None
    codec: Codec = Codec.RAW
    keys: int = 0
    backlog: deque[Parts] = field(default_factory=deque)


class Server:
    """Owned by the link thread, which calls `run`."""

    def __init__(
        self,
        socket: RouterSocket,
        waker: Waker,
        *,
        welcome: Welcome,
        to_gpu: queue.Queue[ToGpu],
        mail: Outbox,
        clock_ns: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        self._socket = socket
        self._waker = waker
        self._welcome = welcome
        self._to_gpu = to_gpu
        self._clock_ns = clock_ns
        self._stop = stop
        self._mail = mail
        self._peers: dict[bytes, Peer] = {}
        self._by_stream: dict[Stream, bytes] = {}

    def run(self) -> None:
        """Until stopped; then every peer is told, so that its bridge looks for another worker at
        once."""
        while not self._stop.is_set():
            self._socket.wait(self._patience_ns(), self._waker)
            self._receive()
            self._unpack()
            self._deliver()
            self._tick()
            self._send()
        for peer in self._peers.values():
            peer.link.close(self._clock_ns())
            peer.unpacker.close()
        self._send()

    # ------------------------------------------------------------------ from the peers

    def _receive(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            message = self._socket.receive()
            if message is None:
                return
            address, parts = message
            peer = self._peers.get(address)
            if peer is None:
                self._make_room()
                link = ServerLink(self._welcome, now_ns=self._clock_ns())
                peer = Peer(link, Unpacker(self._waker.wake))
                self._peers[address] = peer
            peer.link.receive(parts, self._clock_ns())
            self._handle(address, peer)

    def _make_room(self) -> None:
        """For a new peer. Whoever connects again and again leaves one behind each time."""
        if len(self._peers) < MAX_PEERS:
            return
        oldest = min(
            (address for address, peer in self._peers.items() if peer.stream is None),
            key=lambda address: self._peers[address].link.heard_ns,
        )  # MAX_STREAMS is less, so there is one
        self._peers.pop(oldest).unpacker.close()

    def _handle(self, address: bytes, peer: Peer) -> None:
        for event in peer.link.events():
            if isinstance(event, wire.Opened):
                self._open(address, peer, event)
            elif isinstance(event, wire.StateSet):
                if peer.keys != event.state.result_keys:
                    peer.keys = event.state.result_keys
                    peer.packer.restart()
                if peer.stream is not None:
                    self._hand_over(peer, Changed(peer.stream, event.state))
            elif isinstance(event, wire.FrameArrived):
                self._frame(peer, event)
            elif isinstance(event, wire.Closed):
                log.info("stream %x closed: %s", event.session, event.reason)
                self._forget(peer)

    def _open(self, address: bytes, peer: Peer, event: wire.Opened) -> None:
        now_ns = self._clock_ns()
        for other in list(self._peers.values()):
            if other is not peer and other.stream is not None:
                if other.stream.session == event.session:
                    other.link.close(now_ns, "new epoch")
                    self._forget(other)
        self._forget(peer)
        if len(self._by_stream) >= MAX_STREAMS:
            message = f"this worker serves {MAX_STREAMS} streams already"
            peer.link.fault("busy", message, fatal=True, now_ns=now_ns)
            return
        peer.stream, peer.keys = Stream(event.session, event.epoch), event.state.result_keys
        self._by_stream[peer.stream] = address
        if "h264" in self._welcome.codecs.split():
            peer.unpacker.prepare()
        log.info("stream %x opened by %s", event.session, event.hello.client)
        self._hand_over(peer, Opened(peer.stream, event.state))

    def _frame(self, peer: Peer, event: wire.FrameArrived) -> None:
        header = event.header
        try:
            peer.unpacker.put(header, event.payload)
        except MalformedMessage as error:
            log.debug("a picture that cannot be decoded: %s", error)
            self._refuse(peer, header, "malformed")

    def _unpack(self) -> None:
        """Pictures that are decoded by now, on to the GPU thread."""
        for peer in self._peers.values():
            for header, pixels_HWC in peer.unpacker.take(self._clock_ns()):
                if pixels_HWC is None:
                    self._refuse(peer, header, "undecodable")
                else:
                    self._arrived(peer, header, pixels_HWC)

    def _refuse(self, peer: Peer, header: Header, reason: str) -> None:
        """No picture; and of a chain (H.264) nothing that follows, until it begins anew."""
        peer.link.refuse(
            epoch=header.epoch,
            seq=header.seq,
            reason=reason,
            key_wanted=header.codec is Codec.H264,
        )

    def _arrived(self, peer: Peer, header: Header, pixels_HWC: Pixels) -> None:
        if peer.stream is None:
            return
        peer.codec, now_ns = header.codec, self._clock_ns()
        letter = Arrived(
            stream=peer.stream,
            frame=Frame(pixels_HWC, header.seq, header.captured_ns),
            arrived_ns=now_ns,
            deadline_ns=now_ns + _allowed_ns(header, peer.link),
            end=bool(header.flags & Flags.END),
        )
        if not self._hand_over(peer, letter):
            peer.link.refuse(epoch=header.epoch, seq=header.seq, reason="busy")

    def _hand_over(self, peer: Peer, letter: ToGpu) -> bool:
        """To the GPU thread. A full box means that it hangs: what cannot be dropped ends the
        stream."""
        try:
            self._to_gpu.put_nowait(letter)
        except queue.Full:
            if not isinstance(letter, Arrived | Closed):
                peer.link.close(self._clock_ns(), "the worker does not keep up")
            return False
        return True

    def _forget(self, peer: Peer) -> None:
        peer.unpacker.close()  # at most one process for each stream that is open
        peer.packer.restart()
        if peer.stream is not None:
            self._by_stream.pop(peer.stream, None)
            self._hand_over(peer, Closed(peer.stream))
            peer.stream = None

    # ------------------------------------------------------------------ to the peers

    def _deliver(self) -> None:
        """The GPU thread's mail to the links."""
        for letter in self._mail.take():
            address = self._by_stream.get(letter.stream)
            if address is not None:
                self._answer(self._peers[address], letter)

    def _answer(self, peer: Peer, letter: ToLink) -> None:
        if isinstance(letter, Painted):
            height, width, _ = letter.pixels_HWC.shape
            wishes = peer.link.state
            payload: Payload = peer.packer.pack(
                letter.pixels_HWC,
                peer.codec,
                quality=wishes.result_quality if wishes else 0,
                picture_bytes=wishes.result_bytes if wishes else 0,
            )
            went = peer.link.send_result(
                payload,
                epoch=letter.stream.epoch,
                seq=letter.seq,
                revision=letter.revision,
                width=width,
                height=height,
                codec=peer.codec,
                reused=letter.reused,
            )
            if not went:
                peer.packer.restart()
        elif isinstance(letter, Refused):
            peer.link.refuse(epoch=letter.stream.epoch, seq=letter.seq, reason=letter.reason)
        elif isinstance(letter, Problem):
            now_ns = self._clock_ns()
            peer.link.fault(letter.code, letter.message, fatal=letter.fatal, now_ns=now_ns)
        elif isinstance(letter, Status):
            peer.link.set_status(letter.status)

    def _tick(self) -> None:
        now_ns = self._clock_ns()
        for address, peer in list(self._peers.items()):
            peer.link.tick(now_ns)
            self._handle(address, peer)
            revoked = not self._socket.admits(address)
            if revoked:
                message = "this machine's key was revoked at the worker: pair again"
                peer.link.fault("revoked", message, fatal=True, now_ns=now_ns)
            if peer.link.expired or revoked:
                self._forget(peer)
                self._send_to(address, peer)
                peer.unpacker.close()
                del self._peers[address]

    def _send(self) -> None:
        for address, peer in self._peers.items():
            self._send_to(address, peer)

    def _send_to(self, address: bytes, peer: Peer) -> None:
        peer.backlog.extend(peer.link.outgoing())
        while peer.backlog and self._socket.send(address, peer.backlog[0]):
            peer.backlog.popleft()
        if len(peer.backlog) > BACKLOG_MOST:
            peer.backlog.clear()
            peer.link.close(self._clock_ns(), "the bridge does not read")

    def _patience_ns(self) -> int:
        if any(peer.backlog for peer in self._peers.values()):
            return RETRY_NS
        now_ns = self._clock_ns()
        due_ns = [peer.link.next_wakeup_ns(now_ns) for peer in self._peers.values()]
        return max(0, min([LONGEST_WAIT_NS, *(due - now_ns for due in due_ns)]))


def _allowed_ns(header: Header, link: ServerLink) -> int:
    if header.deadline_ms:
        return header.deadline_ms * 1_000_000
    if link.state is not None and link.state.lossless:
        return LOSSLESS_DEADLINE_NS
    return mode_of(link.state.mode if link.state is not None else "").deadline_ns
