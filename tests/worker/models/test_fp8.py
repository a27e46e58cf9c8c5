"""8-bit floats: what the layers give is what they give in float, but for the rounding."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from brushcast_worker.models import fp8
from brushcast_worker.models.dit import Block, DiT, DiTConfig
from brushcast_worker.models.fp8 import (
    Fp8Linear,
    Joined,
    multiplies_fp8,
    product,
    to_fp8,
    to_levels,
)
from brushcast_worker.models.keys import load_weights

PLAIN = DiTConfig(
    dim=48, layers=2, heads=2, ffn_dim=96, patch=2, context_dim=32, context_tokens=8,
    sinks=1, window=3,
)  # fmt: skip
FP8 = dataclasses.replace(PLAIN, fp8=True)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def levels_of_e4m3() -> Tensor:
    """Every magnitude of the format, from its definition: 4 bits of exponent, bias 7, 3 of
    mantissa; the last code is NaN."""
    normal = [(8 + m) * 2.0 ** (e - 10) for e in range(1, 16) for m in range(8)][:-1]
    return torch.tensor([m * 2.0**-9 for m in range(8)] + normal)


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


def test_rounding_is_to_the_nearest_level_of_the_format() -> None:
    levels = levels_of_e4m3()
    assert levels[-1] == fp8.HIGHEST
    x = torch.cat([torch.empty(200).uniform_(-448, 448), torch.empty(200).uniform_(-0.1, 0.1)])
    x[0] = 448.0  # the scale is 1
    got, scale = to_levels(x)
    assert scale.item() == 1
    signed = torch.cat([-levels, levels])
    wanted = signed[(x[:, None] - signed).abs().argmin(1)]
    torch.testing.assert_close(got.float(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_every_row_has_a_scale_of_its_own(size: float) -> None:
    x = torch.randn(5, 64)
    x[2] *= size
    q, scale = to_levels(x)
    off = (q.float() * scale - x).abs()
    assert bool((off <= torch.maximum(x.abs() * 2**-4, scale * 2**-10) * 1.001).all())
    assert bool((q.float().abs().amax(1) == fp8.HIGHEST).all())


def test_zeros_stay_zeros_and_what_is_no_number_shows() -> None:
    x = torch.randn(4, 32)
    x[0], x[1, 3], x[2, 5] = 0, torch.nan, -torch.inf
    linear = nn.Linear(32, 16)
    y = Fp8Linear(linear)(x)
    torch.testing.assert_close(y[0], linear.bias)
    assert bool(y[1:3].isnan().all())
    assert bool(y[3].isfinite().all())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 64), (2, 3, 5, 64)])
def test_a_layer_is_the_product_of_its_levels(
    shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    linear = nn.Linear(64, 48).to(device, dtype)
    layer, x = Fp8Linear(linear), torch.randn(shape).to(device, dtype)
    got = layer(x)
    assert got.dtype == dtype
    assert got.shape == (*shape[:-1], 48)
    x_q, x_scale = to_levels(x)
    exact = x_q.double() * x_scale @ (layer.weight.double() * layer.scale_N1).t() + linear.bias
    rounding = 1e-6 if dtype == torch.float32 and device == "cpu" else 2**-8
    assert error(got, exact) < rounding
    assert 0.005 < error(got, linear(x)) < 0.05  # two roundings of 2^-4 at most


def test_a_large_token_or_output_costs_the_others_nothing() -> None:
    linear = nn.Linear(64, 32)
    x = torch.randn(6, 64)
    alone = Fp8Linear(linear)(x)
    linear.weight[3] *= 1e5
    x[2] *= 1e5
    beside = Fp8Linear(linear)(x)
    rows, outputs = [0, 1, 3, 4, 5], [n for n in range(32) if n != 3]
    assert torch.equal(beside[rows][:, outputs], alone[rows][:, outputs])


@pytest.mark.parametrize("device", DEVICES)
def test_joined_layers_give_what_they_give_apart(device: str) -> None:
    layers = [Fp8Linear(nn.Linear(32, n)).to(device) for n in (16, 48, 32)]
    x = torch.randn(2, 5, 32, device=device)
    apart = [layer(x) for layer in layers]
    joined = Joined(*layers)
    for got, wanted in zip(joined(x).split([16, 48, 32], -1), apart, strict=True):
        near = 1e-6 if device == "cpu" else 2**-7  # bfloat16, summed in another order
        torch.testing.assert_close(got, wanted, rtol=near, atol=near)
    assert not list(joined.parameters()), "counted twice"
    assert not joined.state_dict()


def test_weights_that_are_loaded_reach_the_joined_product() -> None:
    linears = [nn.Linear(32, 16) for _ in range(3)]
    layers = [Fp8Linear(nn.Linear(32, 16)) for _ in linears]
    joined, x = Joined(*layers), torch.randn(4, 32)
    for layer, linear in zip(layers, linears, strict=True):
        layer.load_state_dict(linear.state_dict())
    wanted = torch.cat([linear(x) for linear in linears], -1)
    assert error(joined(x), wanted) < 0.05
    assert torch.equal(joined(x), torch.cat([Fp8Linear(linear)(x) for linear in linears], -1))
    spans = {layer.weight.untyped_storage().data_ptr() for layer in layers}
    assert spans == {joined.q_NK.untyped_storage().data_ptr()}, "two copies of the weights"


def test_which_products_of_a_block_are_rounded() -> None:
    block = Block(FP8)
    rounded = {name for name, x in block.named_modules() if isinstance(x, Fp8Linear)}
    assert rounded == {
        *(f"self_attn.{name}" for name in "qkvo"),
        *("cross_attn.q", "cross_attn.o", "ffn.0", "ffn.2"),
    }
    plain = {name for name, x in block.named_modules() if type(x) is nn.Linear}
    assert plain == {"cross_attn.k", "cross_attn.v"}
    assert isinstance(block.self_attn.joined, Joined)


def call(model: DiT) -> Tensor:
    torch.manual_seed(5)
    x, tokens = torch.randn(1, 3, 16, 4, 6), torch.randn(1, 5, 32)
    dtype = model.head.head.weight.dtype
    with torch.inference_mode():
        context = model.context(tokens.to(dtype))
        return model(x.to(dtype), timestep_BT=torch.full((1, 3), 700.0), context=context)


def test_a_transformer_in_8_bits_is_the_same_but_for_rounding() -> None:
    models = []
    for config in (PLAIN, FP8):
        torch.manual_seed(3)
        models.append(DiT(config).eval())
    wanted, got = map(call, models)
    assert 1e-4 < error(got, wanted) < 0.03
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_published_weights_load_strictly_into_8_bits(dtype: torch.dtype) -> None:
    """Names and shapes are those of the file; nothing of it stays in 16 bits but what is not
    rounded."""
    published = DiT(PLAIN).eval()
    weights = {name: x.to(dtype) for name, x in published.state_dict().items()}
    loaded = DiT(FP8).eval()
    load_weights(loaded, weights, "a file")
    published.load_state_dict(weights)
    for block in published.blocks:
        to_fp8(block)
    assert torch.equal(call(loaded), call(published))


def test_memory_is_half() -> None:
    """Of everything that a block holds but the context's keys and values."""
    config = dataclasses.replace(FP8, dim=256, ffn_dim=512)
    torch.set_default_dtype(torch.bfloat16)
    try:
        blocks = [Block(dataclasses.replace(config, fp8=on)) for on in (False, True)]
    finally:
        torch.set_default_dtype(torch.float32)
    sizes = [held_bytes(block) for block in blocks]
    kept = 2 * 2 * 256 * 256
    assert (sizes[1] - kept) / (sizes[0] - kept) == pytest.approx(0.5, abs=0.02)


