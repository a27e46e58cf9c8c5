"""RowGraphs: functions of rows of tensors, replayed as CUDA graphs.

A kernel's launch costs the host 5 us and more, and a chunk has hundreds: one after the other they
leave a large GPU idle six sevenths of the time. A CUDA graph is launched as a whole. Its tensors
never move, so every run copies its rows (streams, latent frames) into static inputs; which rows
they are may change from run to run. No stream's state is kept here.

Letters: R rows of the static tensors, F numbers of a row.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger(__name__)

KEPT = 32  # shapes: four stages, and up to 16 rows of one size

# From the static inputs, each [R ...], and the rows' numbers [R F] to outputs, each [R ...].
Function = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Lasting:
    """The tensors of a row from the `first` on are those of the `owner`: the same as long as it is
    the same, so they are copied once. An owner never changes what it has."""

    owner: object
    first: int


@dataclass(frozen=True, slots=True)
class RowInputs:
    """One row. `tensors`: the same number in every row of a function, None for what a row does not
    have; the function then finds what was there before, zeros at first, and must make nothing of
    it. `numbers`: what the host knows: flags, cursors, levels."""

    tensors: Sequence[Tensor | None]
    numbers: Sequence[float]
    lasting: Lasting | None = None


@dataclass(slots=True)
class _Static:
    """One function at one shape."""

    inputs: list[Tensor]
    rows: list[tuple[Tensor, ...]]  # of each input, views
    numbers_RF: Tensor
    owners: list[weakref.ref[object] | None]  # of what each row has that lasts
    worth_a_graph: bool  # until one was recorded or could not be
    graph: torch.cuda.CUDAGraph | None = None
    outputs: Sequence[Tensor] = ()


class RowGraphs:
    """Owned by an engine, used on the GPU thread. Every shape runs once without a graph, which
    builds the kernels, and is recorded then; so many rows are recorded as `padded` says."""

    def __init__(self, device: torch.device, *, capture: bool, kept: int = KEPT) -> None:
        """capture: False runs the same way without graphs, on any device. kept: graphs, the most
        recently used ones."""
        assert not capture or device.type == "cuda"
        self._device, self._capture, self._kept = device, capture, kept
        self._statics: OrderedDict[Hashable, _Static] = OrderedDict()
        self._failed: set[Hashable] = set()
        self._pool = torch.cuda.graph_pool_handle() if capture else None

    @property
    def recorded(self) -> int:
        """How many graphs there are."""
        return sum(static.graph is not None for static in self._statics.values())

    def run(
        self,
        name: str,
        function: Function,
        rows: Sequence[RowInputs],
        like: Callable[[], Sequence[Tensor]],
        *,
        rare: bool = False,
        exact: bool = False,
    ) -> list[Tensor]:
        """What `function` makes of the rows: valid until the next run of any function.

        name: of the function; its shapes follow from that of the first row's first tensor. like:
        what a row's tensors look like (shape, type, order in memory). rare: not worth a graph.
        exact: the rows are not padded: what they write lies elsewhere.
        Raises OutOfMemoryError, and whatever the function raises.
        """
        first = rows[0].tensors[0]
        assert first is not None
        key = (name, len(rows) if exact else padded(len(rows)), first.shape)
        try:
            static = self._static(key, rows, like)
            if rare:
                static.worth_a_graph = False
            _fill(static, rows)
            outputs = self._play(key, static, function)
        except torch.OutOfMemoryError:
            self._statics.clear()  # what is tried next finds the memory that the graphs had
            raise
        return [output[: len(rows)] for output in outputs]

    def _static(
        self, key: tuple[str, int, torch.Size], rows: Sequence[RowInputs], like: _Like
    ) -> _Static:
        if key not in self._statics:
            inputs = [_rows_like(x, key[1], self._device) for x in like()]
            numbers_RF = torch.zeros(key[1], len(rows[0].numbers), device=self._device)
            views = [input_R.unbind(0) for input_R in inputs]
            owners: list[weakref.ref[object] | None] = [None] * key[1]
            worth = key not in self._failed
            self._statics[key] = _Static(inputs, views, numbers_RF, owners, worth)
            if len(self._statics) > self._kept:
                self._statics.popitem(last=False)
        self._statics.move_to_end(key)
        return self._statics[key]

    def _play(self, key: Hashable, static: _Static, function: Function) -> Sequence[Tensor]:
        if static.graph is not None:
            static.graph.replay()
            return static.outputs
        outputs = function(static.inputs, static.numbers_RF)
        if static.worth_a_graph and self._capture:
            static.worth_a_graph = False
            self._record(key, static, function)
        return outputs

    def _record(self, key: Hashable, static: _Static, function: Function) -> None:
        """Records a graph for the runs to come. Where that fails they go on without one."""
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # not in its stubs
        aside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(aside):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    outputs = function(static.inputs, static.numbers_RF)
                finally:
                    graph.capture_end()
        except torch.OutOfMemoryError as error:
            log.warning("no CUDA graph of %s, it runs without: %s", key, error)
            self._failed.add(key)
            self._statics.clear()
            torch.cuda.empty_cache()
        except RuntimeError as error:
            log.warning("no CUDA graph of %s, and no more of others: %s", key, error)
            self._capture = False  # what a failed recording leaves behind is not to be trusted
        else:
            static.graph, static.outputs = graph, outputs
            log.debug("recorded a CUDA graph of %s", key)
        torch.cuda.current_stream().wait_stream(aside)


_Like = Callable[[], Sequence[Tensor]]


def padded(rows: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, 24...: few shapes, and at most half as many rows again in vain."""
    power = 1
    while power < rows:
        power *= 2
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= rows else power


def _rows_like(x: Tensor, rows: int, device: torch.device) -> Tensor:
    """Zeros, each row in the order in which `x` lies in memory: copies then are the fastest."""
    strides = torch.empty_like(x).stride()
    shape, strides = (rows, *x.shape), (x.numel(), *strides)
    return torch.empty_strided(shape, strides, dtype=x.dtype, device=device).zero_()


def _lasts(static: _Static, number: int, row: RowInputs) -> int:
    """The first of a row's tensors that is there from an earlier run."""
    lasting, before = row.lasting, static.owners[number]
    if lasting is None:
        return len(row.tensors)
    if before is not None and before() is lasting.owner:
        return lasting.first
    static.owners[number] = weakref.ref(lasting.owner)
    return len(row.tensors)


def _fill(static: _Static, rows: Sequence[RowInputs]) -> None:
    """Rows into the static inputs, one launch for each input. Rows without a stream keep what they
    have, with the last stream's numbers."""
    there_already = [_lasts(static, number, row) for number, row in enumerate(rows)]
    for number, views in enumerate(static.rows):
        given = [
            None if number >= first else row.tensors[number]
            for row, first in zip(rows, there_already, strict=True)
        ]
        there = [(view, x) for view, x in zip(views, given, strict=False) if x is not None]
        if there:
            torch._foreach_copy_([view for view, _ in there], [x for _, x in there])
    numbers = [row.numbers for row in rows]
    numbers += [rows[-1].numbers] * (len(static.numbers_RF) - len(rows))
    numbers_RF = torch.tensor(numbers, dtype=torch.float32)
    if static.numbers_RF.device.type == "cuda":
        numbers_RF = numbers_RF.pin_memory()  # its memory waits for the copy before it is used anew
    static.numbers_RF.copy_(numbers_RF, non_blocking=True)
