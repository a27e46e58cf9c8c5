"""Mail: what the link thread and the GPU thread tell each other, and the boxes that carry it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from brushcast.frame import Frame, Pixels
from brushcast.wire.messages import StreamState, WorkerStatus

MAIL_MOST = 1024  # credit bounds what is under way: 8 streams of 8 frames, and their changes


@dataclass(frozen=True, slots=True)
class Stream:
    """Names a stream within this process: a bridge's session in one of its epochs."""

    session: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Opened:
    """To the GPU thread: a stream begins, cold."""

    stream: Stream
    state: StreamState


@dataclass(frozen=True, slots=True)
class Changed:
    """To the GPU thread: the bridge wants something else of the stream; holds for the pictures that
    follow."""

    stream: Stream
    state: StreamState


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """To the GPU thread: a picture. `deadline_ns`: when nobody wants its result any more, on this
    host's clock; `end`: the last one of a lossless stream."""

    stream: Stream
    frame: Frame
    arrived_ns: int
    deadline_ns: int
    end: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """To the GPU thread: forget the stream; nothing more is said about it."""

    stream: Stream


ToGpu = Opened | Changed | Arrived | Closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """To the link thread: a picture's result, made with that revision of the stream's state."""

    stream: Stream
    seq: int
    revision: int
    pixels_HWC: Pixels
    reused: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """To the link thread: this picture will get no result. It was counted as `reason`."""

    stream: Stream
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """To the link thread: what the user should know. fatal: the stream is over."""

    stream: Stream
    code: str
    message: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Status:
    """To the link thread: how the stream fares, about once a second."""

    stream: Stream
    status: WorkerStatus


ToLink = Painted | Refused | Problem | Status


class Outbox:
    """Mail for the link thread. `post` is called by the GPU thread, `take` by the link thread."""

    def __init__(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """wake: gets the link thread out of its poll."""
        self._box: queue.Queue[ToLink] = queue.Queue(maxsize=MAIL_MOST)
        self._wake = wake
        self._stop = stop

    def post(self, letter: ToLink) -> None:
        """Waits while the box is full, unless everything stops."""
        while not self._stop.is_set():
            try:
                self._box.put(letter, timeout=0.2)
            except queue.Full:
                continue
            self._wake()
            return

    def take(self) -> Iterator[ToLink]:
        """What has arrived, oldest first; does not wait."""
        while True:
            try:
                yield self._box.get_nowait()
            except queue.Empty:
                return


def new_inbox() -> queue.Queue[ToGpu]:
    """The GPU thread's box."""
    return queue.Queue(maxsize=MAIL_MOST)
