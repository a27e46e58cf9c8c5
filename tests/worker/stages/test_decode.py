"""Latents and sources to pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from brushcast_worker.models.light_vae import Guide, Seen
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.decode import decode


class Adding:
    """The picture is the source plus the latent, in half precision; the memory is the latent. Two
    pictures at a time."""

    def __init__(self) -> None:
        self.guides: list[Guide | None] = []

    def paint(
        self,
        z_BTCHW: Tensor,
        source_BTCHW: Tensor,
        state: Memory | None = None,
        guide: Guide | None = None,
    ) -> Iterator[tuple[Tensor, Memory]]:
        self.guides.append(guide)
        level_B = z_BTCHW.mean((1, 2, 3, 4))
        x_BTCHW = source_BTCHW + level_B[:, None, None, None, None]
        for part in x_BTCHW.split(2, 1):
            yield part.bfloat16(), (z_BTCHW[:, -1],)


def source(level: float) -> Tensor:
    return torch.full((4, 3, 16, 16), level)


def latent(level: float) -> Tensor:
    return torch.full((1, 16, 2, 2), level)


def test_every_stream_gets_its_own_pictures_and_memory_in_single_precision() -> None:
    sources = [source(0.0), source(0.25)]
    parts = list(decode(Adding(), [latent(0.25), latent(0.5)], sources, *[[None] * 2] * 2))
    assert [part.stream for part in parts] == [0, 1, 0, 1]
    assert [float(part.pictures_TCHW.mean()) for part in parts] == [0.25, 0.75] * 2
    assert {part.pictures_TCHW.dtype for part in parts} == {torch.float32}
    assert {part.pictures_TCHW.shape for part in parts} == {(2, 3, 16, 16)}
    assert [float(part.memory[0].mean()) for part in parts] == [0.25, 0.5] * 2


def test_the_first_pictures_come_before_the_rest_is_painted() -> None:
    class Failing(Adding):
        def paint(self, *given: Any) -> Iterator[tuple[Tensor, Memory]]:
            yield next(super().paint(*given))
            raise RuntimeError("out of luck")

    parts = decode(Failing(), [latent(0.25)], [source(0.0)], [None], [None])
    assert next(parts).stream == 0
    with pytest.raises(RuntimeError, match="out of luck"):
        next(parts)


def test_pictures_are_brought_into_range_but_nan_is_not_hidden() -> None:
    levels = (9.0, -9.0, math.nan)
    parts = decode(Adding(), [latent(x) for x in levels], [source(0.0)] * 3, *[[None] * 3] * 2)
    high, low, neither = (next(parts).pictures_TCHW for _ in levels)
    assert float(high.max()) == 1
    assert float(low.min()) == -1
    assert bool(neither.isnan().all())


def test_a_guide_is_of_one_stream_and_no_use_to_several() -> None:
    def guide() -> Seen:
        raise NotImplementedError

    for streams in (1, 2):
        adding = Adding()
        latents, sources = [latent(0.0)] * streams, [source(0.0)] * streams
        list(decode(adding, latents, sources, [None] * streams, [guide] * streams))
        assert adding.guides == [guide if streams == 1 else None]
