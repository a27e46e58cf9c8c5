"""``moments.Walk.gather`` as one Triton kernel: every pixel is read once.

Between two convolutions of 96 channels at 512x512 lie 200 MB; operator by operator, or compiled,
bias, shortcut, norm, SiLU, the copy of three taps and the memory take 1.1 ms of an H200, which has
the bandwidth to do it in a fifth of that.

Letters: B rows (streams), T moments, C channels, H height, W width, N = T * B pictures in the order
of time, S moments remembered (2).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from brushcast_worker.models.moments import TAPS, Form, Sum

VALUES = 2048  # of a program, a moment: 16 a thread


def gather(
    total: Sum,
    scale_C: Tensor | None,
    past_BSCHW: Tensor | None,
    *,
    rows: int,
    whole: bool,
    form: Form = "taps",
) -> tuple[Tensor, Tensor]:
    """See ``models.moments.Kernel``; ``past`` is written over.  All lie channels-last."""
    pictures, channels, height, width = total.shape
    moments = pictures // rows
    x, shortcut_NCHW = total.products[0], total.shortcut_NCHW
    for lying in (*total.products, *(() if shortcut_NCHW is None else (shortcut_NCHW,))):
        assert lying.permute(0, 2, 3, 1).is_contiguous()
    shape = {
        "taps": (pictures, height, width, TAPS * channels),
        "pairs": (4, pictures // 2, height, width, channels),
        "apart": (rows, height, width, moments + TAPS - 1, channels),
    }[form]
    # What is not asked for is not written: any address does.
    out = x if past_BSCHW is None else x.new_empty(shape)
    whole_NHWC = x.new_empty((pictures, height, width, channels)) if whole else x
    if past_BSCHW is not None:
        assert past_BSCHW.permute(0, 1, 3, 4, 2).is_contiguous()
    block = triton.next_power_of_2(channels)
    side = max(VALUES // block, 1)
    _gather[(triton.cdiv(height * width, side), rows)](
        *(total.products if len(total.products) == 4 else (x, x, x, x)),
        x if total.bias_C is None else total.bias_C,
        x if shortcut_NCHW is None else shortcut_NCHW,
        x if scale_C is None else scale_C,
        x if past_BSCHW is None else past_BSCHW,
        whole_NHWC,
        out,
        height * width,
        rows,
        moments=moments,
        channels=channels,
        block=block,
        side=side,
        has_bias=total.bias_C is not None,
        has_shortcut=shortcut_NCHW is not None,
        has_scale=scale_C is not None,
        has_past=past_BSCHW is not None,
        has_whole=whole,
        from_pairs=len(total.products) == 4,
        pairs=form == "pairs",
        apart=form == "apart",
    )
    if past_BSCHW is not None and form != "apart":
        out = out.movedim(-1, -3)
    return out, whole_NHWC.permute(0, 3, 1, 2) if whole else x


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _gather(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    c_ptr,
    d_ptr,
    bias_ptr,
    shortcut_ptr,
    scale_ptr,
    past_ptr,
    whole_ptr,
    out_ptr,
    pixels,
    rows,
    moments: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
    side: tl.constexpr,
    has_bias: tl.constexpr,
    has_shortcut: tl.constexpr,
    has_scale: tl.constexpr,
    has_past: tl.constexpr,
    has_whole: tl.constexpr,
    from_pairs: tl.constexpr,
    pairs: tl.constexpr,
    apart: tl.constexpr,
) -> None:
    """One program: ``side`` pixels of one row, all moments of them, oldest first."""
    row = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * side + tl.arange(0, side)
    channel = tl.arange(0, block)
    there = (pixel[:, None] < pixels) & (channel[None, :] < channels)
    at = pixel[:, None] * channels + channel[None, :]
    if has_bias:
        bias = tl.load(bias_ptr + channel, channel < channels, 0.0).to(tl.float32)[None, :]
    if has_scale:
        scale = tl.load(scale_ptr + channel, channel < channels, 0.0).to(tl.float32)[None, :]
    picture = pixels * channels  # values of one
    if has_past:
        past_ptr += row * 2 * picture
        older = tl.load(past_ptr + at, there, 0.0)
        first = older
        old = tl.load(past_ptr + picture + at, there, 0.0)
        into = pixel[:, None] * (3 * channels) + channel[None, :]
        if apart:
            out_ptr += row * picture * (moments + 2)
            into = pixel[:, None] * (channels * (moments + 2)) + channel[None, :]
            tl.store(out_ptr + into, older, there)
            tl.store(out_ptr + into + channels, old, there)
    for moment in tl.static_range(moments):
        number = moment * rows + row
        if from_pairs:
            half = ((moment // 2) * rows + row) * picture + at
            b = tl.load(b_ptr + half, there, 0.0).to(tl.float32)
            c = tl.load(c_ptr + half, there, 0.0).to(tl.float32)
            if moment % 2 == 0:
                x = tl.load(x_ptr + half, there, 0.0).to(tl.float32) + b + c
            else:
                x = b - c - tl.load(d_ptr + half, there, 0.0).to(tl.float32)
        else:
            x = tl.load(x_ptr + number * picture + at, there, 0.0).to(tl.float32)
        if has_bias:
            x += bias
        if has_shortcut:
            x += tl.load(shortcut_ptr + number * picture + at, there, 0.0).to(tl.float32)
        new = x.to(x_ptr.dtype.element_ty)
        if has_whole:
            tl.store(whole_ptr + number * picture + at, new, there)
        if has_scale:
            length = tl.sqrt(tl.sum(tl.where(there, x * x, 0.0), 1))[:, None]
            y = x / tl.maximum(length, 1e-12) * scale
            new = (y * tl.sigmoid(y)).to(new.dtype)
        if has_past:
            if apart:
                tl.store(out_ptr + into + channels * (moment + 2), new, there)
            elif pairs:
                if moment % 2 == 1:  # four moments are there: first, older, old and new
                    here = out_ptr + ((moment // 2) * rows + row) * picture + at
                    apiece = (moments // 2) * rows * picture
                    a = first.to(tl.float32)
                    b = older.to(tl.float32)
                    c = old.to(tl.float32)
                    d = new.to(tl.float32)
                    tl.store(here, (a - c).to(new.dtype), there)
                    tl.store(here + apiece, (b + c).to(new.dtype), there)
                    tl.store(here + 2 * apiece, (c - b).to(new.dtype), there)
                    tl.store(here + 3 * apiece, (b - d).to(new.dtype), there)
            else:
                here = out_ptr + number * picture * 3 + into
                tl.store(here, older, there)
                tl.store(here + channels, old, there)
                tl.store(here + 2 * channels, new, there)
            first = older
            older = old
            old = new
    if has_past:
        tl.store(past_ptr + at, older, there)
        tl.store(past_ptr + picture + at, old, there)
