"""Decode: clean latents and their sources to styled pictures, each stream with its own memory.

Letters: T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from brushcast_worker.models.light_vae import Guide
from brushcast_worker.stages.encode import Memory, alike, join, part, stack


class Decoder(Protocol):
    """The part of an autoencoder that this stage needs."""

    def decode(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
    ) -> tuple[Tensor, Memory]: ...


def decode(
    autoencoder: Decoder,
    x0_TCHW: Sequence[Tensor],
    sources_TCHW: Sequence[Tensor],
    memories: Sequence[Memory | None],
    guides: Sequence[Guide | None],
) -> tuple[list[Tensor], list[Memory]]:
    """Pictures in [-1, 1] and the new memory of each stream; streams of one shape share a
    forward. A guide is what the autoencoder has begun for a stream that is alone."""
    pictures: list[Tensor] = [torch.empty(0)] * len(x0_TCHW)
    after: list[Memory] = [()] * len(x0_TCHW)
    for group in alike(sources_TCHW, memories):
        x_BTCHW, memory = autoencoder.decode(
            stack([x0_TCHW[i] for i in group]),
            stack([sources_TCHW[i] for i in group]),
            join([memories[i] for i in group]),
            guides[group[0]] if len(group) == 1 else None,
        )
        x_BTCHW = x_BTCHW.float().clamp_(-1, 1)  # NaN stays NaN, for the loop to see
        for row, i in enumerate(group):
            pictures[i] = x_BTCHW[row]
            after[i] = part(memory, row)
    return pictures, after
