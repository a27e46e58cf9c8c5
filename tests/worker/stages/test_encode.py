"""Streams that share the autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.encode import alike, encode, join, part


class Counting:
    """Latents are the pictures' means; the memory counts the chunks. Notes how many rows it got."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def encode(self, video_BTCHW: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        self.rows.append(len(video_BTCHW))
        before = torch.zeros(len(video_BTCHW), 1, 1, 1) if state is None else state[0]
        z_BTCHW = video_BTCHW.mean((1, 2, 3, 4))[:, None, None, None, None] + before[:, None]
        return z_BTCHW, (before + 1,)


def pictures(level: float, width: int = 16) -> Tensor:
    return torch.full((4, 3, 16, width), float(level))


def test_streams_of_one_shape_share_a_forward_and_keep_their_order() -> None:
    model = Counting()
    latents, memories = encode(model, [pictures(1), pictures(2), pictures(3)], [None, None, None])
    assert model.rows == [3]
    assert [float(z.mean()) for z in latents] == [1, 2, 3]
    assert [float(memory[0]) for memory in memories] == [1, 1, 1]


def test_each_stream_has_its_own_memory() -> None:
    model = Counting()
    three: Memory = (torch.full((1, 1, 1, 1), 3.0),)
    seven: Memory = (torch.full((1, 1, 1, 1), 7.0),)
    latents, memories = encode(model, [pictures(0), pictures(0), pictures(0)], [three, None, seven])
    assert sorted(model.rows) == [1, 2]
    assert [float(z.mean()) for z in latents] == [3, 0, 7]
    assert [float(memory[0]) for memory in memories] == [4, 1, 8]


def test_other_sizes_go_alone() -> None:
    model = Counting()
    encode(model, [pictures(1), pictures(2, 32), pictures(3)], [None, None, None])
    assert sorted(model.rows) == [1, 2]
    assert alike([pictures(1), pictures(1, 32)], [None, None]) == [[0], [1]]


def test_memories_join_and_part() -> None:
    memories: list[Memory | None] = [(torch.full((1, 2, 1, 1), float(i)),) for i in range(3)]
    joined = join(memories)
    assert joined is not None
    assert joined[0].shape == (3, 2, 1, 1)
    assert float(part(joined, 2)[0].mean()) == 2
    assert join([None, None]) is None
