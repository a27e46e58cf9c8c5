"""Decoder: H.264 from outside, decoded in a process that may die; a thread of its own waits for it.

What its owner puts in comes out in order: a picture, or None where there is none to be had. After
a None nothing more can be decoded until a keyframe comes, so the sender must be asked for one. A
process that dies or takes too long costs the pictures that it had, and nothing else.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Generic, TypeVar

import numpy as np

from brushcast.errors import MalformedMessage
from brushcast.frame import Pixels, Size
from brushcast.h264_chain import NUMBER
from brushcast.h264_sps import check_picture
from brushcast.wire.messages import Payload

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "brushcast.h264_child")
JOB_LIMIT_NS = 2_000_000_000  # a picture takes 2 ms; so much is a trap
START_LIMIT_NS = 20_000_000_000
WAITING_MOST = 64  # pictures; credit keeps an honest peer far below
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.25, 8.0
GOOD_AFTER = 60  # pictures: whoever decoded so many may die once more at no cost
PATIENCE_S = 2.0
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG")

Ticket = TypeVar("Ticket")
_Job = tuple[Ticket, int, Size, bytes, bool]  # number in its chain, stream, whether it is a key


class Decoder(Generic[Ticket]):
    """One stream's. `put`, `take`, `tick`, `close`: the owner's thread. The process is started with
    the first keyframe, if it was not before."""

    def __init__(
        self,
        wake: Callable[[], None],
        command: Sequence[str] = COMMAND,
        *,
        prepared: bool = False,
    ) -> None:
        """wake: called from the decoder's thread when there is something to take. prepared: the
        process is started now."""
        self.deaths = 0
        self._prepared = prepared
        self._wake = wake
        self._command = list(command)
        self._jobs: queue.Queue[_Job[Ticket] | None] = queue.Queue(maxsize=WAITING_MOST)
        self._done: queue.SimpleQueue[tuple[Ticket, Pixels | None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._limit_ns: int | None = None  # when what runs has taken too long
        self._closing = threading.Event()
        # The thread's own:
        self._wanted = -1  # the number that continues the chain; -1: only a keyframe does
        self._good = 0
        self._backoff_s = 0.0
        self._not_before_s = 0.0
        self._thread = threading.Thread(target=self._run, name="h264", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def put(self, ticket: Ticket, payload: Payload, size: Size) -> None:
        """A picture that should have that size; `take` gives the ticket back.

        Raises MalformedMessage for what must not even be tried, and when too many wait.
        """
        if len(payload) <= NUMBER.size:
            raise MalformedMessage(f"H.264 picture of {len(payload)} bytes")
        number, stream = NUMBER.unpack(payload[: NUMBER.size])[0], bytes(payload[NUMBER.size :])
        key = check_picture(stream, size)
        if key != (number == 0):
            raise MalformedMessage(f"H.264 picture {number} of its chain, keyframe: {key}")
        try:
            self._jobs.put_nowait((ticket, number, size, stream, key))
        except queue.Full:
            raise MalformedMessage(f"more than {WAITING_MOST} pictures wait") from None

    def take(self) -> list[tuple[Ticket, Pixels | None]]:
        """What has been decoded, or could not be, in the order in which it was put."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        return found

    def tick(self, now_ns: int) -> None:
        """Let time pass: a process that takes too long is killed. now_ns: monotonic."""
        with self._lock:
            if self._limit_ns is not None and now_ns > self._limit_ns and self._process is not None:
                log.warning("the H.264 decoder takes too long and is killed")
                self._process.kill()
                self._limit_ns = None

    def close(self) -> None:
        """End the thread and the process."""
        self._closing.set()
        with self._lock:
            if self._process is not None:
                self._process.kill()
        try:
            self._jobs.put_nowait(None)
        except queue.Full:
            self._jobs.get_nowait()  # whoever waits longest is not waited for any more
            self._jobs.put_nowait(None)
        self._thread.join(PATIENCE_S)

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        if self._prepared:
            self._prepare()
        while not self._closing.is_set():
            try:
                job = self._jobs.get(timeout=self._patience_s())
            except queue.Empty:
                self._prepare()  # while the other side is asked for a keyframe
                continue
            if job is None:
                break
            picture = self._answer(job)
            self._done.put((job[0], picture))
            self._wake()
        self._end()

    def _patience_s(self) -> float | None:
        """How long to wait for a job before the process that died is replaced."""
        if self._process is not None or not self.deaths:
            return None
        return max(self._not_before_s - time.monotonic(), 0.0)

    def _prepare(self) -> None:
        """A process before it is needed."""
        try:
            self._start()
        except (OSError, EOFError) as error:
            log.warning("the H.264 decoder does not start: %s", error)
            self._died()

    def _answer(self, job: _Job[Ticket]) -> Pixels | None:
        _, number, size, stream, key = job
        if not key and number != self._wanted:
            self._wanted = -1
            return None
        self._wanted = -1
        try:
            picture = self._ask(size, stream, fresh=key)
        except (OSError, EOFError) as error:
            log.warning("the H.264 decoder died: %s", error)
            self._died()
            return None
        if picture is not None:
            self._wanted = number + 1
            self._good += 1
        return picture

    def _ask(self, size: Size, stream: bytes, *, fresh: bool) -> Pixels | None:
        from brushcast.h264_child import ANSWER, JOB

        process = self._process
        if process is None:
            if not fresh or time.monotonic() < self._not_before_s:
                return None
            process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self._limit(JOB_LIMIT_NS)
        process.stdin.write(JOB.pack(len(stream), size.width, size.height, fresh) + stream)
        process.stdin.flush()
        length = ANSWER.unpack(_exactly(process.stdout, ANSWER.size))[0]
        if length not in (0, 3 * size.area_px):
            raise EOFError(f"it answers {length} bytes for a picture of {size}")
        rgb = _exactly(process.stdout, length)
        self._limit(None)
        if not rgb:
            return None
        return np.frombuffer(rgb, np.uint8).reshape(size.height, size.width, 3)

    def _start(self) -> subprocess.Popen[bytes]:
        from brushcast.h264_child import READY

        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Without tokens and the like; threads that it does not need would take memory.
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=os.name == "posix",
        )
        with self._lock:
            self._process = process
            if self._closing.is_set():
                process.kill()
        self._limit(START_LIMIT_NS)
        assert process.stdout is not None
        if _exactly(process.stdout, len(READY)) != READY:
            raise EOFError("it does not speak as it should")
        self._limit(None)
        return process

    def _limit(self, span_ns: int | None) -> None:
        with self._lock:
            self._limit_ns = None if span_ns is None else time.monotonic_ns() + span_ns

    def _died(self) -> None:
        self.deaths += 1
        self._end()
        often = self._good < GOOD_AFTER
        self._backoff_s = min(2 * self._backoff_s or FIRST_BACKOFF_S, LONGEST_BACKOFF_S)
        if not often:
            self._backoff_s = 0.0
        self._not_before_s = time.monotonic() + self._backoff_s
        self._good = 0

    def _end(self) -> None:
        with self._lock:
            process, self._process, self._limit_ns = self._process, None, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                log.debug("the H.264 decoder did not take its last job")
        process.wait(PATIENCE_S)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    """Raises EOFError when it ends before."""
    data = pipe.read(count)
    if len(data) != count:
        raise EOFError(f"it ended after {len(data)} of {count} bytes")
    return data
