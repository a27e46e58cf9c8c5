"""Both links over a channel that loses, delays and breaks, but never reorders."""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from brushcast.wire.link import LOCAL_TIMES, ClientEvent, ClientLink, Lost, Result
from brushcast.wire.messages import Codec, Header, Kind, Pong, WorkerStatus, pack_control
from brushcast.wire.server_link import FrameArrived, Opened, ServerEvent, ServerLink
from tests.plugin.wire.samples import PICTURE, plain, state, welcome

MS = 1_000_000
CREDIT = 4


class BothSides(RuleBasedStateMachine):
    """Each epoch is a connection of its own, so a peer of its own for the worker."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000 * MS
        self.revision = self.seq = 1
        self.link = ClientLink(
            state(1), client="test", version="1", times=LOCAL_TIMES, rng=Random(3)
        )
        self.peers: dict[int, ServerLink] = {}
        self.to_worker: deque[tuple[int, list[bytes]]] = deque()
        self.to_bridge: deque[tuple[int, list[bytes]]] = deque()
        self.sent: dict[int, int] = {}  # seq → epoch
        self.surfaced: set[int] = set()
        self.arrived: list[tuple[int, int]] = []  # (epoch, seq) that the engine has
        self.link.start(self.now)
        self.settle()

    def settle(self) -> None:
        """Sockets: what is queued goes out; a socket that is not wanted any more is closed."""
        epoch = self.link.wanted_epoch
        self.to_worker = deque(item for item in self.to_worker if item[0] == epoch)
        self.to_bridge = deque(item for item in self.to_bridge if item[0] == epoch)
        if epoch is not None:
            self.to_worker += [(epoch, plain(parts)) for parts in self.link.outgoing()]
        for peer, server in self.peers.items():
            for happened in server.events():
                self.check_worker(peer, happened)
            replies = [(peer, plain(parts)) for parts in server.outgoing()]
            if peer == epoch:
                self.to_bridge += replies
        for event in self.link.events():
            self.check(event)

    def check_worker(self, peer: int, event: ServerEvent) -> None:
        if isinstance(event, Opened):
            for other, old in self.peers.items():
                if other != peer and old.session == event.session:
                    old.close(self.now, "new epoch")
        elif isinstance(event, FrameArrived):
            assert event.header.revision <= self.revision
            self.arrived.append((peer, event.header.seq))

    def check(self, event: ClientEvent) -> None:
        if isinstance(event, Result):
            assert event.header.epoch == self.link.epoch == self.sent[event.header.seq]
            assert event.header.seq not in self.surfaced
            self.surfaced.add(event.header.seq)
        elif isinstance(event, Lost):
            assert all(seq in self.sent and seq not in self.surfaced for seq in event.seqs)

    @rule(count=st.integers(1, 5))
    def reach_worker(self, count: int) -> None:
        for _ in range(min(count, len(self.to_worker))):
            peer, parts = self.to_worker.popleft()
            server = self.peers.setdefault(peer, ServerLink(welcome(CREDIT), now_ns=self.now))
            server.receive(parts, self.now)
        self.settle()

    @rule(count=st.integers(1, 5))
    def reach_bridge(self, count: int) -> None:
        for _ in range(min(count, len(self.to_bridge))):
            peer, parts = self.to_bridge.popleft()
            if peer == self.link.wanted_epoch:
                self.link.receive(parts, self.now)
        self.settle()

    @rule(which=st.sampled_from(["to_worker", "to_bridge"]))
    def lose(self, which: str) -> None:
        queue: deque[tuple[int, list[bytes]]] = getattr(self, which)
        if queue:
            queue.popleft()

    @rule(count=st.integers(1, 6))
    def send_frames(self, count: int) -> None:
        for _ in range(count):
            before = self.link.credit
            sent = self.link.send_frame(
                PICTURE,
                seq=self.seq,
                captured_ns=self.now,
                width=4,
                height=2,
                codec=Codec.RAW,
                now_ns=self.now,
            )
            assert sent == (before > 0)
            if sent:
                self.sent[self.seq] = self.link.epoch
                self.seq += 1
        self.settle()

    @rule(refused=st.booleans(), data=st.data())
    def answer(self, refused: bool, data: st.DataObject) -> None:
        """The engine answers any frame that it ever got: of an old epoch, or twice, too."""
        if not self.arrived:
            return
        epoch, seq = data.draw(st.sampled_from(self.arrived))
        self.answer_one(epoch, seq, refused)
        self.settle()

    def answer_one(self, epoch: int, seq: int, refused: bool) -> None:
        server = self.peers.get(max(self.peers, default=0))
        if server is None:
            return
        if refused:
            server.refuse(epoch=epoch, seq=seq, reason="late")
        else:
            revision = server.state.revision if server.state else 0
            server.send_result(
                PICTURE, epoch=epoch, seq=seq, revision=revision, width=4, height=2, codec=Codec.RAW
            )

    @rule(strength=st.floats(0, 1))
    def change_state(self, strength: float) -> None:
        self.revision += 1
        self.link.set_state(state(self.revision, strength=strength), self.now)
        self.settle()

    @rule(ms=st.sampled_from([1, 30, 200, 700, 1100, 3100, 4100]))
    def wait(self, ms: int) -> None:
        self.now += ms * MS
        self.link.tick(self.now)
        for peer, server in list(self.peers.items()):
            server.tick(self.now)
            if server.expired and peer != self.link.wanted_epoch:
                self.settle()
                del self.peers[peer]
        self.settle()

    @precondition(lambda self: self.link.wanted_epoch is not None)
    @rule()
    def break_connection(self) -> None:
        self.link.socket_lost("reset", self.now)
        self.settle()

    @rule()
    def restart_worker(self) -> None:
        """Its process dies: the sockets break, and it remembers nothing."""
        self.peers.clear()
        self.arrived.clear()
        self.link.socket_lost("reset", self.now)
        self.settle()

    @rule()
    def ask_to_reconnect(self) -> None:
        self.link.reconnect(self.now)
        self.settle()

    @rule(epochs=st.integers(1, 3), kind=st.sampled_from([Kind.BYE, Kind.PONG]))
    def say_something_old(self, epochs: int, kind: Kind) -> None:
        """A message of an older epoch comes through the newest connection after all."""
        before = self.link.state
        pong = Pong(revision=0, status=WorkerStatus())
        old = Header(kind=kind, session=self.link.session, epoch=max(0, self.link.epoch - epochs))
        parts = pack_control(old, pong if kind is Kind.PONG else None)
        self.link.receive(plain(parts), self.now)
        assert self.link.state is before
        self.settle()

    @invariant()
    def credit_stays_within_its_bounds(self) -> None:
        assert 0 <= self.link.credit <= CREDIT
        assert 0 <= self.link.in_flight <= CREDIT
        assert all(0 <= server.in_flight <= CREDIT for server in self.peers.values())

    @invariant()
    def the_worker_never_knows_more_than_the_bridge(self) -> None:
        for server in self.peers.values():
            assert server.state is None or server.state.revision <= self.revision

    def teardown(self) -> None:
        """Left alone on a channel that works, both sides agree again, and pictures come."""
        surfaced = len(self.surfaced)
        for _ in range(1200):
            self.wait(25)
            self.send_frames(1)
            self.reach_worker(100)
            for epoch, seq in self.arrived:
                self.answer_one(epoch, seq, refused=False)
            self.arrived.clear()
            self.settle()
            self.reach_bridge(100)
            server = self.peers.get(self.link.epoch)
            agreed = server is not None and server.state == self.link.stream_state
            if agreed and self.link.ready and len(self.surfaced) > surfaced:
                assert self.link.acknowledged_revision == self.revision
                return
        raise AssertionError("never ready again")
