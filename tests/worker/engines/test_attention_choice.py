"""The fastest attention kernel that gives right numbers, found by trying; fakes stand for kernels
and for time on the CPU."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.engines.attention_choice import (
    BACKENDS,
    AttentionChoice,
    AttentionShape,
    Trial,
    attention_shapes,
    choose,
    choose_attention,
    off_by,
    tolerance,
    trial,
    where_there_is_room,
)
from brushcast_worker.models.dit import SIZES

CPU = torch.device("cpu")
SMALL = AttentionShape(rows=2, heads=3, queries=10, keys=40, head_dim=8)


def trials(dtype: torch.dtype = torch.float32) -> list[Trial]:
    generator = torch.Generator().manual_seed(1)
    across = AttentionShape(rows=2, heads=3, queries=10, keys=16, head_dim=8)
    return [trial(shape, generator, dtype) for shape in (SMALL, across)]


def right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def slightly_wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.05 * q.shape[-1] ** -0.5)


def not_a_number(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.full_like(q, torch.nan)


def absent(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raise RuntimeError("No available kernel. Aborting execution.\nmore of it")


def too_large(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def clock(*spent_ms: float) -> Callable[[Callable[[], object]], float]:
    """Runs what it times, and says the next of these."""
    left = iter(spent_ms)

    def time_ms(run: Callable[[], object]) -> float:
        run()
        return next(left)

    return time_ms


def test_the_fastest_over_all_shapes_comes_first() -> None:
    backends = {"flash": right, "cudnn": right, "math": right}
    choice = choose(trials(), backends, clock(1.5, 0.25, 1.0, 1.0, 0.5, 9.0))
    assert dict(choice.times_ms) == {"flash": 1.75, "cudnn": 2.0, "math": 9.5}
    assert choice.order == ("flash", "cudnn", "math")
    assert not choice.refused


def test_what_is_absent_or_too_large_is_left_out_and_said() -> None:
    backends = {"cudnn": absent, "flash": right, "math": too_large}
    choice = choose(trials(), backends, clock(1.0, 1.0))
    assert choice.order == ("flash", "math"), "what can do everything stands last"
    assert choice.refused == {
        "cudnn": "No available kernel. Aborting execution.",
        "math": "CUDA out of memory",
    }
    assert str(choice).startswith("flash 2 ms, cudnn: No available kernel")


@pytest.mark.parametrize("wrong", [slightly_wrong, not_a_number])
def test_wrong_numbers_are_never_used_however_fast(
    wrong: Callable[[Tensor, Tensor, Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        choice = choose(trials(torch.bfloat16), {"cudnn": wrong, "flash": right}, clock(5.0, 5.0))
    assert choice.order == ("flash", "math")
    assert "cudnn is not used: wrong by" in caplog.text


def test_rounding_is_not_taken_for_an_error() -> None:
    """Of bfloat16's own attention, on the sizes that the tolerance was derived for."""
    shape = AttentionShape(rows=1, heads=2, queries=130, keys=1500, head_dim=128)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32):
        choice = choose([trial(shape, generator, dtype)], {"math": right}, clock(1.0))
        assert choice.order == ("math",)
    assert tolerance(torch.bfloat16) == 2**-6


def test_the_error_is_relative() -> None:
    y = torch.ones(1, 1, 4, 2)
    assert off_by(100 * y + 1, 100 * y) == pytest.approx(0.01)


def test_the_shapes_are_the_transformers_own() -> None:
    to_itself, across = attention_shapes(SIZES["wan-1.3b"], 1560, 2)
    assert (to_itself.rows, to_itself.heads, to_itself.head_dim) == (2, 12, 128)
    assert (to_itself.queries, to_itself.keys) == (1560, 9360)
    assert (across.queries, across.keys) == (1560, 512)
    q, k, _ = trial(SMALL, torch.Generator().manual_seed(0), torch.float32)
    assert q.shape == (2, 3, 10, 8)
    assert k.shape == (2, 3, 40, 8)
    assert q.transpose(1, 2).is_contiguous(), "as a cache has them"


def test_nothing_is_tried_and_nothing_changed_on_a_cpu() -> None:
    choice = choose_attention([SMALL], CPU, torch.float32)
    assert choice == AttentionChoice()
    before = enabled()
    with choice.kernels():
        assert enabled() == before


def test_where_the_memory_is_taken_torch_chooses(caplog: pytest.LogCaptureFixture) -> None:
    """A second worker, or the doctor beside one, must not fail for want of a measurement."""

    def full() -> AttentionChoice:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert where_there_is_room(full) == AttentionChoice()
    assert "not measured" in caplog.text
    found = AttentionChoice(times_ms={"flash": 1.0})
    assert where_there_is_room(lambda: found) is found


def test_within_it_the_order_holds_and_what_was_refused_is_off() -> None:
    before = enabled()
    with AttentionChoice(times_ms={"efficient": 1.0, "flash": 2.0}).kernels():
        order = torch._C._get_sdp_priority_order()
        wanted = [int(BACKENDS[name]) for name in ("efficient", "flash", "math")]
        assert order[:3] == wanted
        assert enabled() == {"cudnn": False, "flash": True, "efficient": True, "math": True}
    assert enabled() == before


def enabled() -> dict[str, bool]:
    cuda = torch.backends.cuda
    return {
        "cudnn": cuda.cudnn_sdp_enabled(),
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }


@pytest.mark.gpu
def test_on_a_gpu_kernels_are_tried_and_agree() -> None:
    shapes = attention_shapes(SIZES["wan-1.3b"], 1024, 2)
    before = torch.cuda.get_rng_state()
    choice = choose_attention(shapes, torch.device("cuda", 0), torch.bfloat16)
    assert len(choice.times_ms) >= 2, str(choice)
    assert "wrong" not in str(choice)
    assert all(a <= b for a, b in itertools.pairwise(choice.times_ms.values()))
    assert torch.equal(torch.cuda.get_rng_state(), before)
