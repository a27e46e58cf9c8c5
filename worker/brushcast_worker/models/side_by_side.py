"""Side by side: independent parts of a network's work on a CPU, each on one core.

Threads inside an operator meet at its end, dozens of times a chunk; whenever another process takes
one core for a moment (the bridge, a video encoder, the host) all of them wait.  Parts that meet
once let the other core go on, and their pictures stay in its cache.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

SMALL_MACHINE = 2  # cores
Item = TypeVar("Item")
Result = TypeVar("Result")


_given_up = threading.local()  # .threads: what a thread inside ``on_one_core`` had before


def worthwhile(device: torch.device) -> bool:
    """Whether to cut work into parts: for inference on several cores of a CPU."""
    return device.type == "cpu" and _threads() > 1 and not torch.is_grad_enabled()


def as_they_come(task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``task`` of each item side by side; the answers in order, each as soon as it and those before
    it are there.  For several items only where it is ``worthwhile``.
    """
    if len(items) == 1:
        return map(task, items)
    return _pool(_threads()).map(functools.partial(_alone(), task), items)


def aside(task: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """Begins ``task`` on another core; what is returned waits for the answer.  Where that is not
    ``worthwhile`` it begins when it is waited for.
    """
    return _pool(_threads()).submit(_alone(), task).result if worthwhile(device) else task


def _alone() -> Callable[..., Result]:
    """Runs a task in another thread as in this one: torch's modes belong to threads."""
    inference = torch.is_inference_mode_enabled()

    def alone(task: Callable[..., Result], *items: Item) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return task(*items)

    return alone


@contextmanager
def on_one_core(device: torch.device) -> Iterator[None]:
    """On a CPU of two cores operators do without threads, but for parts side by side.

    A small operator gains nothing from a second core, and whatever else wants that core (bridge,
    camera process, video encoder) makes each of a chunk's 300 operators wait for it.
    """
    if device.type != "cpu" or torch.get_num_threads() != SMALL_MACHINE:
        yield
        return
    _given_up.threads = SMALL_MACHINE
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(SMALL_MACHINE)
        del _given_up.threads


def _threads() -> int:
    return getattr(_given_up, "threads", None) or torch.get_num_threads()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that use one core each inside operators; the caller keeps its ``threads``."""
    pool, ready = ThreadPoolExecutor(threads, "side"), threading.Barrier(threads + 1)
    mine = torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # a thread's first question gives it the process's number
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(threads):
        pool.submit(begin)
    ready.wait()
    torch.set_num_threads(mine)  # one of torch's libraries counts for the whole process
    return pool
