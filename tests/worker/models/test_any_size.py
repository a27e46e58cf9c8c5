"""Code for pictures of every size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brushcast_worker.models.any_size import AnySize

WIDE = 8  # channels, and sides of a picture that happen to be as long


class Layer(nn.Module):
    """A convolution of a picture and of what it remembers. Of small ones only: on a CPU torch takes
    another convolution above 20480 numbers, and compiles that for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * WIDE, WIDE, 3, padding=1)

    def forward(self, x_BCHW: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        (before_BCHW,) = memory
        if before_BCHW.shape != x_BCHW.shape:
            raise ValueError("another size")
        return torch.relu(self.conv(torch.cat([x_BCHW, before_BCHW], 1)))


def pair(rows: int, height: int, width: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    x_BCHW = torch.randn(rows, WIDE, height, width)
    return x_BCHW, (torch.randn_like(x_BCHW),)


def test_one_code_serves_every_size(built: list[torch.fx.GraphModule]) -> None:
    layer = Layer().eval().requires_grad_(False)
    fused = AnySize(layer.forward, {0: [-2, -1], 1: [2, 3]})
    for height, width in ((WIDE, WIDE), (6, 10), (12, WIDE), (10, 13), (16, 16)):
        given = pair(1, height, width)
        torch.testing.assert_close(fused(*given), layer(*given))
    assert len(built) == 1


def test_rows_are_left_open_when_they_change(built: list[torch.fx.GraphModule]) -> None:
    layer = Layer().eval().requires_grad_(False)
    fused = AnySize(layer.forward, {0: [-2, -1], 1: [-2, -1]}, fullgraph=True)
    for rows in (1, 2, 3, 4, 6):
        given = pair(rows, 6 + 2 * rows, 10)
        torch.testing.assert_close(fused(*given), layer(*given))
    assert len(built) <= 3, "one row, two, and any number"


def test_without_it_every_size_is_built(built: list[torch.fx.GraphModule]) -> None:
    """What the others would not notice if torch left everything open by itself."""
    layer = Layer().eval().requires_grad_(False)
    fixed = torch.compile(layer.forward, dynamic=False)
    for height in (6, 8, 10):
        fixed(*pair(1, height, 10))
    assert len(built) == 3


def test_an_argument_that_is_not_given_is_none_of_its_business(
    built: list[torch.fx.GraphModule],
) -> None:
    double = AnySize(lambda x: 2 * x, {0: [1], 5: [0]})
    assert torch.equal(double(torch.ones(1, 3)), torch.full((1, 3), 2.0))
    assert built
