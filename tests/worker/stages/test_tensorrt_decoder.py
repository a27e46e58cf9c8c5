"""The decoder by TensorRT: what is asked of it, and what is said where it is absent. The package
itself is only met where it is installed, on a GPU."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor

from brushcast.errors import ConfigError
from brushcast_worker.engine import load_engine
from brushcast_worker.engines.wan import ROWS
from brushcast_worker.models.wan_vae import WanVAE
from brushcast_worker.stages.live_vae import LiveVAE
from brushcast_worker.stages.tensorrt_decoder import tensorrt_compiler

CUDA = torch.device("cuda", 0)


def wan_vae(device: torch.device, dtype: torch.dtype) -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(ROWS["wan-small"].autoencoder).eval().to(device, dtype)


def painted(live: LiveVAE, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Three chunks, from the stream's beginning."""
    video = torch.rand(1, 12, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    encoder = decoder = None
    out = []
    for chunk in video.to(device, dtype).split(4, 1):
        z, encoder = live.encode(chunk, encoder)
        ((x, decoder),) = live.paint(z, chunk, decoder)
        out.append(x)
    return torch.cat(out, 1)


@torch.inference_mode()
def test_the_decoder_alone_goes_to_tensorrt_in_its_own_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", types.ModuleType("torch_tensorrt"))
    asked: list[tuple[Any, dict[str, Any]]] = []

    def compile_it(function: Any, **named: Any) -> Any:
        asked.append((function, named))
        return function

    monkeypatch.setattr(torch, "compile", compile_it)
    vae = wan_vae(torch.device("cpu"), torch.float32)
    live = LiveVAE(vae, late=0)
    wanted = painted(live, torch.device("cpu"), torch.float32)
    live.fuse(tensorrt_compiler(CUDA))
    backends = {function.__name__: named.get("backend") for function, named in asked}
    assert backends == {"encode": None, "decode": "torch_tensorrt"}
    assert asked[-1][1] == {
        "backend": "torch_tensorrt",
        "dynamic": False,
        "options": {"use_explicit_typing": True},
    }
    assert torch.equal(painted(live, torch.device("cpu"), torch.float32), wanted)


def test_where_it_is_not_installed_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(ConfigError, match=r"wanted brushcast\[tensorrt\], or --decoder torch"):
        tensorrt_compiler(CUDA)


@pytest.mark.parametrize("name", ["wan-small-random", "pocket-random"])
def test_an_engine_that_cannot_have_it_says_so(name: str) -> None:
    with pytest.raises(ConfigError, match="--decoder tensorrt"):
        load_engine(name, "cpu", decoder="tensorrt")


def test_an_unknown_decoder_is_named() -> None:
    with pytest.raises(ConfigError, match="decoder 'onnx': wanted torch or tensorrt"):
        load_engine("wan-small-random", "cpu", decoder="onnx")


@pytest.mark.gpu
@pytest.mark.skipif(
    importlib.util.find_spec("torch_tensorrt") is None,
    reason="torch-tensorrt is not installed (brushcast[tensorrt])",
)
@torch.inference_mode()
def test_it_paints_what_torch_paints() -> None:
    vae = wan_vae(CUDA, torch.bfloat16)
    plain, live = LiveVAE(vae, late=0), LiveVAE(vae, late=0)
    live.fuse(tensorrt_compiler(CUDA))
    wanted = painted(plain, CUDA, torch.bfloat16).float()
    off = (painted(live, CUDA, torch.bfloat16).float() - wanted).square().mean().sqrt()
    assert off < 2 / 255 * wanted.square().mean().sqrt().clamp_min(0.5)
