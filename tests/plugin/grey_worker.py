"""A worker of the tests' own: real sockets and links, no torch. It answers with grey pictures."""

import threading
import time
from typing import Any

import numpy as np

from brushcast import codec
from brushcast.frame import Pixels, Size
from brushcast.packing import Packer, Unpacker
from brushcast.wire.events import FrameArrived, Opened, StateSet
from brushcast.wire.messages import Codec, Header, Welcome, WorkerStatus
from brushcast.wire.server_link import ServerLink
from brushcast.wire.sockets import RouterSocket, open_context, parse_endpoint


class GreyWorker:
    """Answers every frame with a grey picture; can be told to be rude."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:0") -> None:
        self._context = open_context()
        self._router = RouterSocket(self._context, parse_endpoint(endpoint))
        self.endpoint = str(self._router.endpoint)
        self.states: list[Any] = []
        self.answering = True
        self.raw_bytes_instead = False
        self.dies_of = ""  # a preset's name: the first picture of it is the end
        self.says: tuple[str, str] | None = None  # a fault's code and message, of every state
        self.likes = Size(512, 288)  # before a bridge has connected
        self.codecs = "raw jpeg"  # before that, too; H.264 is answered in kind
        self.came: list[Codec] = []
        self._packer, self.unpacker = Packer(), Unpacker(lambda: None)
        self._keys = 0
        self.status = WorkerStatus()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grey-worker")
        self._thread.start()

    def _run(self) -> None:
        links: dict[bytes, ServerLink] = {}
        newest: ServerLink | None = None
        while not self._stop.is_set():
            self._router.wait(20_000_000)
            while (received := self._router.receive()) is not None:
                peer, parts = received
                now_ns = time.monotonic_ns()
                link = links.setdefault(peer, ServerLink(self._welcome(), now_ns=now_ns))
                link.set_status(self.status)
                link.receive(parts, now_ns)
                self._serve(link)
                if link.open:
                    newest = link
            if newest is not None:
                for header, picture in self.unpacker.take(time.monotonic_ns()):
                    self._answer(newest, header, picture)
            for peer, link in links.items():
                for message in link.outgoing():
                    self._router.send(peer, message)

    def _welcome(self) -> Welcome:
        return Welcome(
            worker="grey", version="0", engine="grey", device="cpu", device_name="a test",
            chunk_frames=1, credit_frames=2, warmup_ms=700,
            default_width=self.likes.width, default_height=self.likes.height, codecs=self.codecs,
        )  # fmt: skip

    def _serve(self, link: ServerLink) -> None:
        for event in link.events():
            if isinstance(event, Opened | StateSet):
                if isinstance(event, Opened) or event.state.result_keys != self._keys:
                    self._packer.restart()
                self._keys = event.state.result_keys
                self.states.append(event.state)
                if self.says is not None:
                    link.fault(*self.says, fatal=False, now_ns=time.monotonic_ns())
            elif isinstance(event, FrameArrived) and self.dies_of == self.states[-1].preset:
                self._stop.set()
            elif isinstance(event, FrameArrived) and self.answering:
                self.came.append(event.header.codec)
                self.unpacker.put(event.header, event.payload)

    def _answer(self, link: ServerLink, header: Header, picture: Pixels | None) -> None:
        if picture is None:
            reason = "undecodable"
            link.refuse(epoch=header.epoch, seq=header.seq, reason=reason, key_wanted=True)
            return
        payload: bytes | memoryview
        if self.raw_bytes_instead:  # a JPEG that is none, as a broken or hostile worker might send
            payload, kind = b"\xff\xd8 no picture \xff\xd9", Codec.JPEG
        elif header.codec is Codec.H264:
            kind = Codec.H264
            payload = self._packer.pack(_grey(header), kind, picture_bytes=4000)
        else:
            kind = Codec.RAW
            payload = codec.encode(_grey(header), kind)
        link.send_result(
            payload, epoch=header.epoch, seq=header.seq, revision=header.revision,
            width=header.width, height=header.height, codec=kind,
        )  # fmt: skip

    @property
    def dead(self) -> bool:
        return not self._thread.is_alive()

    def die(self) -> None:
        self._stop.set()
        self._thread.join()
        self.unpacker.close()
        self._router.close(0)
        self._context.destroy(linger=0)


def _grey(header: Header) -> Pixels:
    level = np.uint8(60 + header.seq % 120)
    return np.full((header.height, header.width, 3), level)
