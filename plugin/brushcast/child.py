"""Child: a process of ours that speaks JSON lines, and dies with us.

Messages to the child are JSON lines on its standard input, events from it JSON lines on its
standard output. The open
standard input is the lifeline: a child that reads its end exits, however the parent died, and
whatever its other threads are stuck in. A parent that is there but reads nothing loses events and
stops no child. What the child writes to standard error goes to our log, and its last lines into the
message about its death.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import queue
import select
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from brushcast.process import weigh_session

log = logging.getLogger(__name__)

LAST_WORDS_LINES = 12
STOP_PATIENCE_S = 5.0
KILL_PATIENCE_S = 2.0
ORPHAN_PATIENCE_S = 4.0  # files are closed well in that time; then a child without parent is ended
FULL_PATIENCE_S = 0.03  # a parent that is alive empties the pipe in less; an output period


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """Something that a child said, or its end: then `kind` is "exited" and `data` has `code` and
    `last_words`."""

    child: Child
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Child:
    """One running child process. Any thread may call; events arrive in the queue given."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        events: queue.Queue[ChildEvent],
        *,
        first_line: Mapping[str, Any] | None = None,
        niceness: int = 0,
    ) -> None:
        """Start `python -m arguments...`. first_line: its configuration. niceness: 0..19, POSIX
        only, of its threads and of its session."""
        self.name = name
        self._events = events
        self._lock = threading.Lock()
        self._last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS_LINES)
        command = [sys.executable, "-m", *arguments]
        if niceness and os.name == "posix":
            command = ["nice", "-n", str(niceness), *command]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            start_new_session=os.name == "posix",  # Ctrl-C reaches the supervisor alone
        )
        if niceness:
            weigh_session(self._process.pid, niceness)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name=f"{name}-events", daemon=True
        )
        self._log_reader = threading.Thread(
            target=self._read_log, args=(self._process.stderr,), name=f"{name}-log", daemon=True
        )
        self._log_reader.start()
        self._listener.start()
        if first_line is not None:
            self.send(first_line)

    def give_way(self, niceness: int) -> None:
        """From now on, all its threads: 0..19, POSIX only."""
        if os.name == "posix":
            with contextlib.suppress(OSError):  # it ended meanwhile
                os.setpriority(os.PRIO_PGRP, self._process.pid, niceness)
            weigh_session(self._process.pid, niceness)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """One JSON line to the child. Never raises: a dead child is reported by its "exited"
        event."""
        with self._lock:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                log.debug("%s is gone; %s was not sent", self.name, message.get("command"))

    def hang_up(self) -> None:
        """Close its standard input: the polite way to say that it is over."""
        with self._lock:
            try:
                assert self._process.stdin is not None
                self._process.stdin.close()
            except OSError:
                log.debug("%s was gone already", self.name)

    def kill(self) -> None:
        """End it now (SIGKILL)."""
        self._process.kill()

    def join(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """Wait for its end; past the patience it is killed. Afterwards its threads are gone too."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %.0f s and is killed", self.name, patience_s)
            self._process.kill()
            try:
                self._process.wait(KILL_PATIENCE_S)
            except subprocess.TimeoutExpired:  # in a driver: it ends when that lets go of it
                log.error("%s cannot be killed now; its process is %d", self.name, self.pid)
        self.hang_up()
        self._listener.join(KILL_PATIENCE_S)
        self._log_reader.join(KILL_PATIENCE_S)

    def _listen(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                try:
                    data = json.loads(line)
                    kind = data["event"]
                except (ValueError, KeyError, TypeError):
                    log.warning("%s printed what is no event: %.200s", self.name, line.rstrip())
                    continue
                self._events.put(ChildEvent(self, str(kind), data))
        code = self._process.wait()
        self._log_reader.join(KILL_PATIENCE_S)
        words = "\n".join(self._last_words)
        self._events.put(ChildEvent(self, "exited", {"code": code, "last_words": words}))

    def _read_log(self, stderr: IO[str]) -> None:
        with stderr:
            for line in stderr:
                self._last_words.append(line.rstrip())
                log.debug("%s: %s", self.name, line.rstrip())


def say(event: str, **data: Any) -> None:
    """The child's side: one event on standard output. It is left out where the parent reads nothing
    and the pipe is full: then a wait would be for ever, and the picture would stop with it."""
    line = json.dumps({"event": event, **data}) + "\n"
    if _has_room(len(line)):
        sys.stdout.write(line)
        sys.stdout.flush()
    else:
        log.debug("the parent does not read; %s was left out", event)  # nor does it read a log


def _has_room(length_bytes: int) -> bool:
    """Whether standard output takes a line without waiting long (POSIX pipes; True elsewhere).

    A pipe that can be written to takes PIPE_BUF bytes (pipe(7)); an empty one takes its capacity.
    """
    if os.name != "posix":
        return True
    try:
        descriptor = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return True
    except (OSError, ValueError):  # no real file: a test's
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    ends = time.monotonic() + FULL_PATIENCE_S
    while True:
        if poll.poll(0) and (length_bytes <= select.PIPE_BUF or not _unread_bytes(descriptor)):
            return True
        if time.monotonic() >= ends:
            return False
        time.sleep(0.005)


def _unread_bytes(descriptor: int) -> int:
    import fcntl
    import termios

    room = bytearray(4)
    fcntl.ioctl(descriptor, termios.FIONREAD, room)
    return int.from_bytes(room, sys.byteorder)


def read_messages() -> queue.Queue[dict[str, Any] | None]:
    """The child's side: its messages as they arrive, then None when the parent is gone.

    Starts the one thread that reads standard input. It ends the process, with code 1, when that is
    still there ORPHAN_PATIENCE_S after the parent: whoever reads None and leaves is quicker.
    """
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=1000)

    def listen() -> None:
        for line in sys.stdin:
            try:
                message = json.loads(line)
            except ValueError:
                log.warning("a line that is no message was ignored")
                continue
            try:
                messages.put_nowait(message)
            except queue.Full:  # nobody reads: this thread must go on to see the parent's end
                log.warning("a message was left out: nobody here takes them")
        if messages.full():
            messages.get_nowait()  # the end is told even where nobody has read for long
        messages.put_nowait(None)
        time.sleep(ORPHAN_PATIENCE_S)
        os._exit(1)

    threading.Thread(target=listen, name="lifeline", daemon=True).start()
    return messages
