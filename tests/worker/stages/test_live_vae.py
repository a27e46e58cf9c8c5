"""Wan's autoencoders in chunks of four: behind a lead, or three pictures late."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brushcast_worker.engines.wan import ROWS
from brushcast_worker.models.tiny_vae import TinyVAE
from brushcast_worker.models.wan_vae import WanVAE
from brushcast_worker.stages.live_vae import LiveVAE


@pytest.fixture(params=["wan-small", "wan-small-tiny"])
def vae(request: pytest.FixtureRequest) -> tuple[WanVAE | TinyVAE, int]:
    torch.manual_seed(0)
    config = ROWS[request.param].autoencoder
    if request.param.endswith("tiny"):
        return TinyVAE(config).eval(), 3
    return WanVAE(config).eval(), 0


def video(pictures: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, pictures, 3, 32, 48, generator=generator) * 2 - 1


@torch.inference_mode()
def test_chunks_equal_the_whole_clip(vae: tuple[WanVAE | TinyVAE, int]) -> None:
    whole, late = vae
    live, clip = LiveVAE(whole, late=late), video(12)
    wanted_z, _ = whole.encode(clip if late else torch.cat([clip[:, :1], clip], 1))
    wanted_x, _ = whole.decode(wanted_z)
    encoder = decoder = None
    latents, pictures = [], []
    for chunk in clip.split(4, 1):
        z, encoder = live.encode(chunk, encoder)
        ((x, decoder),) = live.paint(z, chunk, decoder)
        latents.append(z)
        pictures.append(x)
    assert [z.shape[1] for z in latents] == [1 if late else 2, 1, 1]
    assert [x.shape[1] for x in pictures] == [4 - late, 4, 4]
    torch.testing.assert_close(torch.cat(latents, 1), wanted_z, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cat(pictures, 1), wanted_x[:, late or 1 :], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_it_never_looks_at_the_source(vae: tuple[WanVAE | TinyVAE, int]) -> None:
    live = LiveVAE(vae[0], late=vae[1])
    z, _ = live.encode(video(4))
    ((one, _),) = live.paint(z, video(4))
    ((other, _),) = live.paint(z, -video(4))
    assert torch.equal(one, other)


def test_a_stream_is_told_how_many_pictures_belong_to_its_latents(
    vae: tuple[WanVAE | TinyVAE, int],
) -> None:
    with pytest.raises(AssertionError):
        next(LiveVAE(vae[0], late=vae[1]).paint(torch.zeros(1, 1, 16, 4, 6), video(8)))


@torch.inference_mode()
def test_where_memory_is_short_pictures_are_painted_one_by_one(
    vae: tuple[WanVAE | TinyVAE, int],
) -> None:
    whole, late = vae
    live, other, clip = LiveVAE(whole, late=late), LiveVAE(whole, late=late), video(8)
    assert other.paint_one_by_one(4, 6) is (late == 0), "the tiny one cannot"
    assert not other.paint_one_by_one(4, 6), "there is nothing less"
    pictures: list[list[Tensor]] = [[], []]
    for each, out in zip((live, other), pictures, strict=True):
        encoder = decoder = None
        for chunk in clip.split(4, 1):
            z, encoder = each.encode(chunk, encoder)
            ((x, decoder),) = each.paint(z, chunk, decoder)
            out.append(x)
    torch.testing.assert_close(
        torch.cat(pictures[1], 1), torch.cat(pictures[0], 1), atol=1e-4, rtol=0
    )
