"""Decode: clean latents and their sources to styled pictures, each stream with its own memory.

Letters: B rows, T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from brushcast_worker.chunk import Arrival, as_levels
from brushcast_worker.models.light_vae import Guide
from brushcast_worker.stages.autoencoder import Autoencoder, Memory
from brushcast_worker.stages.encode import alike, join, part, stack


class Decoded(NamedTuple):
    """Pictures of one stream, in [-1, 1] or NaN, and its memory: whole with the last of them.
    `arrival`: of the same pictures in host memory, where that copy has begun."""

    stream: int
    pictures_TCHW: Tensor
    memory: Memory
    arrival: Arrival | None = None


def decode(
    autoencoder: Autoencoder,
    x0_TCHW: Sequence[Tensor],
    sources_TCHW: Sequence[Tensor],
    memories: Sequence[Memory | None],
    guides: Sequence[Guide | None],
) -> Iterator[Decoded]:
    """Each stream's pictures, in order, as soon as they are there; streams of one shape share a
    forward. A guide is what the autoencoder has begun for a stream that is alone."""
    for group in alike(sources_TCHW, memories):
        painted = autoencoder.paint(
            stack([x0_TCHW[i] for i in group]),
            stack([sources_TCHW[i] for i in group]),
            join([memories[i] for i in group]),
            guides[group[0]] if len(group) == 1 else None,
        )
        for x_BTCHW, memory in painted:
            x_BTCHW = x_BTCHW.float().clamp(-1, 1)  # NaN stays NaN, for the loop to see
            for row, i in enumerate(group):
                yield Decoded(i, x_BTCHW[row], part(memory, row))


def as_shown(x_BTCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Painted pictures in [-1, 1] or NaN; as uint8 `[B T H W C]`; each row's extremes `[B 2]`."""
    x_BTCHW = x_BTCHW.float().clamp(-1, 1)  # NaN stays NaN, for the loop to see
    levels_NHWC = as_levels(x_BTCHW.flatten(0, 1))
    levels_BTHWC = levels_NHWC.view(*x_BTCHW.shape[:2], *levels_NHWC.shape[1:])
    low, high = (most((1, 2, 3, 4)) for most in (x_BTCHW.amin, x_BTCHW.amax))
    return x_BTCHW, levels_BTHWC, torch.stack([low, high], 1)
