"""The model of rounding: what computes is off by a draw, what moves numbers is not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.rounding import ROOM, TRIALS, UNIT_ROUNDOFF, Rounding, tolerance

U = UNIT_ROUNDOFF[torch.bfloat16]


def test_the_unit_is_the_most_that_rounding_changes() -> None:
    x = torch.rand(200_000, dtype=torch.float64) + 1  # one step of exponents
    off = (x.float().bfloat16().double() - x).abs() / x
    assert 0.95 * U < float(off.max()) <= U
    spread = float((off.square() / math.log(2) / x).mean().sqrt())  # logarithms uniform
    assert spread == pytest.approx(0.42 * U, rel=0.02), "what the room in the docstring rests on"


def test_draws_are_uniform_and_each_number_has_its_own() -> None:
    off = Rounding(U, 0).rounded(torch.full((100_000,), 3.0)) / 3 - 1
    assert float(off.abs().max()) == pytest.approx(U, rel=1e-3)
    assert float(off.mean()) == pytest.approx(0, abs=0.01 * U)
    assert float(off.std()) == pytest.approx(U / math.sqrt(3), rel=0.01)
    complex_off = Rounding(U, 0).rounded(torch.full((1000,), 3 + 4j)) - (3 + 4j)
    assert complex_off.real.std() > 0 < complex_off.imag.std()
    assert not torch.equal(complex_off.real / 3, complex_off.imag / 4)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x * 1.5,
        lambda x: x @ x.T,
        lambda x: F.linear(x, x),
        lambda x: F.layer_norm(x, (8,)),
        lambda x: F.rms_norm(x, (8,)),
        lambda x: torch.softmax(x, -1),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: torch.addcmul(x, x, x),
        lambda x: F.conv2d(x[None, None], x[None, None, :3, :3]),
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: torch.view_as_real(torch.view_as_complex(x.view(-1, 2)) * (1 + 1j)),
        lambda x: x.double().cos().float(),
    ],
)
@torch.inference_mode()
def test_what_computes_is_rounded_once(operation: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 8)
    wanted = operation(x)
    with Rounding(U, 1):
        got = operation(x)
    off = (got - wanted).abs() / wanted.abs().clamp(min=1e-6)
    assert 0.5 * U < float(off.max()) < 1.01 * U


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: torch.cat([x, x]),
        lambda x: torch.stack([x, x]).flatten(),
        lambda x: F.pad(x, (1, 2)),
        lambda x: x.T.contiguous(),
        lambda x: x.T.clone(),
        lambda x: x.new_zeros(8, 8).copy_(x.T),
        lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(),
        lambda x: torch.where(x > 0, x, -x),
        lambda x: x.new_zeros(8).fill_(1.5),
        lambda x: x.T.reshape(-1),
        lambda x: x.clamp_min(0.1),
        lambda x: x.index_select(0, torch.tensor([3, 1])),
        lambda x: x.repeat_interleave(2, 0),
        lambda x: x.masked_fill(x > 0, 2.0),
        lambda x: F.interpolate(x[None, None], scale_factor=2.0, mode="nearest-exact"),
    ],
)
@torch.inference_mode()
def test_what_moves_numbers_is_exact(operation: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(8, 8)
    with Rounding(U, 1):
        got = operation(x)
    assert torch.equal(got, operation(x))


@torch.inference_mode()
def test_errors_of_a_chain_grow_as_the_model_says() -> None:
    """n independent errors of mean 0: the square root of n, not n."""
    x = torch.ones(20_000)
    with Rounding(U, 2):
        for _ in range(100):
            x = x * 1.0
    assert float(x.std()) == pytest.approx(U * math.sqrt(100 / 3), rel=0.03)


def test_weights_are_rounded_in_place() -> None:
    layer = nn.Linear(16, 16).requires_grad_(False)
    before = layer.weight.clone()
    Rounding(U, 3).weights(layer)
    off = (layer.weight / before - 1).abs()
    assert 0.5 * U < float(off.max()) <= 1.01 * U


def test_the_tolerance_is_the_worst_of_its_trials_with_room() -> None:
    seen: list[float] = []

    def error(rounding: Rounding) -> float:
        seen.append(float((rounding.rounded(torch.ones(10)) - 1).abs().max()))
        return seen[-1]

    assert tolerance(torch.bfloat16, error) == ROOM * max(seen)
    assert len(set(seen)) == TRIALS
    assert tolerance(torch.bfloat16, error) == ROOM * max(seen), "the same every time"
    assert len(set(seen)) == TRIALS
