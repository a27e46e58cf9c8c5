"""8-bit floats (e4m3) on GPUs that multiply them: the large products of a transformer's blocks in
half the memory and, on an H200, in half the time of bfloat16.

Letters: M tokens of all rows, K what a matrix takes, N what it gives; q levels in e4m3.

A weight has one scale for each output, an input one for each token, found anew in every call: the
largest magnitude becomes the highest level, 448.  So one token or one output that is large costs
the others nothing, and nothing is calibrated.  The format: Micikevicius et al. 2022
(arXiv:2209.05433), section 3; a scale for each row and column: Xiao et al. 2023 (SmoothQuant,
arXiv:2211.10438), equation 2.

Written so that torch.compile fuses an input's norm, modulation, scale and rounding into one kernel,
and so that nothing waits for the device.  Where there are no such products (a CPU) the same levels
are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

HIGHEST = 448.0  # level of e4m3
LEAST = 1e-12  # magnitude that is scaled up no further: rows of zeros stay zeros
NEEDS = (8, 9)  # compute capability: Ada, Hopper and later


def multiplies_fp8(device: torch.device) -> bool:
    """Whether the device is an NVIDIA GPU with products of e4m3."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= NEEDS


def to_levels(x: Tensor) -> tuple[Tensor, Tensor]:
    """``[... K]`` as e4m3 levels and their scales ``[... 1]``, float32.  Their product is x but for
    rounding: 2^-4 of a value or 2^-10 of the scale at most.  A row with NaN or infinity in it
    multiplies to NaN.
    """
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).clamp(min=LEAST) / HIGHEST
    return (x / scale).clamp(-HIGHEST, HIGHEST).to(torch.float8_e4m3fn), scale


def to_fp8(block: nn.Module) -> None:
    """The products of a ``models.dit.Block`` from here on in 8-bit floats."""
    for layers, name in products(block):
        setattr(layers, name, Fp8Linear(getattr(layers, name)))
    itself = block.self_attn
    itself.joined = Joined(itself.q, itself.k, itself.v)


def products(block: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """A block's large products, each as the module that holds it and its name there.  Not among
    them: the keys and values of the context, which are made once a prompt.
    """
    for part, names in (("self_attn", "qkvo"), ("cross_attn", "qo"), ("ffn", "02")):
        yield from ((block.get_submodule(part), name) for name in names)


def product(x: Tensor, q_NK: Tensor, scale_N1: Tensor, bias_N: Tensor) -> Tensor:
    """``[... K]`` to ``[... N]`` in the dtype of x; on a GPU rounded to bfloat16 in any case."""
    q_MK, scale_M1 = to_levels(x.flatten(0, -2))
    if x.is_cuda:
        # "Fast" sums keep about 14 bits (DeepSeek-V3, arXiv:2412.19437, 3.3.2), which loses less
        # than the levels did: tests/worker/models/test_fp8.py holds them to that.
        y_MN = torch._scaled_mm(
            q_MK, q_NK.t(), scale_a=scale_M1, scale_b=scale_N1.t(), bias=bias_N.bfloat16(),
            out_dtype=torch.bfloat16, use_fast_accum=True,
        )  # fmt: skip
    else:
        y_MN = q_MK.float() @ q_NK.float().t() * scale_M1 * scale_N1.t() + bias_N.float()
    return y_MN.to(x.dtype).unflatten(0, x.shape[:-1])


class Fp8Linear(nn.Module):
    """A linear layer in 8-bit floats.  K and N are multiples of 16, as the GPU wants them.

    ``load_state_dict`` takes the layer's own weights, of any float dtype, and rounds them: a model
    is loaded without ever being whole in 16 bits.  ``state_dict`` holds levels without their
    scales: for names and shapes alone.
    """

    scale_N1: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        assert linear.bias is not None
        assert linear.in_features % 16 == 0 == linear.out_features % 16, linear
        q_NK, scale_N1 = to_levels(linear.weight.detach())
        self._hold(q_NK, scale_N1, linear.bias.detach())

    def _hold(self, q_NK: Tensor, scale_N1: Tensor, bias_N: Tensor) -> None:
        self.weight = nn.Parameter(q_NK, requires_grad=False)
        self.bias = nn.Parameter(bias_N, requires_grad=False)
        self.register_buffer("scale_N1", scale_N1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[... K]`` to ``[... N]``."""
        return product(x, self.weight, self.scale_N1, self.bias)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        """As of ``nn.Module``, which calls it of every layer in turn."""
        weight = state_dict[f"{prefix}weight"].to(self.weight.device)
        for mine, loaded in zip((self.weight.data, self.scale_N1), to_levels(weight), strict=True):
            mine.copy_(loaded)
        rounded = {**state_dict, f"{prefix}weight": self.weight.detach()}
        super()._load_from_state_dict(rounded, prefix, *rest)


class Joined(nn.Module):
    """Layers of one input as one product.  From here on their weights are rows of its own."""

    def __init__(self, *linears: Fp8Linear) -> None:
        super().__init__()
        self.register_buffer("q_NK", torch.cat([x.weight for x in linears]), persistent=False)
        self.register_buffer("scale_N1", torch.cat([x.scale_N1 for x in linears]), persistent=False)
        self.register_buffer("bias_N", torch.cat([x.bias for x in linears]), persistent=False)
        whole = self.q_NK, self.scale_N1, self.bias_N
        sizes = [len(x.bias) for x in linears]
        for linear, *rows in zip(linears, *(x.split(sizes) for x in whole), strict=True):
            linear._hold(*rows)

    def forward(self, x: Tensor) -> Tensor:
        """``[... K]`` to the layers' outputs side by side, ``[... N]``."""
        return product(x, self.q_NK, self.scale_N1, self.bias_N)
