"""The Triton kernel against the operators: on a GPU, or anywhere with TRITON_INTERPRET=1."""

from __future__ import annotations

import os

import pytest
import torch

from brushcast_worker.models.moments import Sum, Walk
from tests.worker.models.test_moments import by_pixels, drawn, past_of

pytest.importorskip("triton", reason="no Triton: it comes with torch for a GPU")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ["cpu"] if INTERPRETED else [pytest.param("cuda", marks=pytest.mark.gpu)]


def there(total: Sum, device: str, dtype: torch.dtype) -> Sum:
    parts = (total.x_NCHW, total.bias_C, total.shortcut_NCHW)
    return Sum(*(None if x is None else x.to(device, dtype) for x in parts))  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [4, 24])
@pytest.mark.parametrize(("moments", "rows"), [(1, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shortcut", [False, True])
def test_it_finds_what_operators_find(
    device: str,
    dtype: torch.dtype,
    channels: int,
    moments: int,
    rows: int,
    scaled: bool,
    shortcut: bool,
) -> None:
    from brushcast_worker.models.moments_triton import gather

    total = there(drawn(moments, rows, channels, shortcut=shortcut, bias=scaled), device, dtype)
    scale_C = (torch.rand(channels) + 0.5).to(device, dtype) if scaled else None
    near = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for apart in (False, True) if scaled else (False,):
        past = past_of(rows, channels).to(device, dtype)
        mine = past.clone()
        walk = Walk((past,), rows, by_pixels)
        fused = Walk((mine,), rows, gather)
        if apart:
            assert scale_C is not None
            wanted, got = (each.gather_apart(total, scale_C) for each in (walk, fused))
        else:
            wanted, got = (each.gather(total, scale_C) for each in (walk, fused))
        torch.testing.assert_close(got, wanted, **near)
        assert got.stride() == wanted.stride()
        torch.testing.assert_close(fused.after()[0], walk.after()[0], **near)
        assert fused.after()[0].data_ptr() == mine.data_ptr()
        if scale_C is not None:
            both = [
                each.gather_whole(total, scale_C)[1]
                for each in (Walk(None, rows, by_pixels), Walk(None, rows, gather))
            ]
            torch.testing.assert_close(*both, **near)
    torch.testing.assert_close(Walk(None, rows, gather).whole(total), total.whole(), **near)
