"""Which of torch's attention kernels is the fastest here: tried at load, on the shapes that a
transformer really has.

Which one wins depends on the GPU, on torch's version and on the shapes (facts of an H200: cuDNN 467
to 671 TFLOP/s, FlashAttention 2 231 to 327), so it is measured rather than known.

Letters: B rows, K heads, N queries, M keys, E head width, D width of a token.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from brushcast_worker.models.attention import split_heads
from brushcast_worker.models.dit import DiTConfig

log = logging.getLogger(__name__)

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
LAST = "math"  # it can do everything, masks and every type included
CHECKED = 128  # queries whose answers are held against float32: all of them would take gigabytes
ROUNDINGS = 4  # of the scaled queries, of the weights, of their sum over the values, of the answer
FLOAT32_ERROR = 1e-4  # sums over 10,000 keys in another order
ROUNDS, ROUND_MS, MOST_CALLS = 3, 3.0, 8  # of timing: the least of the rounds counts

Trial = tuple[Tensor, Tensor, Tensor]  # q_BKNE, k_BKME, v_BKME
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # a Trial to y_BKNE


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """One attention of a layer."""

    rows: int
    heads: int
    queries: int
    keys: int
    head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionChoice:
    """What was found. Nothing where nothing can be timed: then torch chooses.

    times_ms: one layer's attention by each kernel that works, the fastest first. refused: of the
    others, why.
    """

    times_ms: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, ...]:
        """Names of BACKENDS in the order in which they are asked for: the first that can do what is
        wanted runs."""
        if not self.times_ms or LAST in self.times_ms:
            return tuple(self.times_ms)
        return (*self.times_ms, LAST)

    def kernels(self) -> AbstractContextManager[object]:
        """Within it attention is run so; what is compiled or recorded within it stays so."""
        if not self.times_ms:
            return nullcontext()
        return sdpa_kernel([BACKENDS[name] for name in self.order], set_priority=True)

    def __str__(self) -> str:
        tried = [f"{name} {ms:.3g} ms" for name, ms in self.times_ms.items()]
        return ", ".join([*tried, *(f"{name}: {why}" for name, why in self.refused.items())])


def attention_shapes(config: DiTConfig, tokens: int, rows: int) -> tuple[AttentionShape, ...]:
    """Those of a layer, for latent frames of so many tokens and a full cache: to itself, and to the
    prompt."""
    head_dim = config.dim // config.heads
    return tuple(
        AttentionShape(rows=rows, heads=config.heads, queries=tokens, keys=keys, head_dim=head_dim)
        for keys in (config.window * tokens, config.context_tokens)
    )


def choose_attention(
    shapes: Sequence[AttentionShape], device: torch.device, dtype: torch.dtype
) -> AttentionChoice:
    """Tries every kernel on a GPU; elsewhere there is nothing to choose from. Waits for the device;
    at load, on the GPU thread."""
    if device.type != "cuda":
        return AttentionChoice()
    # `math` takes gigabytes for a moment. Where they are not there it is refused, nothing more.
    begun_ns = time.perf_counter_ns()
    with torch.inference_mode(), torch.cuda.device(device):
        choice = where_there_is_room(lambda: _measured(shapes, device, dtype))
        torch.cuda.empty_cache()  # what `math` took is wanted elsewhere
        torch.cuda.reset_peak_memory_stats(device)  # the engine needs less
    log.info("attention: %s (tried in %d ms)", choice, (time.perf_counter_ns() - begun_ns) / 1e6)
    return choice


def where_there_is_room(measure: Callable[[], AttentionChoice]) -> AttentionChoice:
    """What was measured; where the memory is taken, by another worker say, nothing was."""
    try:
        return measure()
    except torch.OutOfMemoryError as error:
        log.warning("attention: not measured, torch chooses: %s", error)
        return AttentionChoice()


def choose(
    trials: Sequence[Trial],
    backends: Mapping[str, Attend],
    time_ms: Callable[[Callable[[], object]], float],
) -> AttentionChoice:
    """The backends that give right numbers, by the time that all trials take together. One that
    fails or is off by more than its type's rounding is refused."""
    times_ms, refused = {}, {}
    wanted = [in_float32(*of_trial) for of_trial in trials]
    limit = tolerance(trials[0][0].dtype)
    for name, attend in backends.items():
        try:
            error = max(off_by(attend(*t), y) for t, y in zip(trials, wanted, strict=True))
            if not error <= limit:  # NaN too
                refused[name] = f"wrong by {error:.1e}, at most {limit:.1e} is rounding"
                log.warning("attention: %s is not used: %s", name, refused[name])
                continue
            times_ms[name] = sum(time_ms(partial(attend, *of_trial)) for of_trial in trials)
        except RuntimeError as failed:  # also torch's OutOfMemoryError
            refused[name] = str(failed).partition("\n")[0][:100]
    return AttentionChoice(
        times_ms=dict(sorted(times_ms.items(), key=lambda item: item[1])), refused=refused
    )


