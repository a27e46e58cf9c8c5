"""Encode: pictures of several streams to latents, each stream with its own memory.

Letters: T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from brushcast_worker.stages.autoencoder import Autoencoder, Memory


def encode(
    autoencoder: Autoencoder, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
) -> tuple[list[Tensor], list[Memory]]:
    """Latents `[T/4 16 H/8 W/8]` and the new memory of each stream; streams of one shape share a
    forward.

    Pictures are in [-1, 1]; a memory of None is a stream's first chunk.
    """
    latents: list[Tensor] = [torch.empty(0)] * len(pictures_TCHW)
    after: list[Memory] = [()] * len(pictures_TCHW)
    for group in alike(pictures_TCHW, memories):
        video_BTCHW = stack([pictures_TCHW[i] for i in group])
        z_BTCHW, memory = autoencoder.encode(video_BTCHW, join([memories[i] for i in group]))
        for row, i in enumerate(group):
            latents[i] = z_BTCHW[row]
            after[i] = part(memory, row)
    return latents, after


def alike(shapes: Sequence[Tensor], memories: Sequence[Memory | None]) -> list[list[int]]:
    """Which streams can share one forward: those of one shape that all have a memory, or all have
    none."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (x, memory) in enumerate(zip(shapes, memories, strict=True)):
        groups.setdefault((x.shape, memory is None), []).append(i)
    return list(groups.values())


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """`torch.stack`, without a copy of a single one."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def join(memories: Sequence[Memory | None]) -> Memory | None:
    """One memory of several rows; all are None, or none is."""
    known = [memory for memory in memories if memory is not None]
    if not known:
        return None
    assert len(known) == len(memories)
    if len(known) == 1:
        return known[0]
    return tuple(torch.cat(parts) for parts in zip(*known, strict=True))


def part(memory: Memory, row: int) -> Memory:
    """One stream's row of a joint memory."""
    return tuple(x[row : row + 1] for x in memory)
