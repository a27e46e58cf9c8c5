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


def worthwhile(device: torch.device) -> bool:
    """Whether to cut work into parts: for inference on several cores of a CPU."""
    return device.type == "cpu" and torch.get_num_threads() > 1 and not torch.is_grad_enabled()


def side_by_side(task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``task`` of each item, in order.  For several items only where it is ``worthwhile``."""
    if len(items) == 1:
        return [task(items[0])]

    inference = torch.is_inference_mode_enabled()  # as gradients, an affair of each thread

    def alone(item: Item) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return task(item)

    return list(_pool(torch.get_num_threads()).map(alone, items))


@contextmanager
def on_one_core(device: torch.device) -> Iterator[None]:
    """For a row of small operators: on a CPU of two cores, without their threads.

    The transformer's step, 144 tokens: 44 ms on one thread; on two 51 ms and 67 ms of processor
    time, which the bridge, the camera process and the host would have had use for.
    """
    if device.type != "cpu" or torch.get_num_threads() != SMALL_MACHINE:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(SMALL_MACHINE)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that use one core each inside operators; the caller keeps its ``threads``."""
    pool, ready = ThreadPoolExecutor(threads, "side"), threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first question gives it the process's number
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(threads):
        pool.submit(begin)
    ready.wait()
    torch.set_num_threads(threads)  # one of torch's libraries counts for the whole process
    return pool