def trial(shape: AttentionShape, generator: torch.Generator, dtype: torch.dtype) -> Trial:
    """Random queries, keys and values, in memory as the transformer has them: heads innermost but
    one."""
    s = shape

    def drawn(count: int) -> Tensor:
        size = s.rows, count, s.heads * s.head_dim
        x_BMD = torch.randn(size, generator=generator, device=generator.device, dtype=dtype)
        return split_heads(x_BMD, s.heads)

    return drawn(s.queries), drawn(s.keys), drawn(s.keys)


def in_float32(q_BKNE: Tensor, k_BKME: Tensor, v_BKME: Tensor) -> Tensor:
    """What is right, for the first queries: softmax(q k / sqrt(E)) v (arXiv 1706.03762, equation
    1)."""
    q_BKNE = q_BKNE[:, :, :CHECKED].float() * q_BKNE.shape[-1] ** -0.5
    weights_BKNM = torch.softmax(q_BKNE @ k_BKME.float().transpose(-1, -2), -1)
    return weights_BKNM @ v_BKME.float()


def off_by(y_BKNE: Tensor, wanted_BKNE: Tensor) -> float:
    """Root mean square of the error, relative to that of what is wanted."""
    error_BKNE = y_BKNE[:, :, : wanted_BKNE.shape[2]].float() - wanted_BKNE
    return float(error_BKNE.square().mean().sqrt() / wanted_BKNE.square().mean().sqrt())


def tolerance(dtype: torch.dtype) -> float:
    """Relative: each rounding is at most half the distance between two numbers of the type."""
    return max(ROUNDINGS * torch.finfo(dtype).eps / 2, FLOAT32_ERROR)


def _measured(
    shapes: Sequence[AttentionShape], device: torch.device, dtype: torch.dtype
) -> AttentionChoice:
    generator = torch.Generator(device).manual_seed(0)  # nobody's random numbers move on
    trials = [trial(shape, generator, dtype) for shape in shapes]
    with warnings.catch_warnings(action="ignore"):  # why a kernel cannot be used
        return choose(trials, {name: partial(_attend, name) for name in BACKENDS}, _time_ms)


def _attend(name: str, q_BKNE: Tensor, k_BKME: Tensor, v_BKME: Tensor) -> Tensor:
    with sdpa_kernel(BACKENDS[name]):
        return F.scaled_dot_product_attention(q_BKNE, k_BKME, v_BKME)


def _time_ms(run: Callable[[], object]) -> float:
    """Of one call, by the device's own clock; it was called before."""
    first_ms = _round_ms(run, 1)
    calls = max(1, min(MOST_CALLS, math.ceil(ROUND_MS / max(first_ms, 1e-3))))
    return min(_round_ms(run, calls) for _ in range(ROUNDS))


def _round_ms(run: Callable[[], object], calls: int) -> float:
    begin, end = (
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # not in its stubs
        for _ in range(2)
    )
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / calls
