"""The tiny autoencoder: the published layers, names and sizes, and a stream that equals a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast.errors import WeightsError
from brushcast_worker.models.keys import last_moments, load_weights, read_weights
from brushcast_worker.models.tiny_vae import TINY_VAE_SIZES, Memory, TinyVAE, TinyVAEConfig

TINY = TinyVAEConfig(
    z_dim=5, encoder=6, decoder=(8, 6, 4, 6), blocks=2,
    temporal_downsample=(True, True, False), temporal_upsample=(False, True, True),
)  # fmt: skip
OTHER = TinyVAEConfig(  # half the time, a quarter of the size
    z_dim=2, encoder=4, decoder=(4, 6, 5), blocks=1,
    temporal_downsample=(False, True), temporal_upsample=(True, False),
)  # fmt: skip
CONFIGS = pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])

# From the published list of layers; of each half.
PUBLISHED_TENSORS = 64
ENCODER_WEIGHTS = 1_470_928
DECODER_WEIGHTS = 9_844_611
PUBLISHED_SHAPES = {
    "encoder.0.weight": (64, 3, 3, 3),
    "encoder.0.bias": (64,),
    "encoder.2.conv.weight": (64, 128, 1, 1),
    "encoder.3.weight": (64, 64, 3, 3),
    "encoder.4.conv.0.weight": (64, 128, 3, 3),
    "encoder.6.conv.4.bias": (64,),
    "encoder.7.conv.weight": (64, 128, 1, 1),
    "encoder.11.conv.2.weight": (64, 64, 3, 3),
    "encoder.12.conv.weight": (64, 64, 1, 1),
    "encoder.13.weight": (64, 64, 3, 3),
    "encoder.16.conv.4.weight": (64, 64, 3, 3),
    "encoder.17.weight": (16, 64, 3, 3),
    "encoder.17.bias": (16,),
    "decoder.1.weight": (256, 16, 3, 3),
    "decoder.1.bias": (256,),
    "decoder.3.conv.0.weight": (256, 512, 3, 3),
    "decoder.5.conv.4.bias": (256,),
    "decoder.7.conv.weight": (256, 256, 1, 1),
    "decoder.8.weight": (128, 256, 3, 3),
    "decoder.9.conv.0.weight": (128, 256, 3, 3),
    "decoder.13.conv.weight": (256, 128, 1, 1),
    "decoder.14.weight": (64, 128, 3, 3),
    "decoder.17.conv.4.weight": (64, 64, 3, 3),
    "decoder.19.conv.weight": (128, 64, 1, 1),
    "decoder.20.weight": (64, 64, 3, 3),
    "decoder.22.weight": (3, 64, 3, 3),
    "decoder.22.bias": (3,),
}


@pytest.fixture(autouse=True)
def _no_gradients():  # noqa: ANN202
    with torch.inference_mode():
        yield


def tiny(config: TinyVAEConfig = TINY) -> TinyVAE:
    torch.manual_seed(0)
    model = TinyVAE(config).eval()
    for parameter in model.parameters():
        parameter.mul_(1.7)  # as they come, little would be left after so many layers
    model.decoder[-1].bias.fill_(0.5)  # grey: else most is clamped
    return model


def clip(frames: int, rows: int = 1, channels: int = 3, side: int = 16) -> Tensor:
    torch.manual_seed(frames)
    return torch.rand(rows, frames, channels, side, side + 8) * 2 - 1


def latents(count: int, rows: int = 1, config: TinyVAEConfig = TINY, side: int = 2) -> Tensor:
    torch.manual_seed(count)
    return torch.randn(rows, count, config.z_dim, side, side + 1)


class Plain:
    """The published layers read anew, moment by moment, from nothing but the weights by name."""

    def __init__(self, model: TinyVAE) -> None:
        self.weights, self.config = model.state_dict(), model.config

    def conv(self, name: str, x: Tensor, **options: Any) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, **options)

    def block(self, name: str, moments: Sequence[Tensor]) -> list[Tensor]:
        done, past = [], torch.zeros_like(moments[0])
        for x in moments:
            y = self.conv(f"{name}.conv.0", torch.cat([x, past], 1)).relu()
            y = self.conv(f"{name}.conv.2", y).relu()
            done.append((self.conv(f"{name}.conv.4", y) + x).relu())
            past = x
        return done

    def encode(self, video_BTCHW: Tensor) -> Tensor:
        moments = [self.conv("encoder.0", (x + 1) / 2).relu() for x in video_BTCHW.unbind(1)]
        place = 2
        for halved in self.config.temporal_downsample:
            if halved:
                pairs = zip(moments[::2], moments[1::2], strict=True)
                moments = [torch.cat(pair, 1) for pair in pairs]
            moments = [self.conv(f"encoder.{place}.conv", x) for x in moments]
            moments = [self.conv(f"encoder.{place + 1}", x, stride=2) for x in moments]
            place += 2
            for _ in range(self.config.blocks):
                moments = self.block(f"encoder.{place}", moments)
                place += 1
        return torch.stack([self.conv(f"encoder.{place}", x) for x in moments], 1)

    def decode(self, z_BTCHW: Tensor) -> Tensor:
        moments = [self.conv("decoder.1", 3 * (z / 3).tanh()).relu() for z in z_BTCHW.unbind(1)]
        place = 3
        for doubled in self.config.temporal_upsample:
            for _ in range(self.config.blocks):
                moments = self.block(f"decoder.{place}", moments)
                place += 1
            moments = [F.interpolate(x, scale_factor=2) for x in moments]
            moments = [self.conv(f"decoder.{place + 1}.conv", x) for x in moments]
            if doubled:
                moments = [half for x in moments for half in x.chunk(2, 1)]
            moments = [self.conv(f"decoder.{place + 2}", x) for x in moments]
            place += 3
        pictures = [self.conv(f"decoder.{place + 1}", x.relu()) for x in moments]
        return torch.stack(pictures, 1).clamp(0, 1) * 2 - 1


@CONFIGS
@pytest.mark.parametrize("rows", [1, 2])
def test_it_computes_the_published_layers(config: TinyVAEConfig, rows: int) -> None:
    model = tiny(config)
    plain, video = Plain(model), clip(3 * config.chunk, rows)
    wanted = plain.encode(video)
    assert wanted.std() > 0.05, "nothing to compare"
    torch.testing.assert_close(model.encode(video)[0], wanted, rtol=1e-4, atol=1e-5)
    z = 2 * latents(3, rows, config)
    wanted = plain.decode(z)
    assert (wanted.abs() < 1).float().mean() > 0.3, "nothing to compare"
    assert wanted.std() > 0.05, "nothing to compare"
    torch.testing.assert_close(model.decode(z)[0], wanted, rtol=1e-4, atol=1e-5)


@CONFIGS
@pytest.mark.parametrize("pieces", [(1, 1, 1), (2, 1), (1, 2)])
def test_a_stream_equals_a_clip(config: TinyVAEConfig, pieces: tuple[int, ...]) -> None:
    """``pieces``: latent frames a call."""
    model, video = tiny(config), clip(3 * config.chunk)
    z, _ = model.encode(video)
    x, _ = model.decode(z)
    assert z.shape == (1, 3, config.z_dim, 16 // config.scale, 24 // config.scale)
    assert x.shape == video.shape
    seen: Memory | None = None
    painted: Memory | None = None
    encoded, decoded = [], []
    for piece in video.split([count * config.chunk for count in pieces], 1):
        some, seen = model.encode(piece, seen)
        encoded.append(some)
        some, painted = model.decode(some, painted)
        decoded.append(some)
    torch.testing.assert_close(torch.cat(encoded, 1), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat(decoded, 1), x, rtol=1e-4, atol=1e-5)


def test_what_is_remembered_matters() -> None:
    model, video, z = tiny(), clip(8), latents(2)
    assert not torch.allclose(model.encode(video[:, 4:])[0], model.encode(video)[0][:, 1:])
    assert not torch.allclose(model.decode(z[:, 1:])[0], model.decode(z)[0][:, 4:])


def test_a_beginning_equals_zeros() -> None:
    model = tiny()
    for call, x in ((model.encode, clip(4, rows=2)), (model.decode, latents(1, rows=2))):
        wanted, memory = call(x)
        zeros = tuple(torch.zeros_like(part) for part in memory)
        out, after = call(x, zeros)
        assert torch.equal(out, wanted)
        assert all(torch.equal(a, b) for a, b in zip(after, memory, strict=True))
        assert len(memory) == model.config.memories == 6


def test_four_pictures_are_one_latent_frame_from_the_start() -> None:
    """A stream's first latent frame stands for one picture: the caller drops three of four."""
    model = tiny()
    z, seen = model.encode(clip(1).expand(-1, 4, -1, -1, -1))
    x, painted = model.decode(z)
    assert (z.shape[1], x.shape[1], model.config.frames_to_trim) == (1, 4, 3)
    z, _ = model.encode(clip(4), seen)
    assert (z.shape[1], model.decode(z, painted)[0].shape[1]) == (1, 4)


