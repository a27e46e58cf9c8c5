"""Lifeline: a run that ends with whoever started it, however that one ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

CHUNK_BYTES = 4096


def watch_lifeline(ended: Callable[[], None], descriptor: int = 0) -> threading.Thread:
    """Call `ended` once, in a thread of its own, when nobody holds the other end of the descriptor
    (standard input) any more; what is read until then means nothing.

    One that cannot be read has ended already. The thread is a daemon: it may wait for ever.
    """

    def watch() -> None:
        try:
            while os.read(descriptor, CHUNK_BYTES):  # not sys.stdin: its lock outlives the process
                continue
        except OSError:
            pass  # there is none
        ended()

    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
