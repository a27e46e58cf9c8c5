"""The feed-forward against its formula; on a GPU by way of cuBLAS's own GELU."""

from __future__ import annotations

import math

import pytest
import torch

from brushcast_worker.models.feed_forward import FeedForward


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("shape", [(16,), (5, 16), (2, 1, 7, 16)])
@torch.no_grad()
def test_it_is_its_formula(shape: tuple[int, ...], device: str) -> None:
    torch.manual_seed(0)
    feed = FeedForward(16, 48).to(device)
    x = 2 * torch.randn(shape, device=device)
    y = x @ feed[0].weight.T + feed[0].bias
    y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
    wanted = y @ feed[2].weight.T + feed[2].bias
    near = 2e-6 if device == "cpu" else 2e-3  # the GPU's products may round to 10 bits
    torch.testing.assert_close(feed(x), wanted, atol=near, rtol=near)


def test_weights_have_the_published_names() -> None:
    assert set(FeedForward(4, 8).state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
