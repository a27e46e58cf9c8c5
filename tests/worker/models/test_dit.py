"""The transformer: the published numbers, and a stream that equals a clip."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.models.dit import SIZES, DiT, DiTConfig
from brushcast_worker.models.int8 import int8_pays
from brushcast_worker.stages.cache import RollingCache
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import dit_error

TINY = DiTConfig(
    dim=48, layers=2, heads=2, ffn_dim=64, patch=4, context_dim=8, context_tokens=3,
    sinks=1, window=3,
    source_channels=16, stem=16, pooled_context=True, prediction="x0",
)  # fmt: skip


def tiny_model() -> DiT:
    return filled(DiT(TINY), std=0.1)


def filled(model: DiT, std: float) -> DiT:
    """With random weights: outputs that begin at zero would hide every difference."""
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("case", ["one_step", "two_steps"])
def test_agrees_with_the_published_model(reference: Vectors, case: str) -> None:
    assert dit_error(reference.dit, getattr(reference.dit, case)) < 1e-5


def test_a_stream_equals_a_clip() -> None:
    model = tiny_model()
    x, source = torch.randn(2, 1, 7, 16, 6, 8)
    t = torch.full((1, 7), 560.0)
    cache = RollingCache(layers=2, rows=1, tokens=4, dim=48, sinks=1, window=3)
    with torch.inference_mode():
        context = model.context(torch.randn(1, 3, 8))
        clip = model(x, timestep_BT=t, context=context, source_BTCHW=source)
        for i in range(7):
            cache.begin()
            live = model(
                x[:, i : i + 1], timestep_BT=t[:, :1], context=context,
                source_BTCHW=source[:, i : i + 1],
                caches=[cache],
            )  # fmt: skip
            torch.testing.assert_close(live, clip[:, i : i + 1], rtol=1e-4, atol=1e-5)


def test_streams_in_one_batch_do_not_see_each_other() -> None:
    model = tiny_model()
    x, source = torch.randn(2, 2, 4, 16, 8, 8)
    caches = [RollingCache(layers=2, rows=1, tokens=4, dim=48, sinks=1, window=3) for _ in range(2)]
    t = torch.full((2, 1), 300.0)
    with torch.inference_mode():
        context = model.context(torch.randn(2, 3, 8))
        alone = model(x, timestep_BT=t.expand(2, 4), context=context, source_BTCHW=source)
        caches[0].begin()  # the first stream is one latent frame ahead
        one = model.context(torch.randn(1, 3, 8))
        del one
        ahead = type(context)(
            k_BLD=tuple(k[:1] for k in context.k_BLD), v_BLD=tuple(v[:1] for v in context.v_BLD),
            pooled_BD=None if context.pooled_BD is None else context.pooled_BD[:1],
        )  # fmt: skip
        model(
            x[:1, :1],
            timestep_BT=t[:1],
            context=ahead,
            source_BTCHW=source[:1, :1],
            caches=caches[:1],
        )
        for i in range(3):
            for cache in caches:
                cache.begin()
            rows = torch.stack([x[0, i + 1 : i + 2], x[1, i : i + 1]])
            clean = torch.stack([source[0, i + 1 : i + 2], source[1, i : i + 1]])
            live = model(rows, timestep_BT=t, context=context, source_BTCHW=clean, caches=caches)
            torch.testing.assert_close(live[0], alone[0, i + 1 : i + 2], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(live[1], alone[1, i : i + 1], rtol=1e-4, atol=1e-5)


def test_any_latent_size_comes_back_in_its_size() -> None:
    model = tiny_model()
    z = torch.randn(1, 1, 16, 5, 7)
    context = model.context(torch.randn(1, 3, 8))
    out = model(z, timestep_BT=torch.full((1, 1), 500.0), context=context, source_BTCHW=z)
    assert out.shape == z.shape


def test_a_context_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="4 context tokens; at most 3 wanted"):
        tiny_model().context(torch.zeros(1, 4, 8))


@pytest.mark.parametrize(
    ("name", "millions"), [("wan-1.3b", 1419), ("wan-14b", 14288), ("pocket", 6)]
)
def test_sizes_have_the_published_number_of_weights(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = DiT(SIZES[name])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == pytest.approx(millions, abs=1)


@pytest.mark.skipif(not int8_pays(), reason="this CPU has no VNNI instructions")
@pytest.mark.parametrize("side", [16, 14])  # 14: the last patch is filled up
def test_patches_in_8_bits_are_the_same_tokens(side: int) -> None:
    model = filled(DiT(SIZES["pocket"]), std=0.05)
    z = torch.randn(1, 2, 16, side, side)
    call = dict(
        timestep_BT=torch.full((1, 2), 500.0),
        context=model.context(torch.randn(1, 3, 128)),
        source_BTCHW=z,
    )
    with torch.inference_mode():
        wanted = model(z, **call)
        model.quantise()  # the patches alone: other layers belong to int8.quantise
        assert model._patches is not None
        got = model(z, **call)
    assert 0 < float((got - wanted).std() / (wanted - z).std()) < 0.02


def test_small_patches_stay_float() -> None:
    model = tiny_model()
    model.quantise()
    assert model._patches is None
