"""What is written for speed gives what the library's own operators give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from brushcast_worker.models.resample import channels_last, enlarged, means, shuffled


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("size", [4, 8])
def test_means_of_cells(size: int, device: str) -> None:
    x = torch.randn(2, 3, 16, 24, device=device)
    torch.testing.assert_close(means(x, size), F.avg_pool2d(x, size))
    low = channels_last(x.bfloat16())
    wanted = F.avg_pool2d(low.float(), size)
    torch.testing.assert_close(means(low, size), wanted, atol=5e-3, rtol=0.0)
    levels = torch.randint(0, 256, (1, 3, 16, 24), dtype=torch.uint8, device=device)
    torch.testing.assert_close(means(levels, size), F.avg_pool2d(levels.float(), size))


@pytest.mark.parametrize("inference", [False, True])
def test_bilinear_enlargement(inference: bool) -> None:
    with torch.inference_mode(inference):
        x = torch.randn(2, 3, 5, 7)
        wanted = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
        torch.testing.assert_close(enlarged(x, 4), wanted)
    if not inference:
        enlarged(x.requires_grad_(), 4).sum().backward()  # what is cached is of use here, too


@pytest.mark.parametrize("learning", [False, True])
def test_pixels_out_of_channels(learning: bool) -> None:
    x = torch.randn(2, 16, 6, 10)
    for given in (x, channels_last(x), channels_last(x).double()):
        with torch.set_grad_enabled(learning):
            assert torch.equal(shuffled(given), F.pixel_shuffle(given, 2))
    assert shuffled(channels_last(x))[0, 0].is_contiguous()
