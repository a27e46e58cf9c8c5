"""Latents and sources to pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from brushcast_worker.models.light_vae import Guide, Seen
from brushcast_worker.stages.decode import decode
from brushcast_worker.stages.encode import Memory


class Adding:
    """The picture is the source plus the latent, in half precision; the memory is the latent."""

    def __init__(self) -> None:
        self.guides: list[Guide | None] = []

    def decode(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
    ) -> tuple[Tensor, Memory]:
        self.guides.append(guide)
        level_B = z_BTCHW.mean((1, 2, 3, 4))
        x_BTCHW = source_BTCHW + level_B[:, None, None, None, None]
        return x_BTCHW.bfloat16(), (z_BTCHW[:, -1],)


def source(level: float) -> Tensor:
    return torch.full((4, 3, 16, 16), level)


def latent(level: float) -> Tensor:
    return torch.full((1, 16, 2, 2), level)


def test_every_stream_gets_its_own_picture_and_memory_in_single_precision() -> None:
    pictures, memories = decode(
        Adding(), [latent(0.25), latent(0.5)], [source(0.0), source(0.25)], *[[None] * 2] * 2
    )
    assert [float(x.mean()) for x in pictures] == [0.25, 0.75]
    assert [x.dtype for x in pictures] == [torch.float32] * 2
    assert [float(memory[0].mean()) for memory in memories] == [0.25, 0.5]


def test_pictures_are_brought_into_range_but_nan_is_not_hidden() -> None:
    levels = (9.0, -9.0, math.nan)
    pictures, _ = decode(
        Adding(), [latent(x) for x in levels], [source(0.0)] * 3, *[[None] * 3] * 2
    )
    assert float(pictures[0].max()) == 1
    assert float(pictures[1].min()) == -1
    assert bool(pictures[2].isnan().all())


def test_a_guide_is_of_one_stream_and_no_use_to_several() -> None:
    def guide() -> Seen:
        raise NotImplementedError

    for streams in (1, 2):
        adding = Adding()
        latents, sources = [latent(0.0)] * streams, [source(0.0)] * streams
        decode(adding, latents, sources, [None] * streams, [guide] * streams)
        assert adding.guides == [guide if streams == 1 else None]
