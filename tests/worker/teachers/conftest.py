"""A room to paint."""

from __future__ import annotations

import torch

from brushcast_worker.teachers import page, paint


def room(seed: int = 0) -> torch.Tensor:
    """Soft shapes with edges, and a little grain ``[1 3 96 128]``."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 6, 8, generator=generator)
    x = torch.nn.functional.interpolate(small, size=(96, 128), mode="bicubic").clamp(0, 1)
    x = (x * 5).round() / 5
    return (x + 0.02 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def finished(x: torch.Tensor, style: str) -> torch.Tensor:
    return page(paint(x, style), style)


def check_look(style: str) -> torch.Tensor:
    """What every look must be; returns its painting of the room."""
    x = room()
    y = finished(x, style)
    assert y.shape == x.shape
    assert bool(((y >= 0) & (y <= 1)).all())
    assert float((y - x).abs().mean()) > 0.03, "no filter that hardly shows"
    assert float(y.std()) > 0.03, "it is not plain"
    torch.testing.assert_close(finished(x, style), y, rtol=0, atol=0)
    both = torch.cat([room(1), x])
    torch.testing.assert_close(finished(both, style)[1:], y, rtol=0, atol=2e-3)
    return y
