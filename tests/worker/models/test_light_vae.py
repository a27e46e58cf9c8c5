"""LightVAE: one code path for clips and streams, and shapes that are told plainly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from brushcast_worker.models.int8 import Conv, Up, int8_pays, quantise
from brushcast_worker.models.light_vae import LightVAE, LightVAEConfig


def by_chunks(
    vae: LightVAE, video_BTCHW: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Latents and pictures of one chunk after the other, as a stream has them."""
    encoder_state = decoder_state = None
    for part in video_BTCHW.split(4, 1):
        z, encoder_state = vae.encode(part, encoder_state)
        out, decoder_state = vae.decode(z, part, decoder_state)
        yield z, out


@pytest.mark.parametrize("rows", [1, 2])
def test_a_stream_equals_a_clip(rows: int) -> None:
    torch.manual_seed(0)
    vae = LightVAE().eval()
    torch.nn.init.normal_(vae.decoder.look.set.weight, std=0.3)  # as if it had learnt looks
    video = torch.rand(rows, 12, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        z, _ = vae.encode(video)
        whole, _ = vae.decode(z, video)
        parts = list(by_chunks(vae, video))
    for i, (z_part, out) in enumerate(parts):
        torch.testing.assert_close(z_part, z[:, i : i + 1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(out, whole[:, 4 * i : 4 * i + 4], rtol=1e-4, atol=1e-4)
    assert len(parts) == 3


def test_a_row_that_begins_makes_nothing_of_its_state() -> None:
    torch.manual_seed(0)
    vae = LightVAE().eval()
    video, z = torch.rand(2, 4, 3, 32, 48) * 2 - 1, torch.randn(2, 1, 16, 4, 6)
    begins = torch.tensor([True, False])
    with torch.inference_mode():
        states = [tuple(torch.rand_like(x) for x in state) for state in vae.blank(2, 32, 48)]
        encoded = vae.encode(video, states[0], begins)
        painted = list(vae.paint(z, video, states[1], None, begins))
        pictures = torch.cat([x for x, _ in painted], 1)
        for row, (of_encoder, of_decoder) in enumerate([(None, None), states]):
            mine = slice(row, row + 1)
            part = lambda s: s and tuple(x[mine] for x in s)  # noqa: B023, E731
            latents, memory = vae.encode(video[mine], part(of_encoder))
            torch.testing.assert_close(encoded[0][mine], latents, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(encoded[1][0][mine], memory[0], atol=1e-5, rtol=1e-4)
            wanted, (trunk, drawn) = vae.decode(z[mine], video[mine], part(of_decoder))
            torch.testing.assert_close(pictures[mine], wanted, atol=1e-4, rtol=1e-4)
            for got, want in zip(painted[-1][1], (trunk, drawn), strict=True):
                torch.testing.assert_close(got[mine], want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_blank_state_is_shaped_like_a_real_one(dtype: torch.dtype) -> None:
    vae = LightVAE().to(dtype).to(memory_format=torch.channels_last).eval()
    video = torch.rand(2, 4, 32, 48, 3, dtype=dtype).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        z, of_encoder = vae.encode(video)
        _, of_decoder = vae.decode(z, video)
        blank = [x for state in vae.blank(2, 32, 48) for x in state]
    for real, empty in zip((*of_encoder, *of_decoder), blank, strict=True):
        assert (real.shape, real.dtype, real[0].stride()) == (
            empty.shape,
            empty.dtype,
            empty[0].stride(),
        )


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


@pytest.fixture
def two_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("two_threads")
def test_what_is_begun_with_the_source_alone_changes_no_picture() -> None:
    torch.manual_seed(0)
    for vae in (LightVAE().eval(), *([quantised()] if int8_pays() else [])):
        source, z = torch.rand(1, 4, 3, 32, 48) * 2 - 1, torch.randn(1, 1, 16, 4, 6)
        with torch.inference_mode():
            guide = vae.guide(source)
            parts = [pictures for pictures, _ in vae.paint(z, source, None, guide)]
            assert torch.equal(torch.cat(parts, 1), vae.decode(z, source)[0])
            assert len(parts) == 4, "each as soon as it is there"


def quantised() -> LightVAE:
    """With the ranges that random weights have, about."""
    vae = LightVAE().eval().requires_grad_(False)
    for module in vae.modules():
        if isinstance(module, (Conv, Up)):
            module.reach.fill_(1.0 if getattr(module, "stride", 0) == (2, 2) else 6.0)
    quantise(vae)
    return vae


def test_both_readers_of_the_half_size_features_round_alike() -> None:
    """A convolution would take levels of another range for what they are not."""
    decoder = LightVAE().decoder
    decoder.source_quarter.reach.fill_(3.0)
    decoder.join.reach.fill_(5.0)
    decoder.quantise()
    assert decoder.source_quarter.reach == decoder.join.reach == 5.0


@pytest.mark.skipif(not int8_pays(), reason="this CPU has no VNNI instructions")
@pytest.mark.parametrize("rows", [1, 2])
def test_a_stream_equals_a_clip_in_8_bits(rows: int) -> None:
    """But for a rounding here and there: several rows have their looks set apart from the rest."""
    torch.manual_seed(0)
    vae = quantised()
    torch.nn.init.normal_(vae.decoder.look.set.weight, std=0.1)
    video = torch.rand(rows, 8, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        z, _ = vae.encode(video)
        whole, _ = vae.decode(z, video)
        parts = list(by_chunks(vae, video))
    for i, (z_part, out) in enumerate(parts):
        torch.testing.assert_close(z_part, z[:, i : i + 1], rtol=0, atol=1e-4)
        difference = (out - whole[:, 4 * i : 4 * i + 4]).std() / whole.std()
        assert float(difference) < 0.01
    assert len(parts) == 2


@pytest.mark.skipif(not int8_pays(), reason="this CPU has no VNNI instructions")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_latent_that_is_not_finite_shows_in_every_picture(bad: float) -> None:
    """The loop rejects such pictures: rounding to 8 bits must not make them look well."""
    torch.manual_seed(0)
    for vae in (LightVAE().eval(), quantised()):
        source, z = torch.rand(1, 4, 3, 32, 32) * 2 - 1, torch.randn(1, 1, 16, 4, 4)
        z[0, 0, 3, 1, 2] = bad
        with torch.inference_mode():
            assert vae.decode(z, source)[0].isnan().flatten(2).any(2).all()
