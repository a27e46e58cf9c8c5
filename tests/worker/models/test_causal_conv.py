"""A causal convolution in each of its forms is the convolution over time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.causal_conv import WIDE, Conv
from brushcast_worker.models.moments import Sum, Walk, normalised
from tests.worker.models.test_moments import by_pixels, drawn


@pytest.fixture(autouse=True)
def _no_gradients():  # noqa: ANN202
    with torch.inference_mode():
        yield


def over_time(conv: Conv, x_NCHW: Tensor) -> Tensor:
    """By torch's own convolution of three dimensions, of one row, after two dark moments."""
    x_CTHW = F.pad(x_NCHW.transpose(0, 1), (0, 0, 0, 0, 2, 0))
    side = conv.side // 2
    y_CTHW = F.conv3d(x_CTHW[None], conv.weight, conv.bias, padding=(0, side, side))[0]
    return y_CTHW.transpose(0, 1)


def made(inputs: int, outputs: int, side: int) -> Conv:
    torch.manual_seed(0)
    return Conv(inputs, outputs, side=side).eval().requires_grad_(False)


@pytest.mark.parametrize("widened", [False, True])
@pytest.mark.parametrize("side", [1, 3])
def test_moments_side_by_side_are_a_convolution_over_time(side: int, widened: bool) -> None:
    conv, (x_NCHW,) = made(3, 5, side), drawn(4, 1, 3, shortcut=False).products
    if widened:
        conv.widen()
    got = conv(x_NCHW, Walk(None, 1)).whole()
    torch.testing.assert_close(got, over_time(conv, x_NCHW), rtol=1e-4, atol=1e-5)


def test_widened_it_has_as_many_inputs_as_the_hardware_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conv, seen = made(3, 5, 3), []
    conv.widen()
    plain = torch.nn.functional.conv2d

    def conv2d(x: Tensor, weight: Tensor, *rest: object, **named: object) -> Tensor:
        seen.append((x.shape[1], weight.shape[1]))
        return plain(x, weight, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    conv(drawn(4, 1, 3, shortcut=False).products[0], Walk(None, 1))
    assert seen == [(WIDE, WIDE)]


@pytest.mark.parametrize("moments", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("rows", [1, 2])
def test_after_a_norm_it_is_the_same_however_it_is_done(moments: int, rows: int) -> None:
    """With a kernel two moments at a time, where there are four or more of them."""
    conv, scale_C = made(6, 5, 3), torch.rand(6) + 0.5
    total = drawn(moments, rows, 6, shortcut=True)
    paired = Walk(None, rows, by_pixels)
    got, whole = conv.after(total, scale_C, paired, whole=True)
    assert len(got.products) == (4 if moments in (4, 6) else 1)
    torch.testing.assert_close(whole, total.whole())
    pictures = paired.whole(got).unflatten(0, (-1, rows))
    y_NCHW = F.silu(normalised(total.whole(), scale_C)).unflatten(0, (-1, rows))
    for row in range(rows):
        wanted = over_time(conv, y_NCHW[:, row])
        torch.testing.assert_close(pictures[:, row], wanted, rtol=1e-3, atol=1e-4)


def test_operators_never_go_in_pairs() -> None:
    conv, total = made(6, 5, 3), drawn(4, 1, 6, shortcut=False)
    y, _ = conv.after(total, torch.ones(6), Walk(None, 1))
    assert isinstance(y, Sum)
    assert len(y.products) == 1


def test_folding_the_taps_copies_no_weights() -> None:
    for conv in (made(3, 8, 3), made(8, 3, 3)):
        folded = conv.weight.transpose(1, 2).flatten(1, 2)
        assert folded.data_ptr() == conv.weight.data_ptr()
        assert folded.is_contiguous(memory_format=torch.channels_last)
