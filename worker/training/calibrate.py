"""Calibration: how far the inputs of each layer reach, for rounding them to 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from brushcast_worker.models.int8 import Conv, Up

SHARE = 0.9999  # of the values that the 8 bits cover; the few above are clipped
SAMPLES = 1 << 20


@torch.no_grad()
def calibrate(network: nn.Module, run: Callable[[], None]) -> None:
    """Sets every ``reach`` of ``Conv`` and ``Up`` by the inputs while ``run`` uses the network."""
    reached: dict[Conv | Up, Tensor] = {}

    def look(conv: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, (Conv, Up))
        for x in given:
            if not isinstance(x, Tensor):
                continue
            values = x.detach().float().flatten()
            values = values[torch.randint(len(values), (SAMPLES,), device=values.device)]
            values = values.abs() if conv.signed else values.relu()
            reach = values.kthvalue(int(SHARE * SAMPLES)).values
            reached[conv] = torch.maximum(reach, reached.get(conv, reach))

    convs = [module for module in network.modules() if isinstance(module, (Conv, Up))]
    hooks = [conv.register_forward_pre_hook(look) for conv in convs]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for conv, reach in reached.items():
        conv.reach.copy_(reach)
