"""What a convolution sees of the past: taps side by side, and what is kept for the next call."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.moments import (
    TAPS,
    Form,
    Memory,
    Sum,
    Walk,
    normalised,
    pair_weights,
    taps_side_by_side,
)


def laid(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def drawn(
    moments: int, rows: int, channels: int, *, shortcut: bool, bias: bool = True, four: bool = False
) -> Sum:
    """``four``: products of pairs."""
    torch.manual_seed(moments)
    shape = moments * rows, channels, 5, 7
    half = moments * rows // 2, channels, 5, 7
    return Sum(
        tuple(laid(torch.randn(half)) for _ in range(4)) if four else (laid(torch.randn(shape)),),
        torch.randn(channels) if bias else None,
        laid(torch.randn(shape)) if shortcut else None,
    )


def past_of(rows: int, channels: int) -> Tensor:
    torch.manual_seed(99)
    return torch.randn(rows, TAPS - 1, 5, 7, channels).permute(0, 1, 4, 2, 3)


def by_pixels(
    total: Sum,
    scale_C: Tensor | None,
    past_BSCHW: Tensor | None,
    *,
    rows: int,
    whole: bool,
    form: Form = "taps",
) -> tuple[Tensor, Tensor]:
    """A kernel, said otherwise than ``Walk`` does: row by row, moment by moment."""
    if len(total.products) == 4:
        a, b, c, d = (x.unflatten(0, (-1, rows)) for x in total.products)
        x_NCHW = torch.stack([a + b + c, b - c - d], 1).flatten(0, 2)
    else:
        x_NCHW = total.products[0].clone()
    for part in (total.bias_C, total.shortcut_NCHW):
        if part is not None:
            x_NCHW += part[:, None, None] if part.ndim == 1 else part
    nothing = torch.full((1,), torch.nan)
    if past_BSCHW is None:
        return nothing, laid(x_NCHW)
    found = []
    for row in range(rows):
        seen = list(past_BSCHW[row].clone())
        for x_CHW in x_NCHW[row::rows]:
            y_CHW = x_CHW
            if scale_C is not None:
                y_CHW = F.silu(F.normalize(x_CHW, dim=0) * scale_C[:, None, None])
            seen.append(y_CHW)
        past_BSCHW[row] = torch.stack(seen[-2:])
        starts = range(len(seen) - 2)
        if form == "apart":
            found.append(torch.stack(seen).permute(2, 3, 0, 1))
        elif form == "pairs":
            fours = [seen[n : n + 4] for n in starts if n % 2 == 0]
            mixed = [torch.stack([a - c, b + c, c - b, b - d]) for a, b, c, d in fours]
            found.append(torch.stack(mixed, 1))
        else:
            found.append(torch.stack([torch.cat(seen[n : n + TAPS]) for n in starts]))
    x_NCHW = laid(x_NCHW) if whole else nothing
    if form == "apart":
        return torch.stack(found), x_NCHW
    if form == "pairs":
        mixed_4NCHW = torch.stack(found, 2).flatten(1, 2)
        return mixed_4NCHW.movedim(2, -1).contiguous().movedim(-1, 2), x_NCHW
    return laid(torch.stack(found, 1).flatten(0, 1)), x_NCHW


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("moments", [1, 4])
def test_a_kernel_finds_what_operators_find(moments: int, shortcut: bool, rows: int) -> None:
    total, scale_C = drawn(moments, rows, 6, shortcut=shortcut), torch.rand(6) + 0.5
    memory: Memory = (past_of(rows, 6),)
    plain = Walk(memory, rows)
    wanted = plain.gather_whole(total, scale_C)
    fused = Walk((memory[0].clone(),), rows, by_pixels)
    got = fused.gather_whole(total, scale_C)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(fused.after(), plain.after())


def test_a_stream_begins_in_the_dark() -> None:
    total = drawn(4, 2, 6, shortcut=False)
    for kernel in (None, by_pixels):
        walk = Walk(None, 2, kernel)
        taps_NCHW = walk.gather(total)
        assert (taps_NCHW[:2, :12] == 0).all()
        torch.testing.assert_close(taps_NCHW[:, 12:], total.whole())
        torch.testing.assert_close(walk.after()[0][1], total.whole()[5::2])


def test_pieces_equal_a_clip() -> None:
    total, scale_C = drawn(6, 2, 6, shortcut=True), torch.rand(6) + 0.5
    whole = Walk(None, 2).gather(total, scale_C)
    assert total.shortcut_NCHW is not None
    memory, found = None, []
    for part in (slice(0, 2), slice(2, 8), slice(8, 12)):  # one moment, three, two
        walk = Walk(memory, 2)
        piece = Sum((total.products[0][part],), total.bias_C, total.shortcut_NCHW[part])
        found.append(walk.gather(piece, scale_C))
        memory = walk.after()
    torch.testing.assert_close(torch.cat(found), whole)


@pytest.mark.parametrize("rows", [1, 2])
def test_two_moments_at_a_time_are_the_same_convolution(rows: int) -> None:
    total, scale_C = drawn(4, rows, 6, shortcut=True), torch.rand(6) + 0.5
    weight = torch.randn(5, 6, TAPS, 3, 3)
    taps_NCHW = Walk(None, rows).gather(total, scale_C)
    flat = weight.transpose(1, 2).flatten(1, 2)
    wanted = F.conv2d(taps_NCHW, flat, padding=1)
    seen, whole = Walk(None, rows, by_pixels).gather_pairs(total, scale_C, whole=True)
    products = [F.conv2d(x, w, padding=1) for x, w in zip(seen, pair_weights(weight), strict=True)]
    got = Walk(None, rows, by_pixels).whole(Sum(tuple(products)))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole, total.whole())


def test_every_second_moment() -> None:
    x_NCHW = torch.arange(6.0).repeat_interleave(2)[:, None, None, None].expand(12, 1, 1, 1)
    every = taps_side_by_side(x_NCHW, 2)[:, :, 0, 0]
    assert every[::2].tolist() == [[n, n + 1, n + 2] for n in range(4)]
    assert taps_side_by_side(x_NCHW, 2, stride=2)[::2, :, 0, 0].tolist() == [[0, 1, 2], [2, 3, 4]]


def test_a_pixel_without_light_stays_dark() -> None:
    assert (normalised(torch.zeros(1, 3, 1, 1), torch.ones(3)) == 0).all()


def test_another_autoencoders_memory_is_refused() -> None:
    walk = Walk((past_of(1, 6), past_of(1, 6)), 1)
    walk.gather(drawn(1, 1, 6, shortcut=False))
    with pytest.raises(AssertionError, match="another autoencoder"):
        walk.after()
