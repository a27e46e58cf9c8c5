"""Calibration: the range of each layer's input is what it meets, and nothing else changes."""

from __future__ import annotations

import torch
from torch import nn

from brushcast_worker.models.int8 import Conv, Up
from training.calibrate import calibrate


def test_the_reach_is_what_the_inputs_reach() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList([Conv(4, 4), Conv(4, 4, signed=True), Up(4, 4), Conv(4, 4)])
    x = torch.rand(1, 4, 32, 32) * 8 - 6  # -6..2

    def run() -> None:
        for layer in layers[:3]:
            layer(x / 2)
            layer(x)

    calibrate(layers, run)
    reach = [float(layer.reach) for layer in layers]
    torch.testing.assert_close(reach, [2.0, 6.0, 2.0, 0.0], rtol=0.01, atol=0)
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_channels_beside_count_too() -> None:
    conv = Conv(4, 4)

    def run() -> None:
        conv(torch.ones(1, 2, 8, 8), torch.full((1, 2, 8, 8), 3.0))

    calibrate(conv, run)
    assert float(conv.reach) == 3.0
