"""The lifeline ends a run when its other end is let go, and not before."""

from __future__ import annotations

import os
import threading

from brushcast.lifeline import watch_lifeline

PATIENCE_S = 10


def test_it_tells_once_when_the_other_end_is_closed() -> None:
    reading, writing = os.pipe()
    told = threading.Event()
    thread = watch_lifeline(told.set, reading)
    os.write(writing, b"whatever is said\n" * 1000)
    thread.join(0.05)
    assert thread.is_alive()
    assert not told.is_set(), "what is said means nothing"
    os.close(writing)
    thread.join(PATIENCE_S)
    os.close(reading)
    assert told.is_set()
    assert thread.daemon


def test_no_input_at_all_is_its_end() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    told = threading.Event()
    watch_lifeline(told.set, reading).join(PATIENCE_S)
    assert told.is_set()


def test_who_has_spoken_and_falls_silent_is_gone() -> None:
    reading, writing = os.pipe()
    told = threading.Event()
    thread = watch_lifeline(told.set, reading, silence_s=0.4)
    thread.join(0.8)
    assert not told.is_set(), "who never says anything may be silent"
    for _ in range(10):
        os.write(writing, b"\n")
        thread.join(0.1)
        assert not told.is_set(), "it goes on"
    thread.join(PATIENCE_S)
    assert told.is_set()
    os.close(writing)
    os.close(reading)
