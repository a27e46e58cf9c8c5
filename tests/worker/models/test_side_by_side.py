"""Parts of a network's work on a core each: the same answers, and nobody's settings changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from brushcast_worker.models.side_by_side import (
    as_they_come,
    aside,
    on_one_core,
    worthwhile,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


def test_the_answers_come_in_order_and_use_one_core_each() -> None:
    def task(n: int) -> tuple[int, int, bool]:
        return n * n, torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        answers = list(as_they_come(task, range(8)))
    assert answers == [(n * n, 1, True) for n in range(8)]
    assert torch.get_num_threads() == 2, "the caller's operators keep their threads"


def test_what_a_part_raises_is_raised() -> None:
    def task(n: int) -> int:
        if n == 2:
            raise RuntimeError("out of luck")
        return n

    with torch.no_grad(), pytest.raises(RuntimeError, match="out of luck"):
        list(as_they_come(task, range(4)))


def test_a_background_task_runs_beside_its_caller_in_its_mode() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def task() -> tuple[int, bool]:
        begun.set()
        go_on.wait(10)
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        wait = aside(task, CPU)
        assert begun.wait(10), "it begins at once"
        go_on.set()
        assert wait() == (1, True)


def test_what_a_background_task_raises_is_raised_where_it_is_waited_for() -> None:
    def task() -> None:
        raise RuntimeError("out of luck")

    with torch.no_grad():
        wait = aside(task, CPU)
        with pytest.raises(RuntimeError, match="out of luck"):
            wait()


def test_where_no_core_is_free_a_task_begins_when_it_is_waited_for() -> None:
    begun = threading.Event()
    wait = aside(begun.set, CPU)  # gradients want one graph
    assert not begun.is_set()
    wait()
    assert begun.is_set()


def test_only_inference_on_several_cores_is_cut() -> None:
    assert not worthwhile(CPU), "gradients want one graph"
    with torch.no_grad():
        assert worthwhile(CPU)
        assert not worthwhile(torch.device("cuda"))
        torch.set_num_threads(1)
        assert not worthwhile(CPU)


def test_small_operators_stay_on_one_core_of_two() -> None:
    with on_one_core(CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="midway"), on_one_core(CPU):
        raise RuntimeError("midway")
    assert torch.get_num_threads() == 2


def test_parts_still_get_a_core_each_where_operators_have_one() -> None:
    both = threading.Barrier(2)

    def task(n: int) -> int:
        both.wait(10)  # broken, and an error, unless two run at once
        return n

    with torch.inference_mode(), on_one_core(CPU):
        assert worthwhile(CPU)
        assert list(as_they_come(task, range(2))) == [0, 1]


def test_more_cores_and_other_devices_keep_their_threads() -> None:
    with on_one_core(torch.device("cuda")):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(4)
    with on_one_core(CPU):
        assert torch.get_num_threads() == 4
