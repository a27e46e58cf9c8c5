"""Recordings instead of CUDA graphs, so that a CPU, too, goes the way of static rows to its end."""

from __future__ import annotations

from brushcast_worker.stages.row_graphs import Function, RowGraphs, _Static


class Recording:
    """Stands for a CUDA graph: computes anew into the tensors that were there when it was made."""

    def __init__(self, static: _Static, function: Function) -> None:
        self.static, self.function, self.replays = static, function, 0
        static.outputs = [x.clone() for x in function(static.inputs, static.numbers_RF)]

    def replay(self) -> None:
        self.replays += 1
        again = self.function(self.static.inputs, self.static.numbers_RF)
        for output, x in zip(self.static.outputs, again, strict=True):
            output.copy_(x)


def record(graphs: RowGraphs) -> list[Recording]:
    """From here on these are as on a GPU, but for the recording itself."""
    made: list[Recording] = []

    def fake(_: object, static: _Static, function: Function) -> None:
        made.append(Recording(static, function))
        static.graph = made[-1]

    graphs._capture = True
    graphs._record = fake
    return made
