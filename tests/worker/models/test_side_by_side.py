"""Parts of a network's work on a core each: the same answers, and nobody's settings changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from brushcast_worker.models.side_by_side import on_one_core, side_by_side, worthwhile


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
        answers = side_by_side(task, range(8))
    assert answers == [(n * n, 1, True) for n in range(8)]
    assert torch.get_num_threads() == 2, "the caller's operators keep their threads"


def test_what_a_part_raises_is_raised() -> None:
    def task(n: int) -> int:
        if n == 2:
            raise RuntimeError("out of luck")
        return n

    with torch.no_grad(), pytest.raises(RuntimeError, match="out of luck"):
        side_by_side(task, range(4))


def test_only_inference_on_several_cores_is_cut() -> None:
    cpu = torch.device("cpu")
    assert not worthwhile(cpu), "gradients want one graph"
    with torch.no_grad():
        assert worthwhile(cpu)
        assert not worthwhile(torch.device("cuda"))
        torch.set_num_threads(1)
        assert not worthwhile(cpu)


def test_small_operators_stay_on_one_core_of_two() -> None:
    with on_one_core(torch.device("cpu")):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="midway"), on_one_core(torch.device("cpu")):
        raise RuntimeError("midway")
    assert torch.get_num_threads() == 2


def test_more_cores_and_other_devices_keep_their_threads() -> None:
    with on_one_core(torch.device("cuda")):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(4)
    with on_one_core(torch.device("cpu")):
        assert torch.get_num_threads() == 4
