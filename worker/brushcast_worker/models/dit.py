"""One causal video diffusion transformer; the sizes are rows of a table.

Letters: B rows (streams or denoising steps), T latent frames, C channels, H W latent size, N tokens
of a latent frame, D width, K heads, E head width, M key tokens, L context tokens.

Structure and parameter names follow the published causal Wan (see docs/ARCHITECTURE.md), so that
its weights load into the ``wan-*`` rows unchanged.  The ``pocket`` row adds what a small model
needs: the clean source latent beside the noised one, and 3x3 convolutions at latent resolution
before and after the tokens against token blocks.

Two ways to call it, one arithmetic: a whole clip without caches (training), or one latent frame
with a cache for each row (a live stream).  Both give the same numbers
(tests/worker/models/test_dit.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.any_size import AnySize
from brushcast_worker.models.attention import (
    CachedAttention,
    CacheRows,
    ClipAttention,
    KeyValueCache,
    RotaryParts,
    RowsAttention,
    StaticAttention,
    StaticRows,
    repeat,
    rope_table,
    store,
    turn_back,
)
from brushcast_worker.models.feed_forward import FeedForward
from brushcast_worker.models.fp8 import Joined, to_fp8
from brushcast_worker.models.int8 import WIDE, Conv, Int8Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """Sizes of one transformer.  ``prediction`` says what the network's raw output is."""

    dim: int
    layers: int
    heads: int
    ffn_dim: int
    patch: int  # latent pixels per token side
    context_dim: int  # width of a context token as it comes in
    context_tokens: int  # shorter contexts are padded with zeros
    sinks: int  # oldest latent frames that stay visible
    window: int  # latent frames visible in all: sinks, rolling ones and the current one
    freq_dim: int = 256
    latent_channels: int = 16
    source_channels: int = 0  # channels of the clean source latent given beside the noised one
    stem: int = 0  # width of the convolutions at latent resolution; 0: none
    pooled_context: bool = False  # the context's mean joins the time embedding
    prediction: Literal["flow", "x0"] = "flow"
    fp8: bool = False  # the blocks' large products in 8-bit floats

    def __post_init__(self) -> None:
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"dim {self.dim} wants to be heads {self.heads} times an even number")
        if not 0 <= self.sinks < self.window:
            raise ValueError(
                f"sinks {self.sinks} wants to be in 0..{self.window - 1} (window {self.window})"
            )


SIZES: dict[str, DiTConfig] = {
    "pocket": DiTConfig(
        dim=384,
        layers=2,
        heads=3,
        ffn_dim=1024,
        patch=4,
        context_dim=128,
        context_tokens=8,
        sinks=1,
        window=4,
        source_channels=16,
        stem=48,
        pooled_context=True,
        prediction="x0",
    ),
    "wan-1.3b": DiTConfig(
        dim=1536,
        layers=30,
        heads=12,
        ffn_dim=8960,
        patch=2,
        context_dim=4096,
        context_tokens=512,
        sinks=3,
        window=6,
    ),
    "wan-14b": DiTConfig(
        dim=5120,
        layers=40,
        heads=40,
        ffn_dim=13824,
        patch=2,
        context_dim=4096,
        context_tokens=512,
        sinks=3,
        window=6,
    ),
}


Caches = Sequence[KeyValueCache] | CacheRows | StaticRows
SelfAttention = ClipAttention | CachedAttention | RowsAttention | StaticAttention


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True, eq=False)
class Context:
    """A prompt after everything that does not depend on the picture: made once per prompt by
    ``DiT.context``.
    """

    k_BLD: tuple[Tensor, ...]  # one per layer
    v_BLD: tuple[Tensor, ...]
    pooled_BD: Tensor | None

    def expand(self, rows: int) -> Context:
        """The same prompt for ``rows`` rows (from one row)."""
        grow = lambda x: x.expand(rows, *x.shape[1:])  # noqa: E731
        return Context(
            k_BLD=tuple(map(grow, self.k_BLD)),
            v_BLD=tuple(map(grow, self.v_BLD)),
            pooled_BD=None if self.pooled_BD is None else grow(self.pooled_BD),
        )


