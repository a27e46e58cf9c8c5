"""8-bit integers on CPUs that have the instructions for them (VNNI): convolutions three to four
times as fast as in float32 there, products of matrices twice, for an error of about 0.3 % a layer.

Letters: B rows, C channels, H W size, K what a matrix takes, N what it gives.

One forward for all devices: networks are written, trained and run on a GPU in floating point, and
``quantise`` changes what their layers do inside.  Weights are rounded to 8 bits for each output
channel; inputs over a range that calibration found (``Conv``, ``Up``, by ``training.calibrate``) or
that is looked up each time (``Int8Linear``).  Sums, outputs and all between stay float32, but for
``Levels``.  Post-training quantisation as in Krishnamoorthi 2018 (arXiv:1806.08342), section 3.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Modulation = tuple[Tensor, Tensor]  # scale and shift of filters, [N C 1 1] for N rows
TOP = 255  # the highest level
MIDDLE = 128  # the level of zero in an input with negative values
WIDE = 256  # inputs and outputs from which a matrix is worth the rounding


@dataclass(frozen=True, slots=True)
class Levels:
    """An input that is rounded already: ``step * (values - zero)``; the layer that reads it is
    quantised.
    """

    values_BCHW: Tensor  # uint8
    step: float
    zero: int


@runtime_checkable
class Quantisable(Protocol):
    """A module that has a way of its own."""

    def quantise(self) -> None:
        """From here on with 8-bit integers, if calibrated; the weights must not change after."""


class Conv(nn.Conv2d):
    """A convolution of the rectified input, ``signed``: of the input as it is.

    ``reach``: the input's largest magnitude that counts; 0: not calibrated, never quantised.
    """

    def __init__(
        self,
        taken: int,
        given: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int = 1,
        signed: bool = False,
    ) -> None:
        super().__init__(taken, given, size, stride=stride, padding=padding)
        self.signed = signed
        self.register_buffer("reach", torch.zeros(()))
        self.reach: Tensor
        self._int8: _Int8Conv | None = None

    def quantise(self) -> None:
        """As of ``Quantisable``."""
        if self.reach > 0:
            assert self.bias is not None
            place = list(self.stride), list(self.padding)
            self._int8 = _Int8Conv(self.weight, self.bias, float(self.reach), self.signed, *place)

    def rounded(self, x_BCHW: Tensor) -> Tensor | Levels:
        """The input, rounded once for this convolution and others; as it is where not quantised."""
        return x_BCHW if self._int8 is None else self._int8.rounded(x_BCHW)

    def forward(
        self,
        x_BCHW: Tensor | Levels,
        beside_BCHW: Tensor | Levels | None = None,
        *,
        look: Modulation | None = None,
        onto: Tensor | None = None,
        rectify: bool = False,
        then: Conv | None = None,
    ) -> Tensor:
        """``beside``: further input channels.  ``look``: scale and shift of the output, or
        ``onto``: what it is added to.  ``rectify``: the result.
        ``then``: the one convolution that the output goes to, and nowhere else: it may be
        ``Levels``, which a Tensor stands for here.
        """
        assert look is None or onto is None
        assert then is None or onto is None
        if self._int8 is not None:
            later = None if then is None else then._int8
            return self._int8(x_BCHW, beside_BCHW, look, onto, rectify, later)
        x, beside = self._given(x_BCHW), self._given(beside_BCHW)
        assert x is not None
        bias = self.bias if look is None else None
        if beside is not None and x.is_cuda:
            x, beside = torch.cat([x, beside], 1), None
        if beside is None:
            y = self._conv_forward(x, self.weight, bias)
        else:  # its two parts apart: on a CPU copying both costs more
            of_x, of_beside = self.weight.split([x.shape[1], beside.shape[1]], 1)
            y = self._conv_forward(x, of_x, bias)
            y = y.add_(self._conv_forward(beside, of_beside, None))
        if look is not None:  # the bias goes with the shift: a pass over the pictures less
            assert self.bias is not None
            scale, shift = look
            y = torch.addcmul(shift + scale * self.bias[:, None, None], y, scale)
        elif onto is not None:
            y = y.add_(onto)
        return F.relu(y, inplace=True) if rectify else y

    def _given(self, x: Tensor | Levels | None) -> Tensor | None:
        assert not isinstance(x, Levels), "rounded, for a convolution that is not quantised"
        return x if x is None or self.signed else F.relu(x)


class Up(nn.ConvTranspose2d):
    """Twice the size, by an input's own 2x2 pixels each: a product of matrices, as they do not
    overlap.  ``parts``: its output channels belong to so many pictures.  ``reach`` as of ``Conv``.
    """

    def __init__(self, taken: int, given: int, *, parts: int = 1, signed: bool = False) -> None:
        super().__init__(taken, given * parts, 2, stride=2)
        self.parts, self.signed = parts, signed
        self.register_buffer("reach", torch.zeros(()))
        self.reach: Tensor
        self._int8: list[_Int8Conv] = []

    def quantise(self) -> None:
        """As of ``Quantisable``."""
        if self.reach > 0:
            assert self.bias is not None
            for weight, bias in zip(
                self.weight.chunk(self.parts, 1), self.bias.chunk(self.parts), strict=True
            ):
                matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)[..., None, None]
                reach, place = float(self.reach), ([1, 1], [0, 0])
                self._int8.append(_Int8Conv(matrix, bias.repeat(4), reach, self.signed, *place))

    def rounded(self, x_BCHW: Tensor) -> Tensor | Levels:
        """As of ``Conv``."""
        return self._int8[0].rounded(x_BCHW) if self._int8 else x_BCHW

    def forward(  # type: ignore[override]  # a part, where the superclass takes an output size
        self,
        x_BCHW: Tensor | Levels,
        part: int = 0,
        plus: float = 0.0,
        then: Conv | None = None,
    ) -> Tensor:
        """One part's pixels as ``cells``, ``plus`` a constant; or whole for the convolution
        ``then``, as of ``Conv``.
        """
        if self._int8:
            product, after = self._int8[part], None if then is None else then._int8
            y = product(x_BCHW, None, None, None, False, after, plus)
            if isinstance(y, Levels):
                return replace(y, values_BCHW=whole(_by_cells(y.values_BCHW)))
            y = _by_cells(y)
            return y if then is None else whole(y)
        assert not isinstance(x_BCHW, Levels)
        assert self.bias is not None
        weight, bias = self.weight.chunk(self.parts, 1)[part], self.bias.chunk(self.parts)[part]
        x = x_BCHW if self.signed else F.relu(x_BCHW)
        y = F.conv_transpose2d(x, weight, bias + plus if plus else bias, stride=2)
        return cells(y) if then is None else y


def cells(x_BCHW: Tensor) -> Tensor:
    """``[B C H W]`` as ``[B C H/2 2 W/2 2]``, a view."""
    return x_BCHW.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))


def _by_cells(x_BCHW: Tensor) -> Tensor:
    """Channels that are a cell's 2x2 pixels as ``cells``, a view."""
    return x_BCHW.unflatten(1, (2, 2, -1)).permute(0, 3, 4, 1, 5, 2)


