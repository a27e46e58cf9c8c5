"""Calibration: how far the inputs of each layer reach, for rounding them to 8 bits.

The last step of training; by itself: python -m training.calibrate --weights DIR --media DIR (from
worker/).
Plays training clips under every look and writes the ranges into the weights; says which layers do
nothing.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brushcast_worker.models.int8 import Conv, Up
from brushcast_worker.models.pocket import FILE, save_pocket
from brushcast_worker.models.text import STYLES
from brushcast_worker.quality.play import CHUNK, Play, one_style, restyle
from training.data import fit, read
from training.resume import go_on_from

log = logging.getLogger("training")

SIZE = (288, 512)
CHUNKS = 3  # of each clip
LOOKS = 3  # under which each clip is played; all of them by turns
SHARE = 0.9999  # of the values that the 8 bits cover; the few above are clipped
SAMPLES = 1 << 16  # of each input


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


def calibrate_weights(folder: Path, media: Path) -> None:
    """Rewrites the weights in place, by what training clips make of them."""
    torch.manual_seed(0)
    pocket = go_on_from(folder)
    networks = nn.ModuleDict(pocket.parts).eval().requires_grad_(False)
    clips = [read(path) for path in sorted(media.iterdir())]

    def run() -> None:
        for n, clip in enumerate(clips):
            pictures = np.stack([fit(p, SIZE) for p in clip[10 : 10 + CHUNKS * CHUNK]])
            video = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
            for k in range(LOOKS):
                style = STYLES[(n * LOOKS + k) % len(STYLES)]
                restyle(pocket, video, one_style(style), Play())

    calibrate(networks, run)
    for name, module in networks.named_modules():
        if isinstance(module, (Conv, Up)) and module.reach < 0.01:
            log.warning("%s does nothing: its inputs reach %g", name, float(module.reach))
    save_pocket(pocket, folder / FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of pocket.safetensors")
    parser.add_argument("--media", type=Path, required=True, help="training clips")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    calibrate_weights(args.weights, args.media)


if __name__ == "__main__":
    main()
