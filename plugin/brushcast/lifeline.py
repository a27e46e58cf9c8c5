"""Lifeline: a run that ends with whoever started it, however that one ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

CHUNK_BYTES = 4096
SILENCE_S = 30.0


def watch_lifeline(
    ended: Callable[[], None], descriptor: int = 0, silence_s: float = SILENCE_S
) -> threading.Thread:
    """Call `ended` once, in a thread of its own, when nobody holds the other end of the descriptor
    (standard input) any more; or when whoever has once said something there falls silent: OBS lives
    on, but our script in it was taken out. What is said means nothing.

    One that cannot be read has ended already. The threads are daemons: they may wait for ever.
    """
    said, over = threading.Event(), threading.Event()

    def listen() -> None:
        try:
            while os.read(descriptor, CHUNK_BYTES):  # not sys.stdin: its lock outlives the process
                said.set()
        except OSError:
            pass  # there is none
        over.set()
        said.set()

    def watch() -> None:
        said.wait()
        while not over.is_set():
            said.clear()
            if not over.is_set() and not said.wait(silence_s):
                break
        ended()

    threading.Thread(target=listen, name="lifeline's end", daemon=True).start()
    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