def whole(x_BCHhWw: Tensor) -> Tensor:
    """``cells`` as a picture again.  By way of channels last: a row alone would get the stride of
    none between its rows, and torch then copies what is in order already.
    """
    return x_BCHhWw.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


class _Int8Conv:
    """One convolution in integers, by oneDNN's kernels in torch."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        reach: float,
        signed: bool,
        stride: list[int],
        padding: list[int],
    ) -> None:
        weight, self.bias = weight.detach().float(), bias.detach().float()
        self.scale = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
        _hear_the_warning()
        levels = (weight / self.scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        # Without a level below zero oneDNN takes a slow kernel for these: 10 ms, not 2.6.
        lowest = int(stride[0] > 1 and len(weight) % 48 == 0)
        self.zero = MIDDLE if signed else lowest
        self.lowest = 0 if signed else lowest
        self.step = reach * (1 + signed) / (TOP - self.lowest)
        self.place = stride, padding, [1, 1]
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.weight = torch.ops.onednn.qconv_prepack(
            levels, self.scale, 1.0, 0, *self.place, 1, None
        )

    def __call__(
        self,
        x: Tensor | Levels,
        beside: Tensor | Levels | None,
        look: Modulation | None,
        onto: Tensor | None,
        rectify: bool,
        then: _Int8Conv | None,
        plus: float = 0.0,
    ) -> Tensor:
        given = self.rounded(x)
        values = given.values_BCHW
        if beside is not None:
            values = torch.cat([values, self.rounded(beside).values_BCHW], 1)
        scale, bias, later = self.scale, self.bias, None
        if look is not None and len(look[0]) > 1:
            later, then = look, None  # rows of different looks
        elif look is not None:  # set in the weights: no pass over the pixels
            scale = scale * look[0].flatten()
            bias = torch.addcmul(look[1].flatten(), bias, look[0].flatten())
        if plus:
            bias = bias + plus
        what = values, given.step, given.zero, self.weight, scale, self.zeros
        at_once = later is None and onto is None
        relu = "relu" if then is not None or (rectify and at_once) else "none"
        y: Tensor
        y = torch.ops.onednn.qconv2d_pointwise(
            *what, bias, *self.place, 1, 1.0 if then is None else then.step,
            0 if then is None else then.zero,
            torch.float32 if then is None else torch.uint8, relu, [], "",
        )  # fmt: skip
        # oneDNN's sum of an output and what is there already is no faster: torch copies that first.
        if then is not None:
            return Levels(y, then.step, then.zero)  # type: ignore[return-value]  # for `then` alone
        if later is not None:
            y = torch.addcmul(later[1], y, later[0])
        elif onto is not None:
            y = y.add_(onto)
        return y.relu_() if rectify and not at_once else y

    def rounded(self, x: Tensor | Levels) -> Levels:
        """Values under the range, as all that a rectifier drops, become its lowest level."""
        if isinstance(x, Levels):
            return x
        values = _levels(x, self.step, self.zero)
        return Levels(values.clamp_(min=1) if self.lowest else values, self.step, self.zero)


class Int8Linear(nn.Module):
    """Linear layers of one input in integers, ``gelu`` after them; the range of the input is looked
    up in every call.
    """

    def __init__(self, *linears: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        weight = torch.cat([linear.weight for linear in linears]).detach().float()
        biases = [linear.bias for linear in linears if linear.bias is not None]
        self.bias = torch.cat(biases).detach().float() if biases else None
        self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        _hear_the_warning()
        levels = (weight / self.scale[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(levels, None)
        self.after: tuple[str, list[float], str] = (
            ("gelu", [], "tanh") if gelu else ("none", [], "")
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[... K]`` to ``[... N]``.  NaN and infinity in the input make the whole output NaN."""
        low, high = x.aminmax()
        step = max(float(high), -float(low), 1e-12) / (TOP - MIDDLE)
        if not math.isfinite(step):
            return x.new_full((*x.shape[:-1], len(self.scale)), torch.nan)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            _levels(x, step, MIDDLE), step, MIDDLE, self.weight, self.scale, self.zeros, self.bias,
            1.0, 0, torch.float32, *self.after,
        )  # fmt: skip
        return y


