"""The Triton kernel against the operators: on a GPU, or anywhere with TRITON_INTERPRET=1."""

from __future__ import annotations

import os

import pytest
import torch

from brushcast_worker.models.moments import Form, Sum
from tests.worker.models.test_moments import by_pixels, drawn, past_of

pytest.importorskip("triton", reason="no Triton: it comes with torch for a GPU")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ["cpu"] if INTERPRETED else [pytest.param("cuda", marks=pytest.mark.gpu)]


def there(total: Sum, device: str, dtype: torch.dtype) -> Sum:
    bias_C, shortcut_NCHW = (
        None if x is None else x.to(device, dtype) for x in (total.bias_C, total.shortcut_NCHW)
    )
    return Sum(tuple(x.to(device, dtype) for x in total.products), bias_C, shortcut_NCHW)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [4, 24])
@pytest.mark.parametrize(
    ("moments", "rows", "form"),
    [(1, 1, "taps"), (2, 3, "taps"), (5, 2, "taps"), (4, 2, "pairs"), (2, 1, "pairs"),
     (4, 2, "apart")],
)  # fmt: skip
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_it_finds_what_operators_find(
    device: str, dtype: torch.dtype, channels: int, moments: int, rows: int, form: Form,
    scaled: bool, shortcut: bool, whole: bool,
) -> None:  # fmt: skip
    from brushcast_worker.models.moments_triton import gather

    near = {"rtol": 2e-2, "atol": 0.1} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for four in (False, True) if moments % 2 == 0 else (False,):
        drawn_total = drawn(moments, rows, channels, shortcut=shortcut, bias=scaled, four=four)
        total = there(drawn_total, device, dtype)
        scale_C = (torch.rand(channels) + 0.5).to(device, dtype) if scaled else None
        past = past_of(rows, channels).to(device, dtype)
        pasts = past.clone(), past.clone()
        wanted, got = (
            kernel(total, scale_C, known, rows=rows, whole=whole, form=form)
            for kernel, known in zip((by_pixels, gather), pasts, strict=True)
        )
        torch.testing.assert_close(got[0], wanted[0], **near)
        assert got[0].stride() == wanted[0].stride()
        torch.testing.assert_close(pasts[1], pasts[0], **near)
        assert not torch.equal(pasts[1], past), "written over"
        if whole:
            torch.testing.assert_close(got[1], wanted[1], **near)
        alone = [
            kernel(total, None, None, rows=rows, whole=True)[1] for kernel in (by_pixels, gather)
        ]
        torch.testing.assert_close(*alone, **near)
