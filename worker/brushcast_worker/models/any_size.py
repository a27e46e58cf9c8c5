"""AnySize: a function compiled once for pictures of every size.

torch.compile's code is for the shapes that it saw. For another size it took 31 s more on an H200
(the 1.3 B transformer and its tiny autoencoder), in which nothing is painted. So those dimensions
that follow the picture's size are left open, and no others: with all of them open (`dynamic=True`)
a chunk takes a sixth longer. What else changes, as the number of rows, torch finds out, and leaves
it open from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Tensors = Tensor | tuple[Tensor, ...]


class AnySize:
    """Called as the function is."""

    def __init__(
        self,
        function: Callable[..., Any],
        follows: Mapping[int, Sequence[int]],
        *,
        fullgraph: bool = False,
    ) -> None:
        """follows: number of a positional argument → its dimensions that follow the picture's size,
        of each tensor where it is a tuple of them. fullgraph: as of torch.compile."""
        self._compiled, self._follows = torch.compile(function, fullgraph=fullgraph), follows

    def __call__(self, *given: Any) -> Any:
        """What the function makes of it."""
        for number, dimensions in self._follows.items():
            if number < len(given):
                _leave_open(given[number], dimensions)
        return self._compiled(*given)


def _leave_open(tensors: Tensors, dimensions: Sequence[int]) -> None:
    for tensor in (tensors,) if isinstance(tensors, Tensor) else tensors:
        for dimension in dimensions:
            torch._dynamo.maybe_mark_dynamic(tensor, dimension % tensor.ndim)