def _levels(x: Tensor, step: float, zero: int) -> Tensor:
    """Rounded to 0..255, as the integers that the kernels want: a view of a quantised tensor."""
    levels = torch.quantize_per_tensor(x, step, zero, torch.quint8)
    view = torch.empty(0, dtype=torch.uint8)
    return view.set_(levels.untyped_storage(), 0, levels.shape, levels.stride())


def _hear_the_warning() -> None:
    """torch says once a process that it will drop quantised tensors; the lock file holds a torch
    that has them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _levels(torch.zeros(1), 1.0, 0)


def int8_pays() -> bool:
    """Whether this CPU multiplies 8-bit integers faster than floats, without overflow (VNNI)."""
    have = torch.cpu.get_capabilities()
    kernels = "onednn" in torch.backends.quantized.supported_engines
    return kernels and bool(have.get("avx512_vnni") or have.get("avx_vnni"))


def quantise(network: nn.Module) -> None:
    """The calibrated convolutions and the large matrices of a float32 network on a CPU, from here
    on and for good, to 8-bit integers.
    """
    for module in list(network.modules()):
        if isinstance(module, Quantisable):
            module.quantise()
        for name, child in list(module.named_children()):
            if not isinstance(child, nn.Linear) or min(child.weight.shape) < WIDE:
                continue
            after = str(int(name) + 1) if isinstance(module, nn.Sequential) else ""
            gelu = isinstance(getattr(module, after, None), nn.GELU)
            setattr(module, name, Int8Linear(child, gelu=gelu))
            if gelu:
                setattr(module, after, nn.Identity())