def test_nothing_looks_ahead() -> None:
    model, video = tiny(), clip(12)
    z, _ = model.encode(video)
    later = video.clone()
    later[:, 8:] = 0
    torch.testing.assert_close(model.encode(later)[0][:, :2], z[:, :2])
    x, _ = model.decode(z)
    z[:, 2:] = 5
    torch.testing.assert_close(model.decode(z)[0][:, :8], x[:, :8])


def test_streams_do_not_mix() -> None:
    """In turns through the same weights, and side by side in one call."""
    model, videos = tiny(), clip(8, rows=2)
    alone = [model.encode(videos[row : row + 1])[0] for row in range(2)]
    shown = [model.decode(z)[0] for z in alone]
    seen: list[Memory | None] = [None, None]
    painted: list[Memory | None] = [None, None]
    for at in range(2):
        for row in range(2):
            piece = videos[row : row + 1, 4 * at : 4 * at + 4]
            z, seen[row] = model.encode(piece, seen[row])
            torch.testing.assert_close(z, alone[row][:, at : at + 1], rtol=1e-4, atol=1e-5)
            x, painted[row] = model.decode(z, painted[row])
            wanted = shown[row][:, 4 * at : 4 * at + 4]
            torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-5)
    together, memory = model.encode(videos)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    both, kept = model.decode(together)
    torch.testing.assert_close(both, torch.cat(shown), rtol=1e-4, atol=1e-5)
    for call, past, more in (
        (model.encode, memory, clip(4, rows=2)),
        (model.decode, kept, latents(1, rows=2)),
    ):
        one = tuple(part[1:2] for part in past)  # rows first: what stages.encode takes apart
        wanted, _ = call(more, past)
        torch.testing.assert_close(call(more[1:], one)[0], wanted[1:], rtol=1e-4, atol=1e-5)


