"""Int8: what the layers give in 8-bit integers is what they give in float, but for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brushcast_worker.models import int8
from brushcast_worker.models.int8 import (
    Conv,
    Int8Linear,
    Levels,
    Up,
    cells,
    int8_pays,
    quantise,
    whole,
)

ERROR = 0.02  # of the output's deviation: two roundings to 8 bits, with room
needs_int8 = pytest.mark.skipif(not int8_pays(), reason="this CPU has no VNNI instructions")


def picture(channels: int, rows: int = 1, side: int = 16) -> Tensor:
    return torch.randn(rows, channels, side, side).contiguous(memory_format=torch.channels_last)


def calibrated(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, (Conv, Up)):
            module.reach.fill_(4.0)
    return network.eval().requires_grad_(False)


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).std() / wanted.std())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@needs_int8
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("given", [16, 48])  # 48 with a stride: zero is level 1
def test_a_convolution(signed: bool, size: int, stride: int, given: int) -> None:
    conv = calibrated(Conv(24, given, size, stride=stride, signed=signed))
    x = picture(24)
    wanted = conv(x)
    quantise(conv)
    assert error(conv(x), wanted) < ERROR
    torch.testing.assert_close(conv(x, rectify=True), conv(x).relu())


@needs_int8
@pytest.mark.parametrize("signed", [False, True])
def test_further_channels_beside(signed: bool) -> None:
    conv = calibrated(Conv(24, 16, signed=signed))
    x, beside = picture(16), picture(8)
    wanted = conv(x, beside)
    torch.testing.assert_close(wanted, conv(torch.cat([x, beside], 1)), rtol=1e-4, atol=1e-4)
    quantise(conv)
    assert error(conv(x, beside), wanted) < ERROR


@needs_int8
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("rectify", [False, True])
def test_a_look_and_the_next_layer(rows: int, rectify: bool) -> None:
    both = calibrated(nn.ModuleList([Conv(16, 16), Conv(16, 16)]))
    look = (torch.randn(rows, 16, 1, 1), torch.randn(rows, 16, 1, 1))  # negative scales, too
    x = picture(16, rows)
    looked = both[0](x, look=look, rectify=rectify)
    chained = both[1](both[0](x, look=look, then=both[1]))
    quantise(both)
    assert error(both[0](x, look=look, rectify=rectify), looked) < ERROR
    assert error(both[1](both[0](x, look=look, then=both[1])), chained) < 2 * ERROR


@needs_int8
def test_a_chain_stays_in_levels_and_adds_to_what_is_there() -> None:
    both = calibrated(nn.ModuleList([Conv(16, 32, stride=2), Conv(32, 48, stride=2)]))
    x, there = picture(16), picture(48, side=4)
    kept = there.clone()
    wanted = both[1](both[0](x, then=both[1]), onto=there, rectify=True)
    quantise(both)
    levels = both[0](x, then=both[1])
    assert isinstance(levels, Levels)
    assert error(both[1](levels, onto=there, rectify=True), wanted) < 2 * ERROR
    assert torch.equal(there, kept)


@needs_int8
def test_one_rounding_serves_several_layers() -> None:
    layers = nn.ModuleList([Conv(16, 48, stride=2), Conv(16, 16), Up(16, 8)])
    calibrated(layers)
    x = picture(16)
    wanted = [layer(x) for layer in layers]
    assert layers[0].rounded(x) is x
    quantise(layers)
    levels = layers[0].rounded(x)
    assert isinstance(levels, Levels)
    for layer, result in zip(layers, wanted, strict=True):
        assert error(layer(levels), result) < ERROR


@needs_int8
@pytest.mark.parametrize("signed", [False, True])
def test_twice_the_size(signed: bool) -> None:
    up = calibrated(Up(16, 8, parts=3, signed=signed))
    x = picture(16, 2)
    wanted = [up(x, part, plus=1.0) for part in range(3)]
    whole = nn.functional.conv_transpose2d(
        x if signed else x.relu(), up.weight, up.bias + 1, stride=2
    )
    for part, result in zip(whole.chunk(3, 1), wanted, strict=True):
        torch.testing.assert_close(cells(part), result)
    quantise(up)
    for part in range(3):
        assert error(up(x, part, plus=1.0), wanted[part]) < ERROR


@needs_int8
def test_twice_the_size_for_the_convolution_after_it() -> None:
    layers = calibrated(nn.ModuleList([Up(16, 8), Conv(8, 16)]))
    up, conv = layers
    x = picture(16, 2)
    wanted = conv(whole(up(x)))
    torch.testing.assert_close(conv(up(x, then=conv)), wanted)
    quantise(layers)
    levels = up(x, then=conv)
    assert isinstance(levels, Levels)
    assert error(conv(levels), wanted) < 2 * ERROR


@needs_int8
def test_matrices_and_the_gelu_after_one() -> None:
    mlp = nn.Sequential(nn.Linear(256, 512), nn.GELU(approximate="tanh"), nn.Linear(512, 256))
    mlp.requires_grad_(False)
    x = torch.randn(2, 1, 36, 256)
    wanted = mlp(x)
    first, last = mlp[0], mlp[2]
    quantise(mlp)
    assert isinstance(mlp[0], Int8Linear)
    assert isinstance(mlp[1], nn.Identity)
    assert error(mlp(x), wanted) < 2 * ERROR
    three = Int8Linear(first, first, first)(x)
    assert error(three, torch.cat([first(x)] * 3, -1)) < ERROR
    assert error(mlp[2](torch.zeros(1, 512)), last(torch.zeros(1, 512))) < ERROR


@needs_int8
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_matrix_hides_nothing_that_is_not_finite(bad: float) -> None:
    linear = Int8Linear(nn.Linear(256, 256))
    x = torch.randn(4, 256)
    x[1, 7] = bad
    assert linear(x).isnan().all()


@needs_int8
def test_what_is_not_calibrated_or_small_stays_float() -> None:
    network = nn.ModuleDict({"conv": Conv(8, 8), "up": Up(8, 8), "small": nn.Linear(256, 128)})
    x, row = picture(8), torch.randn(3, 256)
    conv, up, small = (network["conv"](x), network["up"](x), network["small"](row))
    quantise(network)
    assert torch.equal(network["conv"](x), conv)
    assert torch.equal(network["up"](x), up)
    assert torch.equal(network["small"](row), small)


def test_a_cpu_without_the_instructions_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not int8.int8_pays()
