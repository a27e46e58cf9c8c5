"""How far off a network may be in a shorter float, derived from a model of rounding.

In bfloat16 every weight, every input and the result of every operation is rounded to p = 8 bits:
``fl(x op y) = (x op y)(1 + d)``, ``|d| <= u = 2^-p`` (Higham 2002, Accuracy and Stability of
Numerical Algorithms, equation 2.4; bfloat16's numbers are 2^-7 of themselves apart, u is half of
that).  All d at their worst at once would allow anything after some hundred operations.  They are
taken as independent instead, of mean 0 (Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), model
2.1), and drawn: the network runs in float32, and every number that an operation gives is off by a
d of its own, uniform in [-u, u] (Parker 1997, Monte Carlo Arithmetic, section 4).  What an
operation sums inside is not rounded, as the kernels for bfloat16 sum in float32.

What ``verify`` allows is the largest error of TRIALS such runs, times ROOM.  The model itself is
wider than the thing: rounding to the nearest has a root mean square of 0.42 u (uniform within a
step, the numbers' logarithms uniform), the model's is 0.58 u.

On the reference vectors that came with the project (dit.one_step, dit.two_steps, vae.encode,
vae.decode; largest error over largest value): 24 runs of the model 0.016, 0.017, 0.014, 0.072 on
average and 0.019, 0.021, 0.018, 0.087 at worst; allowed 0.022, 0.026, 0.022, 0.103; the bfloat16
networks on a CPU 0.010, 0.011, 0.010, 0.045.  Defects in bfloat16: every norm's epsilon 1e-2
instead of 1e-6 0.027 and 0.031, a norm skipped 0.066 and 0.063, a rotated pair swapped 0.050 and
0.071; in the autoencoder a norm skipped 0.054 and 0.210.  What changes less than rounding does
(the epsilon of one norm alone: 1.5e-4) only float32 shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

UNIT_ROUNDOFF = {torch.bfloat16: 2.0**-8}
TRIALS = 8
# Errors of trials spread by a tenth (standard deviation): the largest of eight lies one and a half
# of these above the mean, this room two and a half more.
ROOM = 1.25
# Operations of one tensor that only move or choose numbers give them as they are; those of lists of
# tensors join them.
_EXACT = frozenset(
    "clone pad contiguous reshape flatten neg clamp_min where index_select repeat_interleave "
    "masked_fill _upsample_nearest_exact2d".split()
)


class Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, every result in float32 is off by up to ``unit`` of itself; under
    ``torch.inference_mode``, where an operation of many steps counts as one.
    """

    def __init__(self, unit: float, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unit, self._generator = unit, torch.Generator().manual_seed(seed)

    def rounded(self, x: Tensor) -> Tensor:
        """Each number off by up to ``unit`` of itself, each by its own draw; on the CPU."""
        if x.is_complex():
            return torch.view_as_complex(self.rounded(torch.view_as_real(x)))
        drawn = torch.rand(x.shape, generator=self._generator)
        return x * (1 + self._unit * (2 * drawn - 1))

    def weights(self, model: nn.Module) -> None:
        """The model's weights, rounded once and in place."""
        for weight in model.parameters():
            weight.copy_(self.rounded(weight))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [x for x in args if isinstance(x, Tensor)]
        name = func._schema.name.rpartition("::")[2]
        if not given or name in _EXACT or not isinstance(out, Tensor):
            return out
        if out.dtype not in (torch.float32, torch.complex64):
            return out
        if any(_storage(x) == _storage(out) for x in given):
            return out  # a view, or written in place
        return self.rounded(out)


def tolerance(dtype: torch.dtype, error: Callable[[Rounding], float]) -> float:
    """What the error of a computation in ``dtype`` may be.  ``error``: that of the computation in
    float32 with the rounding that it is given.
    """
    unit = UNIT_ROUNDOFF[dtype]
    return ROOM * max(error(Rounding(unit, seed)) for seed in range(TRIALS))


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
