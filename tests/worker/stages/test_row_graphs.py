"""Functions of rows by way of static tensors; the graphs themselves need a GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from brushcast_worker.stages.row_graphs import RowGraphs, RowInputs, padded
from tests.worker.stages.recording import record

CPU = torch.device("cpu")


class Sum:
    """Of a row's tensors times its first number; writes down what it was called with."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.addresses: set[int] = set()

    def __call__(self, inputs: Sequence[Tensor], numbers: Tensor) -> list[Tensor]:
        first, second = inputs
        self.rows.append(len(first))
        self.addresses.add(first.data_ptr())
        return [numbers[:, :1] * (first + second)]


def rows(*values: float, device: str = "cpu", width: int = 3) -> list[RowInputs]:
    def full(value: float) -> Tensor:
        return torch.full((width,), value, device=device)

    return [RowInputs((full(v), full(10 * v)), (2.0,)) for v in values]


def run(graphs: RowGraphs, task: Sum, given: list[RowInputs], **how: bool) -> list[float]:
    def like() -> list[Tensor]:
        return [x for x in given[0].tensors if x is not None]

    (out,) = graphs.run("sum", task, given, like, **how)
    return out[:, 0].tolist()


def test_every_row_gets_its_own_answer_and_nothing_more_comes_out() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    assert run(graphs, task, rows(1, 2, 3, 4, 5)) == [22, 44, 66, 88, 110]
    assert task.rows == [6]
    assert run(graphs, task, rows(6)) == [132]
    assert task.rows == [6, 1]


def test_one_shape_has_one_memory_and_another_another() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    for given in (rows(1, 2), rows(3, 4), rows(5, 6)):
        run(graphs, task, given)
    assert len(task.addresses) == 1
    run(graphs, task, rows(1, 2, width=4))
    assert len(task.addresses) == 2


def test_a_row_without_a_tensor_finds_zeros_or_what_was_there() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    for first_second in (0, 20):
        given = rows(1, 2)
        given[1] = RowInputs((given[1].tensors[0], None), (2.0,))
        (out,) = graphs.run("sum", task, given, lambda: [torch.empty(3)] * 2)
        assert out[:, 0].tolist() == [22, 2 * (2 + first_second)]
        run(graphs, task, rows(1, 2))


def test_a_copy_keeps_the_order_in_memory() -> None:
    graphs, seen = RowGraphs(CPU, capture=False), []
    picture_CHW = torch.rand(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)[0]

    def look(inputs: Sequence[Tensor], _: Tensor) -> list[Tensor]:
        seen.append(inputs[0])
        return list(inputs)

    given = [RowInputs((picture_CHW,), (0,))] * 2
    (out,) = graphs.run("look", look, given, lambda: [picture_CHW])
    assert torch.equal(out[1], picture_CHW)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_only_the_shapes_used_last_are_kept() -> None:
    graphs, task = RowGraphs(CPU, capture=False, kept=2), Sum()
    for width in (3, 4, 3, 5):  # 4 is forgotten
        run(graphs, task, rows(1, width=width))
    assert list(graphs._statics) == [("sum", 1, (3,)), ("sum", 1, (5,))]


def test_running_out_of_memory_gives_the_static_memory_back() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    run(graphs, task, rows(1))

    def fail(*_: object) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        graphs.run("fail", fail, rows(1), lambda: [torch.empty(3)] * 2)
    assert not graphs._statics


@pytest.mark.parametrize("count", range(1, 100))
def test_few_shapes_serve_all_numbers_of_rows(count: int) -> None:
    assert count <= padded(count) <= 1.5 * count
    assert padded(padded(count)) == padded(count)
    assert len({padded(n) for n in range(1, 17)}) == 8


def test_a_shape_runs_once_is_recorded_and_then_replayed() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    made = record(graphs)
    for first in (1, 2, 3):
        assert run(graphs, task, rows(first, 7, 8)) == [22 * first, 154, 176]
        assert run(graphs, task, rows(*[first] * 5)) == [22 * first] * 5
    assert [recording.replays for recording in made] == [2, 2]
    assert graphs.recorded == 2


def test_what_is_rare_is_never_replayed() -> None:
    graphs, task = RowGraphs(CPU, capture=False), Sum()
    made = record(graphs)
    for _ in range(3):
        assert run(graphs, task, rows(1), rare=True) == [22]
    assert not made


@pytest.mark.gpu
def test_the_second_run_is_a_graph_and_the_answers_stay() -> None:
    graphs, task = RowGraphs(torch.device("cuda"), capture=True), Sum()
    for first in (1, 2, 3):
        given = rows(first, first + 1, first + 2, device="cuda")
        wanted = [22.0 * n for n in range(first, first + 3)]
        assert run(graphs, task, given) == wanted
    assert graphs.recorded == 1
    assert task.rows == [3, 3]  # once to build the kernels, once to be recorded


@pytest.mark.gpu
def test_what_is_rare_is_not_recorded_there() -> None:
    graphs, task = RowGraphs(torch.device("cuda"), capture=True), Sum()
    for _ in range(3):
        assert run(graphs, task, rows(1, device="cuda"), rare=True) == [22]
    assert graphs.recorded == 0


@pytest.mark.gpu
def test_graphs_that_share_memory_do_not_disturb_each_other() -> None:
    graphs = RowGraphs(torch.device("cuda"), capture=True)
    tasks = [Sum() for _ in range(3)]
    for turn in range(6):
        for width, task in zip((3, 1000, 30_000), tasks, strict=True):
            given = rows(turn, turn + 1, device="cuda", width=width)
            assert run(graphs, task, given) == [22.0 * turn, 22.0 * turn + 22]
    assert graphs.recorded == 3


@pytest.mark.gpu
def test_what_cannot_be_recorded_runs_without_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    graphs = RowGraphs(torch.device("cuda"), capture=True)

    def waits(inputs: Sequence[Tensor], _: Tensor) -> list[Tensor]:
        return [inputs[0] * float(inputs[0].sum())]

    with caplog.at_level(logging.WARNING):
        for n in (1, 2, 3):
            (given,) = rows(n, device="cuda")
            (out,) = graphs.run("waits", waits, [given], lambda: [torch.empty(3)] * 2)
            assert out[0, 0] == 3 * n * n
    assert graphs.recorded == 0
    assert len([r for r in caplog.records if "no CUDA graph" in r.message]) == 1
    task = Sum()
    for n in (1, 2, 3):  # nor is anything else from then on
        assert run(graphs, task, rows(n, device="cuda")) == [22.0 * n]
    assert graphs.recorded == 0