def test_a_call_leaves_what_it_was_given_and_the_model_as_they_were() -> None:
    model = tiny()
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    for call, x in ((model.encode, clip(4)), (model.decode, latents(1))):
        _, memory = call(x)
        before, given = [part.clone() for part in memory], x.clone()
        once, _ = call(x, memory)
        assert torch.equal(call(x, memory)[0], once)
        assert torch.equal(x, given)
        assert all(torch.equal(a, b) for a, b in zip(memory, before, strict=True))
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())


def test_shapes_and_layout_stay() -> None:
    """What a CUDA graph needs: memories of one shape, and of one order in memory."""
    model = tiny()
    for call, x in ((model.encode, clip(4, rows=2)), (model.decode, latents(1, rows=2))):
        out, memory = call(x)
        for _ in range(2):
            again, after = call(x, memory)
            assert (out.shape, out.stride()) == (again.shape, again.stride())
            for old, new in zip(memory, after, strict=True):
                assert (old.shape, old.stride()) == (new.shape, new.stride())
                assert new.shape[0] == 2
                assert new.untyped_storage().nbytes() == new.nbytes, "holds more than it shows"
            memory = after


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("begins", [True, False])
def test_every_convolution_gets_channels_last(
    rows: int, begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU another layout is copied first, or takes a slower kernel."""
    seen = []

    def conv2d(x: Tensor, weight: Tensor, *arguments: Any, **options: Any) -> Tensor:
        for tensor in (x, weight):
            seen.append(tensor.is_contiguous(memory_format=torch.channels_last))
        return plain(x, weight, *arguments, **options)

    model, plain = tiny(), torch.nn.functional.conv2d
    memory, painted = None, None
    if not begins:
        _, memory = model.encode(clip(4, rows))
        _, painted = model.decode(latents(1, rows))
    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    model.encode(clip(4, rows), memory)
    model.decode(latents(1, rows), painted)
    assert len(seen) == 2 * len([name for name in model.state_dict() if "weight" in name])
    assert all(seen)


def test_pictures_stay_in_their_range() -> None:
    model = tiny()
    model.decoder[-1].weight.mul_(50)
    x, _ = model.decode(1e4 * latents(2))
    assert (x.min(), x.max()) == (-1, 1)
    z, _ = model.encode(clip(4))
    assert torch.isfinite(z).all()


def test_half_precision() -> None:
    model = tiny()
    half = tiny().bfloat16()
    for name, x in (("encode", clip(8)), ("decode", latents(2))):
        wanted, _ = getattr(model, name)(x)
        out, memory = getattr(half, name)(x.bfloat16())
        assert {part.dtype for part in (out, *memory)} == {torch.bfloat16}
        assert (out.float() - wanted).square().mean().sqrt() < 0.05 * wanted.std()


def test_no_gradient_is_kept_for_frozen_weights() -> None:
    with torch.inference_mode(False):
        model = TinyVAE(TINY).requires_grad_(False)
        z, seen = model.encode(clip(4))
        x, painted = model.decode(z)
    assert not any(part.requires_grad for part in (z, x, *seen, *painted))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 3, 16, 24), "3 pictures of 24x16; wanted multiples of 4"),
        ((1, 5, 3, 16, 24), "5 pictures of 24x16; wanted multiples of 4"),
        ((1, 4, 3, 12, 24), "4 pictures of 24x12; wanted .* sides in multiples of 8"),
        ((1, 4, 3, 16, 20), "4 pictures of 20x16"),
        ((1, 4, 4, 16, 24), r"pictures of shape \[1, 4, 4, 16, 24\]; wanted \[rows, pictures, 3"),
        ((1, 0, 3, 16, 24), r"shape \[1, 0, 3, 16, 24\]"),
        ((0, 4, 3, 16, 24), r"shape \[0, 4, 3, 16, 24\]"),
        ((1, 4, 3, 0, 24), r"shape \[1, 4, 3, 0, 24\]"),
        ((4, 3, 16, 24), r"shape \[4, 3, 16, 24\]"),
    ],
)
def test_pictures_that_do_not_fit(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 1, 3, 2, 2), (1, 0, 5, 2, 2), (1, 5, 2, 2), (1, 1, 5, 2, 0)])
def test_latents_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latent frames of shape .*; wanted \[rows, latent fr"):
        tiny().decode(torch.zeros(shape))


def test_a_memory_of_something_else() -> None:
    model = tiny()
    _, memory = model.encode(clip(4))
    _, painted = model.decode(latents(1))
    with pytest.raises(ValueError, match="a memory of 5 tensors; wanted 6"):
        model.encode(clip(4), memory[:-1])
    with pytest.raises(ValueError, match=r"memory of \[1, 6, 8, 12\] in place 0; wanted \[2, 6, 8"):
        model.encode(clip(4, rows=2), memory)
    with pytest.raises(ValueError, match=r"in place 0; wanted \[1, 6, 12, 16\]"):
        model.encode(clip(4, side=24), memory)
    with pytest.raises(ValueError, match=r"in place 0; wanted \[1, 8, 2, 3\]"):
        model.decode(latents(1), memory)
    with pytest.raises(ValueError, match="in place 5"):
        model.decode(latents(1), (*painted[:-1], painted[-1][..., 1:]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temporal_upsample": (True, True)}, "2 changes of its time for 3 levels; wanted 4 and 3"),
        ({"decoder": (8, 6, 4)}, "wanted 4 and 3"),
        ({"temporal_upsample": (True, True, True)}, "halved 2 times and doubled 3 times"),
        ({"z_dim": 0}, "z_dim 0"),
        ({"blocks": 0}, "blocks 0"),
        ({"encoder": 0}, "encoder 0"),
        ({"decoder": (8, 6, 4, 0)}, r"decoder \(8, 6, 4, 0\)"),
    ],
)
def test_sizes_that_make_no_model(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def published() -> TinyVAE:
    with torch.device("meta"):
        return TinyVAE(TINY_VAE_SIZES["taew2_1"])


def test_the_published_size_has_the_published_names_and_weights() -> None:
    model = published()
    weights = model.state_dict()
    assert {name: tuple(weights[name].shape) for name in PUBLISHED_SHAPES} == PUBLISHED_SHAPES
    for half, count in (("encoder", ENCODER_WEIGHTS), ("decoder", DECODER_WEIGHTS)):
        names = [name for name in weights if name.startswith(f"{half}.")]
        assert len(names) == PUBLISHED_TENSORS
        assert sum(weights[name].numel() for name in names) == count
    assert sum(name.endswith("bias") for name in weights) == 58
    assert not list(model.buffers())
    assert (model.config.scale, model.config.chunk, model.config.frames_to_trim) == (8, 4, 3)


def test_no_number_is_read_back() -> None:
    """On the meta device there are none: what runs there waits for no GPU."""
    model, seen, painted = published(), None, None
    for _ in range(2):
        z, seen = model.encode(torch.empty(2, 4, 3, 480, 832, device="meta"), seen)
        x, painted = model.decode(z, painted)
    assert (z.shape, x.shape) == ((2, 1, 16, 60, 104), (2, 4, 3, 480, 832))


def made_file(path: Path) -> dict[str, Tensor]:
    """A file like the published one, with numbers of our own in half precision."""
    weights = {}
    for place, (name, x) in enumerate(published().state_dict().items()):
        weights[name] = torch.full(x.shape, place / 128, dtype=torch.float16)
    torch.save(weights, path)
    return weights


def test_a_file_with_the_published_names_is_loaded(tmp_path: Path) -> None:
    weights = made_file(tmp_path / "taew2_1.pth")
    model = TinyVAE(TINY_VAE_SIZES["taew2_1"])
    found = last_moments(read_weights(tmp_path / "taew2_1.pth"), model)
    load_weights(model, found, "taew2_1.pth")
    for name, x in model.state_dict().items():
        assert torch.equal(x, weights[name].float()), name


def test_a_file_of_another_model_is_refused_with_a_list(tmp_path: Path) -> None:
    weights = made_file(tmp_path / "w.pth")
    weights["decoder.1.weight"] = torch.zeros(256, 48, 3, 3)  # as for Wan 2.2
    weights["encoder.18.weight"] = weights.pop("encoder.17.weight")
    torch.save(weights, tmp_path / "w.pth")
    model = published()
    with pytest.raises(WeightsError) as error:
        load_weights(model, last_moments(read_weights(tmp_path / "w.pth"), model), "w.pth")
    said = str(error.value)
    assert "of 128 tensors wanted and 128 found" in said
    assert "1 missing: encoder.17.weight" in said
    assert "1 unexpected: encoder.18.weight" in said
    assert "1 of another shape: decoder.1.weight 256x48x3x3 (wanted 256x16x3x3)" in said
