"""The Wan autoencoder: the published numbers, and a stream that equals a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from brushcast_worker.models.moments import Memory, Sum
from brushcast_worker.models.wan_vae import VAE_SIZES, WanVAE, WanVAEConfig
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import decode_error, encode_error
from tests.worker.models.test_moments import by_pixels

TINY = WanVAEConfig(
    dim=4, z_dim=16, dim_mult=(1, 2, 2, 3), num_res_blocks=1,
    temporal_downsample=(False, True, True), normalise_encoded=True,
)  # fmt: skip
OTHER = WanVAEConfig(  # half the time, a quarter of the size, few channels
    dim=6, z_dim=2, dim_mult=(1, 1, 2), num_res_blocks=2, temporal_downsample=(True, False),
    mean=(0.5, -1.0), std=(2.0, 0.5),
)  # fmt: skip
PUBLISHED_WEIGHTS = 126_892_531


@pytest.fixture(autouse=True)
def _no_gradients():  # noqa: ANN202
    with torch.inference_mode():
        yield


def tiny(config: WanVAEConfig = TINY) -> WanVAE:
    torch.manual_seed(0)
    model = WanVAE(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)  # ones would hide a wrong one
    return model


def clip(frames: int, rows: int = 1, channels: int = 3, side: int = 16) -> Tensor:
    torch.manual_seed(frames)
    return torch.rand(rows, frames, channels, side, side + 8) * 2 - 1


def test_agrees_with_the_published_model(reference: Vectors) -> None:
    assert encode_error(reference.vae) < 1e-5
    assert decode_error(reference.vae) < 1e-5


@pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])
@pytest.mark.parametrize("pieces", [(1, 1, 1), (2, 1), (1, 2)])
def test_an_encoded_stream_equals_a_clip(config: WanVAEConfig, pieces: tuple[int, ...]) -> None:
    """``pieces``: latent frames a call."""
    model, whole = tiny(config), 1 + 2 * config.chunk
    video = clip(whole)
    wanted, _ = model.encode(video)
    assert wanted.shape == (1, 3, config.z_dim, 16 // config.scale, 24 // config.scale)
    memory, at, out = None, 0, []
    for latents in pieces:
        count = latents * config.chunk - (at == 0) * (config.chunk - 1)
        z, memory = model.encode(video[:, at : at + count], memory)
        at += count
        out.append(z)
    assert at == whole
    torch.testing.assert_close(torch.cat(out, 1), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])
@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (2, 1, 1), (1, 3)])
def test_a_decoded_stream_equals_a_clip(config: WanVAEConfig, pieces: tuple[int, ...]) -> None:
    model = tiny(config)
    z = clip(4, channels=config.z_dim, side=2)
    wanted, _ = model.decode(z)
    assert wanted.shape == (1, 1 + 3 * config.chunk, 3, 2 * config.scale, 10 * config.scale)
    memory, out = None, []
    for piece in z.split(list(pieces), 1):
        x, memory = model.decode(piece, memory)
        out.append(x)
    assert out[0].shape[1] == 1 + (pieces[0] - 1) * config.chunk
    torch.testing.assert_close(torch.cat(out, 1), wanted, rtol=1e-4, atol=1e-5)


def test_the_first_five_pictures_are_two_latents_then_four_are_one() -> None:
    model = tiny()
    z, memory = model.encode(clip(5))
    assert z.shape[1] == 2
    assert model.encode(clip(4), memory)[0].shape[1] == 1
    x, memory = model.decode(z[:, :1])
    assert x.shape[1] == 1
    assert model.decode(z[:, 1:], memory)[0].shape[1] == 4


def test_nothing_looks_ahead() -> None:
    model, video = tiny(), clip(9)
    z, _ = model.encode(video)
    later = video.clone()
    later[:, 5:] = 0
    torch.testing.assert_close(model.encode(later)[0][:, :2], z[:, :2])
    z[:, 1:] = 0
    x, _ = model.decode(z)
    z[:, 2:] = 5
    torch.testing.assert_close(model.decode(z)[0][:, :5], x[:, :5])


def test_streams_do_not_mix() -> None:
    """One after the other through the same weights, and side by side in one call."""
    model = tiny()
    videos = clip(9, rows=2)
    alone = [model.encode(videos[row : row + 1])[0] for row in range(2)]
    shown = [model.decode(z)[0] for z in alone]
    memories: list[Memory | None] = [None, None]
    painted: list[Memory | None] = [None, None]
    for at, count in ((0, 5), (5, 4)):
        for row in range(2):
            piece = videos[row : row + 1, at : at + count]
            z, memories[row] = model.encode(piece, memories[row])
            first = 0 if at == 0 else 2
            wanted = alone[row][:, first : first + z.shape[1]]
            torch.testing.assert_close(z, wanted, rtol=1e-4, atol=1e-5)
            x, painted[row] = model.decode(z, painted[row])
            first = 0 if at == 0 else 5
            wanted = shown[row][:, first : first + x.shape[1]]
            torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-5)
    together, memory = model.encode(videos)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    one = tuple(part[1:2] for part in memory)  # rows first: what stages.encode takes apart
    joint, _ = model.encode(clip(4, rows=2), memory)
    torch.testing.assert_close(
        model.encode(clip(4, rows=2)[1:], one)[0], joint[1:], rtol=1e-4, atol=1e-5
    )


def test_a_call_leaves_what_it_was_given_and_the_model_as_they_were() -> None:
    model = tiny()
    _, memory = model.encode(clip(5))
    before = [part.clone() for part in memory]
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    once = model.encode(clip(4), memory)[0]
    assert torch.equal(model.encode(clip(4), memory)[0], once)
    assert all(torch.equal(a, b) for a, b in zip(memory, before, strict=True))
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())


def test_shapes_and_layout_stay_once_a_stream_runs() -> None:
    """What a CUDA graph needs: memories of one shape, and of one order in memory."""
    model = tiny()
    _, memory = model.encode(clip(5))
    _, decoded = model.decode(clip(2, channels=16, side=2))
    for _ in range(2):
        _, after = model.encode(clip(4), memory)
        _, later = model.decode(clip(1, channels=16, side=2), decoded)
        for old, new in zip((*memory, *decoded), (*after, *later), strict=True):
            assert (old.shape, old.stride()) == (new.shape, new.stride())
        memory, decoded = after, later
    assert {part.shape[1] for part in decoded} == {2}, "two moments a convolution"


@pytest.mark.parametrize("rows", [1, 2])
def test_every_convolution_gets_channels_last(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU another layout is copied first, or takes a slower kernel."""
    seen = []

    def conv2d(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return plain(x, *arguments, **options)

    model, plain = tiny(), torch.nn.functional.conv2d
    _, memory = model.encode(clip(5, rows=rows))
    _, painted = model.decode(clip(2, rows=rows, channels=16, side=2))
    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    model.encode(clip(4, rows=rows), memory)
    model.decode(clip(1, rows=rows, channels=16, side=2), painted)
    assert len(seen) > 30
    assert all(seen)


def test_latents_can_be_left_as_they_come() -> None:
    model, raw = tiny(), tiny(replace(TINY, normalise_encoded=False))
    mean, std = (torch.tensor(x).view(16, 1, 1) for x in (TINY.mean, TINY.std))
    z, _ = model.encode(clip(5))
    torch.testing.assert_close(raw.encode(clip(5))[0], z * std + mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "side", "memory"), [(4, 16, False), (0, 16, False), (5, 16, True), (5, 12, False)]
)
def test_what_does_not_fit_is_refused(frames: int, side: int, memory: bool) -> None:
    model = tiny()
    past = model.encode(clip(5))[1] if memory else None
    with pytest.raises(ValueError, match=f"{frames} pictures of {side + 8}x{side}; wanted"):
        model.encode(clip(frames, side=side), past)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temporal_downsample": (True,)}, "1 changes of time for 4 levels; 3 wanted"),
        ({"z_dim": 4}, "z_dim 4, but mean and std of 16"),
        ({"dim": 3}, "dim 3"),
        ({"num_res_blocks": 0}, "num_res_blocks 0"),
    ],
)
def test_sizes_that_make_no_model(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def test_the_published_size_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        model = WanVAE(VAE_SIZES["wan-2.1"])
    assert sum(x.numel() for x in model.parameters()) == PUBLISHED_WEIGHTS
    names = model.state_dict()
    assert names["decoder.upsamples.7.time_conv.weight"].shape == (768, 384, 3, 1, 1)
    assert names["encoder.middle.1.norm.gamma"].shape == (384, 1, 1)
    assert "encoder.mean" not in names


@pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])
@pytest.mark.parametrize("rows", [1, 2])
def test_fused_it_gives_the_same_and_writes_its_memory_over(
    config: WanVAEConfig, rows: int
) -> None:
    model, fused = tiny(config), tiny(config)
    fused.fuse(by_pixels)
    video = clip(1 + 3 * config.chunk, rows)
    memories: list[Memory | None] = [None, None]
    painted: list[Memory | None] = [None, None]
    for piece in video.split([1 + config.chunk, config.chunk, config.chunk], 1):
        pair = []
        for number, each in enumerate((model, fused)):
            z, memories[number] = each.encode(piece, memories[number])
            x, painted[number] = each.decode(z, painted[number])
            pair.append((z, x))
        torch.testing.assert_close(pair[1], pair[0], rtol=1e-4, atol=1e-5)
    for a, b in zip((*memories, *painted)[::2], (*memories, *painted)[1::2], strict=True):
        assert a is not None
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)
    kept = memories[1], painted[1]
    assert kept[0] is not None
    assert kept[1] is not None
    z, after = fused.encode(video[:, : config.chunk], kept[0])
    _, later = fused.decode(z[:, :1], kept[1])
    same = [x is y for x, y in zip((*kept[0], *kept[1]), (*after, *later), strict=True)]
    assert same.count(False) <= 2 + sum(config.temporal_downsample), (
        "first convolutions, halved time"
    )
    assert sum(same) > 8


@pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_kernel_gets_channels_last(config: WanVAEConfig, rows: int) -> None:
    """However a stream begins: with one picture, or with those of the next latent frame too."""
    seen = []

    def kernel(total: Sum, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        shortcut = [] if total.shortcut_NCHW is None else [total.shortcut_NCHW]
        parts = (*total.products, *shortcut)
        seen.extend(x.permute(0, 2, 3, 1).is_contiguous() for x in parts)
        return by_pixels(total, *rest, **named)

    fused = tiny(config)
    fused.fuse(kernel)
    for first in (1, 1 + config.chunk):
        video = clip(first + config.chunk, rows)
        z, memory = fused.encode(video[:, :first])
        more, _ = fused.encode(video[:, first:], memory)
        _, painted = fused.decode(z)
        fused.decode(more, painted)
    assert len(seen) > 50
    assert all(seen)


@pytest.mark.parametrize("config", [TINY, OTHER], ids=["tiny", "other"])
@pytest.mark.parametrize("kernel", [None, by_pixels])
@pytest.mark.parametrize("rows", [1, 2])
def test_one_picture_after_the_other_is_the_same_in_less(
    config: WanVAEConfig, kernel: Any, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(config)
    if kernel is not None:
        model.fuse(kernel)
    plain, pictures = model.decoder._finish, []

    def finish(parts: Any, total: Sum, walk: Any) -> Tensor:
        pictures.append(total.shape[0])
        return plain(parts, total, walk)

    monkeypatch.setattr(model.decoder, "_finish", finish)
    z, found = clip(3, rows, channels=config.z_dim, side=4), []
    for one_by_one in (False, True):
        x, memory = model.decode(z[:, :1], one_by_one=one_by_one)
        y, memory = model.decode(z[:, 1:2], memory, one_by_one=one_by_one)
        more, _ = model.decode(z[:, 2:], memory)  # and back to all at once
        found.append(torch.cat([x, y, more], 1))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    whole = [rows, rows * config.chunk, rows * config.chunk]
    assert pictures == [*whole, *[rows] * (1 + config.chunk), whole[-1]]
