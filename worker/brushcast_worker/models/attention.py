"""Self-attention over time and space: a whole clip at once, or one new latent frame and a cache.

Letters: B rows, T latent frames, N tokens of a latent frame, D width, K heads, E head width, M key
tokens, P positions, L layers, S slots of a cache.

Both ways give the same numbers.  Keys come in unrotated and are turned here, to the time position
that the clip or the cache says (RoPE, arXiv 2104.09864; three axes as in the published Wan).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_POSITIONS = 1024  # of the published table, each axis
ROPE_THETA = 10_000.0


class KeyValueCache(Protocol):
    """What the transformer asks of a cache; ``stages.cache.RollingCache`` is one."""

    @property
    def rows(self) -> int:
        """Rows of the batch that this cache serves."""

    @property
    def position(self) -> int:
        """Time position of the current latent frame."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Time position of every latent frame that ``update`` returns, in its order."""

    def update(self, layer: int, k_BND: Tensor, v_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the current latent frame's keys (not rotated) and values and returns all visible
        ones, ``[B M D]``.
        """


@dataclass(frozen=True, slots=True)
class CacheRows:
    """What the caches of B streams hold, one latent frame after the other, and their cursors: all
    of it tensors, so that one CUDA graph serves caches in every state.

    k, v: what is stored, keys not rotated.  slot: where the current latent frame belongs; position:
    its time position.  positions: those of the slots, negative where one is not visible.  written:
    the current latent frame's keys and values of each layer, ``[B N D]``, once attention was run:
    to be stored by whom the caches belong to.
    """

    k_BLSND: Tensor
    v_BLSND: Tensor
    slot_B: Tensor  # int64, as the positions
    position_B: Tensor
    positions_BS: Tensor
    written: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class ClipAttention:
    """Self-attention over a whole clip: every frame sees what a stream's cache would hold at that
    time.
    """

    def __init__(
        self,
        heads: int,
        sinks: int,
        window: int,
        rope: Tensor,
        frames: int,
        grid: tuple[int, int],
    ) -> None:
        self.heads, self.sinks, self.window = heads, sinks, window
        self.rope, self.frames, self.grid = rope, frames, grid

    def __call__(self, q_BTND: Tensor, k_BTND: Tensor, v_BTND: Tensor, layer: int) -> Tensor:
        rows, n = q_BTND.shape[0], self.window
        first = min(n - 1, self.frames)  # frames before the window is full: one call each
        out = [
            self._attend(q_BTND[:, t], k_BTND[:, : t + 1], v_BTND[:, : t + 1])[:, None]
            for t in range(first)
        ]
        if self.frames > first:
            rest = range(first, self.frames)
            seen = [[*range(self.sinks), *range(t - (n - self.sinks) + 1, t + 1)] for t in rest]
            k = torch.stack([k_BTND[:, s] for s in seen], 1).flatten(0, 1)
            v = torch.stack([v_BTND[:, s] for s in seen], 1).flatten(0, 1)
            out.append(self._attend(q_BTND[:, first:].flatten(0, 1), k, v).unflatten(0, (rows, -1)))
        return torch.cat(out, 1)

    def _attend(self, q_BND: Tensor, k_BTND: Tensor, v_BTND: Tensor) -> Tensor:
        frames = k_BTND.shape[1]
        turn_q = turns(self.rope, [frames - 1], self.grid)
        turn_k = turns(self.rope, range(frames), self.grid)
        q = turned(split_heads(q_BND, self.heads), turn_q)
        k = turned(split_heads(k_BTND.flatten(1, 2), self.heads), turn_k)
        return attend(q, k, split_heads(v_BTND.flatten(1, 2), self.heads).to(q.dtype))


class CachedAttention:
    """Self-attention of one new latent frame to what each row's cache holds."""

    def __init__(
        self, heads: int, rope: Tensor, caches: Sequence[KeyValueCache], grid: tuple[int, int]
    ) -> None:
        self.heads, self.caches = heads, caches
        self.turns = [
            (turns(rope, [cache.position], grid), turns(rope, cache.positions, grid))
            for cache in caches
        ]

    def __call__(self, q_BTND: Tensor, k_BTND: Tensor, v_BTND: Tensor, layer: int) -> Tensor:
        out, row = [], 0
        for cache, (turn_q, turn_k) in zip(self.caches, self.turns, strict=True):
            mine = slice(row, row + cache.rows)
            row += cache.rows
            k, v = cache.update(layer, k_BTND[mine, 0], v_BTND[mine, 0])
            q, k, v = (split_heads(x, self.heads) for x in (q_BTND[mine, 0], k, v))
            out.append(attend(turned(q, turn_q), turned(k, turn_k), v)[:, None])
        return torch.cat(out) if len(out) > 1 else out[0]


class RowsAttention:
    """As ``CachedAttention`` for all rows at once: what is not visible is masked."""

    def __init__(self, heads: int, rope: Tensor, rows: CacheRows, grid: tuple[int, int]) -> None:
        self.heads, self.rows = heads, rows
        of_slots = rows.positions_BS
        count, slots = of_slots.shape
        tokens = grid[0] * grid[1]
        here = torch.arange(slots, device=of_slots.device) == rows.slot_B[:, None]
        self.current_BS11 = here[:, :, None, None]
        self.seen_B11M = (of_slots >= 0).repeat_interleave(tokens, 1)[:, None, None]
        self.turn_q = turns(rope, rows.position_B, grid).unflatten(0, (count, 1, -1))
        positions = of_slots.clamp(min=0).flatten()
        self.turn_k = turns(rope, positions, grid).unflatten(0, (count, 1, -1))

    def __call__(self, q_BTND: Tensor, k_BTND: Tensor, v_BTND: Tensor, layer: int) -> Tensor:
        self.rows.written.append((k_BTND[:, 0], v_BTND[:, 0]))
        k_BSND = torch.where(self.current_BS11, k_BTND, self.rows.k_BLSND[:, layer])
        v_BSND = torch.where(self.current_BS11, v_BTND, self.rows.v_BLSND[:, layer])
        q, k, v = (
            split_heads(x, self.heads)
            for x in (q_BTND[:, 0], k_BSND.flatten(1, 2), v_BSND.flatten(1, 2))
        )
        y = attend(turned(q, self.turn_q), turned(k, self.turn_k), v, self.seen_B11M)
        return y[:, None]


@dataclass(frozen=True, slots=True)
class StaticRows:
    """B rows of a pool of caches that stays where it is, and their cursors: what a CUDA graph of a
    large transformer reads and writes, without copying a cache.

    k, v: of every slot, keys rotated already.  slot: where the current latent frame belongs;
    position: its time position.  turned_on: the slots whose keys go one position back before the
    current latent frame comes in (those of a full ring).  filled: slots that are visible, or None:
    all of them, and nothing is masked.  means: a list that each layer's mean key (not rotated) and
    value of the current latent frame are added to, ``[B D]`` float32; None: nobody asks.
    """

    k_LBSND: Tensor
    v_LBSND: Tensor
    slot_B: Tensor  # int64, as the position
    position_B: Tensor
    turned_on_BS: Tensor  # bool
    filled_B: Tensor | None
    sinks: int  # the first slots never turn
    means: list[tuple[Tensor, Tensor]] | None = None


class StaticAttention:
    """Self-attention of one new latent frame of each row, with keys that were rotated when they
    were stored.
    """

    def __init__(
        self,
        heads: int,
        rope: Tensor,
        rows: StaticRows,
        grid: tuple[int, int],
        parts: RotaryParts,
    ) -> None:
        self.heads, self.rows, self._parts = heads, rows, parts
        count, slots = rows.turned_on_BS.shape
        turn_BNE = turns(rope, rows.position_B, grid).unflatten(0, (count, -1))
        self.turn = turn_BNE.real[:, :, None], turn_BNE.imag[:, :, None]
        self.every_B = torch.arange(count, device=rope.device)
        self.seen_B11M = None
        if rows.filled_B is not None:
            seen_BS = torch.arange(slots, device=rope.device) < rows.filled_B[:, None]
            tokens = grid[0] * grid[1]
            self.seen_B11M = seen_BS.repeat_interleave(tokens, 1)[:, None, None]
        time = time_pairs(rope)
        keys = rows.k_LBSND[:, :, rows.sinks :].unflatten(-1, (heads, -1))[..., : 2 * time]
        on = rows.turned_on_BS[:, rows.sinks :, None, None, None]
        parts.turn_back(keys, on, *rope[1, :time].unbind(1))

    def __call__(self, q_BTND: Tensor, k_BTND: Tensor, v_BTND: Tensor, layer: int) -> Tensor:
        rows = self.rows
        if rows.means is not None:
            k_BD, v_BD = (x_BTND[:, 0].mean(1, dtype=torch.float32) for x_BTND in (k_BTND, v_BTND))
            rows.means.append((k_BD, v_BD))
        q, k, v = (x[:, 0].unflatten(-1, (self.heads, -1)) for x in (q_BTND, k_BTND, v_BTND))
        stored = tuple(
            x_LBSND[layer].unflatten(-1, (self.heads, -1))
            for x_LBSND in (rows.k_LBSND, rows.v_LBSND)
        )
        q = self._parts.store(q, k, v, *stored, self.every_B, rows.slot_B, *self.turn)
        k, v = (x_BSNKE.flatten(1, 2).transpose(1, 2) for x_BSNKE in stored)
        return attend(q.transpose(1, 2), k, v, self.seen_B11M)[:, None]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As ``turned``, by cosines and sines of each pair: torch.compile fuses no complex numbers."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


def turn_back(keys: Tensor, on: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Keys of a full ring one position back, in every layer at once, where ``on``; in place."""
    keys.copy_(torch.where(on, rotated(keys, cos, -sin), keys))


def store(
    q_BNKE: Tensor,
    k_BNKE: Tensor,
    v_BNKE: Tensor,
    k_BSNKE: Tensor,
    v_BSNKE: Tensor,
    every_B: Tensor,
    slot_B: Tensor,
    cos: Tensor,
    sin: Tensor,
) -> Tensor:
    """Puts the current latent frame's keys, rotated, and values into their slots; its queries
    rotated.
    """
    k_BSNKE.index_put_((every_B, slot_B), rotated(k_BNKE, cos, sin))
    v_BSNKE.index_put_((every_B, slot_B), v_BNKE)
    return rotated(q_BNKE, cos, sin)


def repeat(
    k_LBSNKE: Tensor,
    v_LBSNKE: Tensor,
    every_B: Tensor,
    from_B: Tensor,
    to_B: Tensor,
    cos: Tensor,
    sin: Tensor,
) -> None:
    """Keys and values of one slot of each row to another too, the keys turned back by time; in
    place. ``cos``, ``sin``: ``[1 B 1 1 pairs]`` of the pairs that turn with the time.
    """
    k_LBNKE, v_LBNKE = k_LBSNKE[:, every_B, from_B], v_LBSNKE[:, every_B, from_B]
    time = 2 * cos.shape[-1]
    turned_k = torch.cat([rotated(k_LBNKE[..., :time], cos, -sin), k_LBNKE[..., time:]], -1)
    k_LBSNKE[:, every_B, to_B] = turned_k
    v_LBSNKE[:, every_B, to_B] = v_LBNKE


@dataclass(frozen=True, slots=True)
class RotaryParts:
    """What is done to static rows around the attention, as it is or compiled."""

    store: Callable[..., Tensor] = store
    turn_back: Callable[[Tensor, Tensor, Tensor, Tensor], None] = turn_back
    repeat: Callable[..., None] = repeat


def split_heads(x_BMD: Tensor, heads: int) -> Tensor:
    """``[B M D]`` to ``[B K M E]``, a view."""
    return x_BMD.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(
    q_BKNE: Tensor, k_BKME: Tensor, v_BKME: Tensor, seen_B11M: Tensor | None = None
) -> Tensor:
    """Softmax attention, heads joined again: ``[B N D]``.  ``seen``: the keys that count.

    On the CPU as plain products: torch's fused kernel takes 1.7 times as long there for the few
    queries of a latent frame (144 queries, 576 keys: 2.5 and 1.5 ms on two cores).
    """
    if q_BKNE.device.type == "cpu":
        scale = q_BKNE.shape[-1] ** -0.5
        scores_BKNM = (q_BKNE * scale) @ k_BKME.transpose(-1, -2)
        if seen_B11M is not None:
            scores_BKNM = scores_BKNM.masked_fill(~seen_B11M, -torch.inf)
        y_BKNE = torch.softmax(scores_BKNM, -1) @ v_BKME
    else:
        y_BKNE = F.scaled_dot_product_attention(q_BKNE, k_BKME, v_BKME, attn_mask=seen_B11M)
    return y_BKNE.transpose(1, 2).flatten(2)


def wide_attention(q_BKNE: Tensor, k_BKME: Tensor, v_BKME: Tensor) -> Tensor:
    """Of heads that are too wide for the GPU's fused kernels (over 256): two products, and float32
    between them.
    """
    q_BKNE = q_BKNE * q_BKNE.shape[-1] ** -0.5
    q, k, v = (x.flatten(0, 1) for x in (q_BKNE, k_BKME, v_BKME))
    if q.is_cuda and q.dtype != torch.float32:
        weights = torch.bmm(q, k.mT, out_dtype=torch.float32)
    else:
        weights = torch.bmm(q, k.mT).float()
    y = torch.bmm(weights.softmax(-1).to(v.dtype), v)
    return y.unflatten(0, q_BKNE.shape[:2])


def rope_table(head_dim: int) -> Tensor:
    """``[MAX_POSITIONS E/2 2]`` cosines and sines of every position for every pair; each axis has
    frequencies of its own (published layout).
    """
    space = 2 * (head_dim // 6)
    columns = []
    for width in (head_dim - 2 * space, space, space):
        frequency = ROPE_THETA ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        columns.append(torch.arange(MAX_POSITIONS, dtype=torch.float64)[:, None] * frequency)
    angle = torch.cat(columns, 1)
    return torch.stack([angle.cos(), angle.sin()], -1).float()


def time_pairs(rope: Tensor) -> int:
    """How many pairs turn with the time; the others with row and column, head width // 6 each."""
    half = rope.shape[1]
    return half - 2 * (2 * half // 6)


def turns(rope: Tensor, positions: Sequence[int] | Tensor, grid: tuple[int, int]) -> Tensor:
    """``[P*N E/2]`` complex: how each token's pairs are turned, by time, row and column.
    ``positions``: as integers, or on the device.
    """
    height, width = grid
    time = time_pairs(rope)
    space = (rope.shape[1] - time) // 2
    if isinstance(positions, Tensor):
        of_time = rope[:, :time].index_select(0, positions)
    else:
        of_time = torch.stack([rope[p, :time] for p in positions])
    t = of_time[:, None, None]
    h = rope[:height, time : time + space][None, :, None]
    w = rope[:width, time + space :][None, None]
    shape = (len(positions), height, width, -1, -1)
    joined = torch.cat([t.expand(*shape), h.expand(*shape), w.expand(*shape)], -2)
    return torch.view_as_complex(joined.float().flatten(0, 2).contiguous())


def turned(x_BKME: Tensor, turns_ME: Tensor) -> Tensor:
    """Turns interleaved pairs: ``(a, b) -> (a cos - b sin, a sin + b cos)``, as complex numbers in
    float32.
    """
    pairs = torch.view_as_complex(x_BKME.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns_ME).flatten(-2).to(x_BKME.dtype)