def held_bytes(block: nn.Module) -> int:
    """Each storage once."""
    held = [*block.parameters(), *block.buffers()]
    return sum(
        {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in held}.values()
    )


def test_sizes_that_the_gpu_does_not_take_are_refused() -> None:
    for taken, given in ((24, 16), (16, 24)):
        with pytest.raises(AssertionError, match="in_features"):
            Fp8Linear(nn.Linear(taken, given))


def test_which_devices_multiply_8_bit_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, found = torch.device("cuda"), []
    for capability in ((8, 6), (8, 9), (9, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        found.append(multiplies_fp8(cuda))
    assert found == [False, True, True, True]
    assert not multiplies_fp8(torch.device("cpu"))
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert not multiplies_fp8(cuda)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants g++ on a CPU")
def test_compiled_once_for_all_layers() -> None:
    layers = [Fp8Linear(nn.Linear(64, 32)) for _ in range(3)]

    def normed(layer: nn.Module, x: Tensor) -> Tensor:
        return layer(torch.nn.functional.layer_norm(x, (64,)))

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(normed, fullgraph=True, dynamic=False)
    x = torch.randn(9, 64)
    with torch.inference_mode():
        for layer in layers:
            got, wanted = compiled(layer, x), normed(layer, x)
            assert error(got, wanted) < 5e-3  # a level's edge may fall to the other side
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [1024, 2048])
@pytest.mark.parametrize(("taken", "given"), [(5120, 15360), (5120, 13824), (13824, 5120)])
def test_long_sums_lose_less_than_the_levels_did(tokens: int, taken: int, given: int) -> None:
    """The published 14B's products."""
    linear = nn.Linear(taken, given, device="cuda", dtype=torch.bfloat16)
    layer, x = Fp8Linear(linear), torch.randn(tokens, taken, device="cuda", dtype=torch.bfloat16)
    q, scale = to_levels(x)
    exact = q.float() @ layer.weight.float().t() * scale * layer.scale_N1.t() + linear.bias
    of_sums, of_levels = error(layer(x), exact), error(exact, linear(x))
    assert of_sums < of_levels / 3, (of_sums, of_levels)


@pytest.mark.gpu
def test_products_are_recorded_and_wait_for_nothing() -> None:
    """A CUDA graph of a compiled layer, run again with other numbers."""
    layer = Fp8Linear(nn.Linear(256, 512).to("cuda", torch.bfloat16))
    x = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16)
    compiled = torch.compile(layer, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        for _ in range(3):
            compiled(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = compiled(x)
        x.copy_(torch.randn_like(x) * 3)
        graph.replay()
        torch.testing.assert_close(y, layer(x), rtol=2**-6, atol=2**-3)  # a level apart
        assert error(y, product_on_cpu(layer, x)) < 2**-7


def product_on_cpu(layer: Fp8Linear, x: Tensor) -> Tensor:
    held = (t.cpu() for t in (layer.weight, layer.scale_N1, layer.bias))
    return product(x.cpu().float(), *held).to(x.device)
