"""LightVAE: one code path for clips and streams, and shapes that are told plainly."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.models.light_vae import LightVAE, LightVAEConfig


@pytest.mark.parametrize("rows", [1, 2])
def test_a_stream_equals_a_clip(rows: int) -> None:
    torch.manual_seed(0)
    vae = LightVAE().eval()
    torch.nn.init.normal_(vae.decoder.look.set.weight, std=0.3)  # as if it had learnt looks
    video = torch.rand(rows, 12, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        z, _ = vae.encode(video)
        whole, _ = vae.decode(z, video)
        encoder_state = decoder_state = None
        for i in range(3):
            part = video[:, 4 * i : 4 * i + 4]
            z_part, encoder_state = vae.encode(part, encoder_state)
            out, decoder_state = vae.decode(z_part, part, decoder_state)
            torch.testing.assert_close(z_part, z[:, i : i + 1], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(out, whole[:, 4 * i : 4 * i + 4], rtol=1e-4, atol=1e-4)


def test_four_pictures_become_one_latent_of_an_eighth() -> None:
    z, _ = LightVAE().encode(torch.zeros(1, 8, 3, 64, 48))
    assert z.shape == (1, 2, 16, 8, 6)


@pytest.mark.parametrize("shape", [(1, 3, 3, 32, 32), (1, 4, 3, 40, 32)])
def test_a_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 4 and of 16x16 wanted"):
        LightVAE().encode(torch.zeros(shape))


def test_latents_and_source_must_belong_together() -> None:
    with pytest.raises(ValueError, match="8 source pictures; 4 wanted"):
        LightVAE().decode(torch.zeros(1, 1, 16, 4, 4), torch.zeros(1, 8, 3, 32, 32))


def test_the_unguided_decoder_is_not_there_yet() -> None:
    with pytest.raises(ValueError, match="guided"):
        LightVAEConfig(guided=False)


def test_the_whole_picture_sets_the_decoders_filters() -> None:
    """What is far away in the latents changes a pixel, beyond the reach of any convolution."""
    torch.manual_seed(0)
    vae = LightVAE().eval()
    source, z = torch.rand(1, 4, 3, 16, 512) * 2 - 1, torch.randn(1, 1, 16, 2, 64)
    other = z.clone()
    other[..., 60:] = 3.0
    with torch.inference_mode():
        assert torch.equal(vae.decode(z, source)[0][..., :8], vae.decode(other, source)[0][..., :8])
        torch.nn.init.normal_(vae.decoder.look.set.weight, std=0.3)
        first, second = (vae.decode(latents, source)[0][..., :8] for latents in (z, other))
    assert float((first - second).abs().mean()) > 1e-3