def cat_contexts(contexts: Sequence[Context]) -> Context:
    """Joins the contexts of several streams row-wise."""
    pooled = [c.pooled_BD for c in contexts if c.pooled_BD is not None]
    return Context(
        k_BLD=tuple(torch.cat(k) for k in zip(*(c.k_BLD for c in contexts), strict=True)),
        v_BLD=tuple(torch.cat(v) for v in zip(*(c.v_BLD for c in contexts), strict=True)),
        pooled_BD=torch.cat(pooled) if pooled else None,
    )


class DiT(nn.Module):
    """The transformer.  Weights only: caches and contexts come in as arguments."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        c = self.config = config
        self._patches: Int8Linear | None = None
        self.rotary = RotaryParts()
        taken = c.latent_channels + c.source_channels
        if c.stem:
            self.stem = nn.Sequential(
                Conv(taken, c.stem, signed=True), nn.ReLU(), Conv(c.stem, c.stem)
            )
            self.tail = nn.ModuleList(
                [Conv(c.stem, c.stem), Conv(c.stem, c.stem), Conv(c.stem, c.latent_channels)]
            )
            nn.init.zeros_(self.tail[1].weight)
            nn.init.zeros_(self.tail[2].weight)
        self.patch_embedding = nn.Conv3d(
            c.stem or taken, c.dim, (1, c.patch, c.patch), stride=(1, c.patch, c.patch)
        )
        self.text_embedding = nn.Sequential(
            nn.Linear(c.context_dim, c.dim), nn.GELU(approximate="tanh"), nn.Linear(c.dim, c.dim)
        )
        self.time_embedding = nn.Sequential(
            nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        if c.pooled_context:
            self.pooled_projection = nn.Linear(c.dim, c.dim)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.head = Head(c.dim, c.patch * c.patch * (c.stem or c.latent_channels))
        self.register_buffer("rope", rope_table(c.dim // c.heads), persistent=False)  # a constant

    def context(self, tokens_BLC: Tensor) -> Context:
        """Prompt tokens ``[B L context_dim]`` (L up to ``context_tokens``) to each layer's cross-
        attention keys and values.
        """
        missing = self.config.context_tokens - tokens_BLC.shape[1]
        if missing < 0:
            raise ValueError(
                f"{tokens_BLC.shape[1]} context tokens; at most {self.config.context_tokens} wanted"
            )
        x_BLD = self.text_embedding(F.pad(tokens_BLC, (0, 0, 0, missing)))
        pairs = [block.cross_attn.keys_values(x_BLD) for block in self.blocks]
        pooled = self.pooled_projection(x_BLD.mean(1)) if self.config.pooled_context else None
        return Context(
            k_BLD=tuple(k for k, _ in pairs), v_BLD=tuple(v for _, v in pairs), pooled_BD=pooled
        )

    def predict_x0(
        self,
        x_BTCHW: Tensor,
        *,
        timestep_BT: Tensor,
        sigma_BT: Tensor,
        context: Context,
        source_BTCHW: Tensor | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """The clean latent behind ``x``: ``x - sigma * flow`` where the network predicts the flow
        (flow matching).
        """
        out = self(
            x_BTCHW,
            timestep_BT=timestep_BT,
            context=context,
            source_BTCHW=source_BTCHW,
            caches=caches,
        )
        if self.config.prediction == "x0":
            return out
        return x_BTCHW - sigma_BT[:, :, None, None, None].to(out.dtype) * out

    def forward(
        self,
        x_BTCHW: Tensor,
        *,
        timestep_BT: Tensor,
        context: Context,
        source_BTCHW: Tensor | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """The raw prediction for noised latents ``x`` at ``timestep`` (1000 sigma).

        With ``caches`` T is 1 and the caches' rows add up to B (or they are given as the rows that
        they hold: nothing is stored then but in ``written``); without, frame t sees the first
        ``sinks`` frames and the last ``window - sinks`` up to itself, at the same positions as a
        stream would.
        """
        c = self.config
        rows, frames, _, height, width = x_BTCHW.shape
        if (source_BTCHW is None) != (c.source_channels == 0):
            raise ValueError(
                f"source latent given: {source_BTCHW is not None}; wanted: {c.source_channels > 0}"
            )
        y = x_BTCHW if source_BTCHW is None else torch.cat([x_BTCHW, source_BTCHW], 2)
        y = y.flatten(0, 1)
        pad_h, pad_w = -height % c.patch, -width % c.patch
        if pad_h or pad_w:
            y = F.pad(y, (0, pad_w, 0, pad_h), mode="replicate")
        stem = self.stem(y.contiguous(memory_format=torch.channels_last)) if c.stem else y
        grid = (stem.shape[-2] // c.patch, stem.shape[-1] // c.patch)
        tokens_BTND = self._tokens(stem).unflatten(0, (rows, frames))

        embedding_BTD = self.time_embedding(
            _sinusoid(timestep_BT, c.freq_dim).to(tokens_BTND.dtype)
        )
        if context.pooled_BD is not None:
            embedding_BTD = embedding_BTD + context.pooled_BD[:, None]
        modulation_BT6D = self.time_projection(embedding_BTD).unflatten(-1, (6, c.dim))
        attention: SelfAttention
        if caches is None:
            attention = ClipAttention(c.heads, c.sinks, c.window, self.rope, frames, grid)
        elif isinstance(caches, CacheRows):
            attention = RowsAttention(c.heads, self.rope, caches, grid)
        elif isinstance(caches, StaticRows):
            attention = StaticAttention(c.heads, self.rope, caches, grid, self.rotary)
        else:
            attention = CachedAttention(c.heads, self.rope, caches, grid)
        for layer, block in enumerate(self.blocks):
            tokens_BTND = block(
                tokens_BTND,
                modulation_BT6D,
                context.k_BLD[layer],
                context.v_BLD[layer],
                attention,
                layer,
            )
        y = self.head(tokens_BTND, embedding_BTD).flatten(0, 1)
        y = _unpatchify(y, grid, c.patch, stem.shape[1] if c.stem else c.latent_channels)
        if c.stem:
            y = y.contiguous(memory_format=torch.channels_last) + stem
            y = self.tail[2](y + self.tail[1](self.tail[0](y, then=self.tail[1])))
        y = y[..., :height, :width].unflatten(0, (rows, frames))
        return y if c.prediction == "flow" or source_BTCHW is None else y + source_BTCHW

    def fuse(self) -> None:
        """Compiles what lies between the products and the attention (torch.compile): each is
        compiled once, whatever the number of layers, for pictures of every size.
        """
        fused = functools.partial(AnySize, fullgraph=True)
        before, after = fused(Block.before, {1: [2]}), fused(Block.after, {1: [2], 2: [2]})
        for block in self.blocks:
            assert isinstance(block, Block)
            block.parts = before, after
        tokens = {0: [1], 1: [1], 2: [1], 3: [2], 4: [2], 7: [1], 8: [1]}
        self.rotary = RotaryParts(
            fused(store, tokens), fused(turn_back, {0: [3]}), fused(repeat, {0: [3], 1: [3]})
        )

    def quantise(self) -> None:
        """Patches to tokens as a product of matrices, where that is wide enough for 8 bits."""
        weight = self.patch_embedding.weight[:, :, 0]
        if min(self.config.dim, weight[0].numel()) >= WIDE:
            linear = nn.Linear(weight[0].numel(), self.config.dim)
            linear.weight.data.copy_(weight.permute(0, 2, 3, 1).flatten(1))
            assert self.patch_embedding.bias is not None
            linear.bias.data.copy_(self.patch_embedding.bias)
            self._patches = Int8Linear(linear)

    def _tokens(self, x_BCHW: Tensor) -> Tensor:
        """Patches of a picture to tokens ``[B N D]``, row by row."""
        patch, embed = self.config.patch, self.patch_embedding
        if self._patches is None:
            y = F.conv2d(x_BCHW, embed.weight[:, :, 0], embed.bias, stride=patch)
            return y.flatten(2).transpose(1, 2)
        x = x_BCHW.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).permute(0, 2, 4, 3, 5, 1)
        return self._patches(x.flatten(3).flatten(1, 2))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward; six-way modulation of the first and the
    last.
    """

    def __init__(self, c: DiTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.self_attn = Attention(c.dim, c.heads, to_itself=True)
        self.norm3 = nn.LayerNorm(c.dim, eps=1e-6)
        self.cross_attn = Attention(c.dim, c.heads)
        self.norm2 = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.ffn = FeedForward(c.dim, c.ffn_dim)
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / c.dim**0.5)
        self.parts: tuple[Callable[..., Any], Callable[..., Any]] = Block.before, Block.after
        if c.fp8:  # here, block by block: the whole in 16 bits would not fit
            to_fp8(self)

    def forward(
        self,
        x_BTND: Tensor,
        modulation_BT6D: Tensor,
        context_k: Tensor,
        context_v: Tensor,
        attention: SelfAttention,
        layer: int,
    ) -> Tensor:
        before, after = self.parts
        q, k, v = before(self, x_BTND, modulation_BT6D)
        y = attention(q, k, v, layer)
        out: Tensor = after(self, x_BTND, y, modulation_BT6D, context_k, context_v)
        return out

    def before(self, x_BTND: Tensor, modulation_BT6D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the self-attention."""
        shift, scale = (self.modulation + modulation_BT6D)[..., :2, None, :].unbind(2)
        a = self.self_attn
        q, k, v = a.projected(torch.addcmul(shift, self.norm1(x_BTND), 1 + scale))
        return a.norm_q(q), a.norm_k(k), v

    def after(
        self,
        x_BTND: Tensor,
        y_BTND: Tensor,
        modulation_BT6D: Tensor,
        context_k: Tensor,
        context_v: Tensor,
    ) -> Tensor:
        """Everything behind the self-attention, whose answer is ``y``."""
        gate1, shift2, scale2, gate2 = (self.modulation + modulation_BT6D)[..., 2:, None, :].unbind(
            2
        )
        x_BTND = torch.addcmul(x_BTND, self.self_attn.o(y_BTND), gate1)
        x_BTND = x_BTND + self.cross_attn.across(self.norm3(x_BTND), context_k, context_v)
        y = torch.addcmul(shift2, self.norm2(x_BTND), 1 + scale2)
        return torch.addcmul(x_BTND, self.ffn(y), gate2)


class Attention(nn.Module):
    """Projections of one attention; queries and keys are RMS-normalised over the full width."""

    def __init__(self, dim: int, heads: int, *, to_itself: bool = False) -> None:
        super().__init__()
        self.heads, self.to_itself = heads, to_itself
        self.joined: Int8Linear | Joined | None = None
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)

    def quantise(self) -> None:
        """Projections of one input as one product, where that is wide enough for 8 bits."""
        if self.to_itself and self.q.in_features >= WIDE:
            self.joined = Int8Linear(self.q, self.k, self.v)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of one input."""
        if self.joined is not None:
            return self.joined(x).chunk(3, -1)
        return self.q(x), self.k(x), self.v(x)

    def keys_values(self, context_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a context, ``[B L D]``."""
        return self.norm_k(self.k(context_BLD)), self.v(context_BLD)

    def across(self, x_BTND: Tensor, k_BLD: Tensor, v_BLD: Tensor) -> Tensor:
        """Cross-attention of every token to the context."""
        rows, frames = x_BTND.shape[:2]
        q = self.norm_q(self.q(x_BTND)).flatten(1, 2)
        heads = lambda z: z.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        y = F.scaled_dot_product_attention(heads(q), heads(k_BLD), heads(v_BLD))
        return self.o(y.transpose(1, 2).flatten(2).unflatten(1, (frames, -1)))


class Head(nn.Module):
    """Modulated norm and the projection of a token to its patch."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.head = nn.Linear(dim, out)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x_BTND: Tensor, embedding_BTD: Tensor) -> Tensor:
        shift, scale = (self.modulation + embedding_BTD[:, :, None])[..., None, :].unbind(2)
        return self.head(torch.addcmul(shift, self.norm(x_BTND), 1 + scale))


def _sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding ``[... width]``, float32: cosines first, then sines.

    In float64 where there is one: an angle of 700 in float32 is off by 2e-5 already, which made up
    nine tenths of the whole model's error.
    """
    half, device = width // 2, timestep.device
    exact = torch.float32 if device.type == "mps" else torch.float64
    exponent = torch.arange(half, device=device, dtype=exact) * (-math.log(1e4) / half)
    angle = timestep.to(exact)[..., None] * torch.exp(exponent)
    return torch.cat([angle.cos(), angle.sin()], -1).float()


def _unpatchify(tokens_BNC: Tensor, grid: tuple[int, int], patch: int, channels: int) -> Tensor:
    """Tokens to a picture ``[B C H W]``; within a token rows, columns, then channels."""
    x = tokens_BNC.unflatten(1, grid).unflatten(-1, (patch, patch, channels))
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
