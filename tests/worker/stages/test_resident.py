"""What stays where it is gives what operators give; whole streams are in engines/test_wan.py,
on a GPU too."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from brushcast_worker.engines.wan import random_wan
from brushcast_worker.models.wan_vae import WanVAE
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.decode import decode
from brushcast_worker.stages.encode import encode
from brushcast_worker.stages.live_vae import LiveVAE
from brushcast_worker.stages.resident import Resident
from tests.worker.models.test_moments import by_pixels

CPU, SIDE = torch.device("cpu"), 32


@pytest.fixture(autouse=True)
def _no_gradients():  # noqa: ANN202
    with torch.inference_mode():
        yield


def video(stream: int, tick: int) -> Tensor:
    torch.manual_seed(100 * stream + tick)
    return torch.rand(4, 3, SIDE, SIDE) * 2 - 1


def fused(plain: LiveVAE) -> LiveVAE:
    old = plain._autoencoder
    assert isinstance(old, WanVAE)
    copy = WanVAE(old.config)
    copy.load_state_dict(old.state_dict())
    copy.eval().requires_grad_(False).fuse(by_pixels)
    return LiveVAE(copy, late=0)


@pytest.mark.parametrize("kernel", [False, True])
def test_streams_that_come_and_go_get_what_each_gets_alone(kernel: bool) -> None:
    engine = random_wan("wan-small", "cpu")
    plain = engine._networks._autoencoder  # type: ignore[attr-defined]
    mine = fused(plain) if kernel else plain
    resident = Resident(engine._transformer, mine, torch.float32, CPU, capture=False)
    encoded: dict[int, list[Memory | None]] = {}
    painted: dict[int, list[Memory | None]] = {}
    for tick, streams in enumerate([[0], [0, 1], [1, 0], [1], [2, 1], [1, 3, 2]]):
        for gone in set(encoded) - set(streams):  # its place is another's from now on
            if tick > 3:
                del encoded[gone], painted[gone]
        gc.collect()
        for stream in streams:
            encoded.setdefault(stream, [None, None])
            painted.setdefault(stream, [None, None])
        pictures = [video(stream, tick) for stream in streams]
        memories = [encoded[stream][0] for stream in streams]
        got, after = resident.encode(pictures, memories)
        for n, stream in enumerate(streams):
            wanted, known = encode(plain, [pictures[n]], [encoded[stream][1]])
            torch.testing.assert_close(got[n], wanted[0], rtol=1e-3, atol=1e-4)
            encoded[stream] = [after[n], known[0]]
        shown = resident.decode(
            got, pictures, [painted[stream][0] for stream in streams], [None] * len(streams)
        )
        for n, of_stream in enumerate(shown):
            stream = streams[n]
            args = [got[n]], [pictures[n]], [painted[stream][1]], [None]
            (one,) = decode(plain, *args)
            torch.testing.assert_close(
                of_stream.pictures_TCHW, one.pictures_TCHW, rtol=1e-3, atol=1e-4
            )
            assert of_stream.arrival is not None
            levels = (one.pictures_TCHW * 127.5 + 128).clamp(0, 255).permute(0, 2, 3, 1)
            off = of_stream.arrival.levels_THWC.float() - levels
            assert off.abs().max() < 1.1
            painted[stream] = [of_stream.memory, one.memory]
    assert len(resident._places._places) <= 2 * 3, "never more than three streams at once"
