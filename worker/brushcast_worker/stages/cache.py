"""RollingCache: the keys and values that one stream's transformer still sees.

Letters: B rows, N tokens of a latent frame, D width, M tokens that are visible, S slots, L layers.

Slots 0..sinks-1 hold the first latent frames, the others are a ring.  All denoising steps of a
latent frame write the same slot.  Keys are stored unrotated; the transformer rotates them when it
reads, to one of two kinds of position:

- ``slot``: sinks first, then the ring in the order of age, then the current frame: 0, 1, 2...
  Positions never grow,
  so a stream runs for ever without a seam, and training on short clips sees what a long stream
  sees.
- ``frame``: the published behaviour: a latent frame keeps the position that it got when it was
  written, and at
  ``refresh_at`` (RoPE refresh, published: 50) the count starts again at the cache's end.

Cursors are Python integers; memory is taken once, in ``__init__``; nothing here waits for the
device.
"""

from __future__ import annotations

import copy
from typing import Literal, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.dit import DiTConfig
from brushcast_worker.quirks import Quirks

ROPE_REFRESH_AT = 50  # published

Grid = tuple[int, int]  # height and width of a latent frame


def rolling_cache(
    config: DiTConfig, grid: Grid, device: torch.device, dtype: torch.dtype, quirks: Quirks
) -> RollingCache:
    """The cache of one row of a transformer, for latent frames of that height and width."""
    return RollingCache(
        layers=config.layers,
        rows=1,
        tokens=tokens_of(config, grid),
        dim=config.dim,
        sinks=config.sinks,
        window=config.window,
        device=device,
        dtype=dtype,
        positions=quirks.rope,
        sink_threshold=quirks.sinks,
        latent_CHW=(config.latent_channels, *grid),
    )


def tokens_of(config: DiTConfig, grid: Grid) -> int:
    """Tokens of a latent frame of that height and width."""
    height, width = grid
    return -(-height // config.patch) * -(-width // config.patch)


class Cache(Protocol):
    """What an engine asks of the cache of one stream and one denoising step."""

    @property
    def filled(self) -> int:
        """Latent frames that it holds, sinks first."""
        ...

    @property
    def replaced(self) -> int:
        """How many sinks gave way so far, as known to the host: without waiting for a device."""
        ...

    def source(self, sink: int) -> Tensor:
        """The clean source latent ``[C H W]`` of a sink that is filled, a copy."""
        ...

    def fork(self) -> Self:
        """Another cache that knows the same."""
        ...


class Cursor:
    """Where a cache stands: which slot the current latent frame has, what is visible, and at which
    time positions.  Python integers alone.
    """

    def __init__(
        self,
        sinks: int,
        window: int,
        positions: Literal["slot", "frame"] = "slot",
        refresh_at: int = ROPE_REFRESH_AT,
    ) -> None:
        """``window`` latent frames in all, ``sinks`` of them kept."""
        if not 0 <= sinks < window:
            raise ValueError(f"sinks {sinks} wants to be in 0..{window - 1} (window {window})")
        self.sinks, self.window = sinks, window
        self._mode, self._refresh_at = positions, refresh_at
        self.slot = -1  # of the current latent frame
        self.filled = 0  # latent frames that are visible, the current one included
        self.seen = 0  # latent frames begun so far
        self._next_position = 0
        self._position_of = [0] * window
        self._resume: tuple[int, int] | None = None  # slot and filled, while a sink is made anew

    def begin(self, again: int | None = None) -> None:
        """Opens the slot of the next latent frame, or that of a sink that is made ``again``: it
        sees what it saw at first, itself and the sinks before it.
        """
        if again is not None:
            assert again < min(self.filled, self.sinks), "only a sink that is there"
            self._resume = self.slot, self.filled
            self.slot, self.filled = again, again + 1
            return
        ring = self.window - self.sinks
        n = self.seen
        self.slot = n if n < self.window else self.sinks + (n - self.sinks) % ring
        self.seen, self.filled = n + 1, min(n + 1, self.window)
        if self._next_position >= self._refresh_at:
            self._next_position = self.window
        self._position_of[self.slot] = self._next_position
        self._next_position += 1

    def end(self) -> None:
        """Closes the latent frame: after a sink that was made again, all is as before it."""
        if self._resume is not None:
            self.slot, self.filled = self._resume
            self._resume = None

    @property
    def position(self) -> int:
        """Time position of the current latent frame."""
        return self.filled - 1 if self._mode == "slot" else self._position_of[self.slot]

    @property
    def positions(self) -> tuple[int, ...]:
        """Time position of each visible slot, in storage order."""
        if self._mode == "frame":
            return tuple(self._position_of[: self.filled])
        if self.seen <= self.window or self._resume is not None:
            return tuple(range(self.filled))
        ring = self.window - self.sinks
        ages = [(self.slot - slot) % ring for slot in range(self.sinks, self.window)]
        return (*range(self.sinks), *(self.window - 1 - age for age in ages))

    @property
    def moved(self) -> tuple[bool, ...]:
        """Of each slot: whether the current latent frame's coming moved it one position back."""
        full = self._mode == "slot" and self.seen > self.window and self._resume is None
        return tuple(full and self.sinks <= n != self.slot for n in range(self.window))


class RollingCache:
    """Key and value memory of one stream, for every layer.  Owned by the stream's state, used by
    the GPU thread only.
    """

    def __init__(
        self,
        *,
        layers: int,
        rows: int,
        tokens: int,
        dim: int,
        sinks: int,
        window: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        positions: Literal["slot", "frame"] = "slot",
        refresh_at: int = ROPE_REFRESH_AT,
        sink_threshold: float | None = None,
        latent_CHW: tuple[int, int, int] | None = None,
    ) -> None:
        """``window`` latent frames in all, ``sinks`` of them kept; a ``sink_threshold`` switches
        sink refresh on. ``latent_CHW``: of the sinks' sources, where they are kept (of one row).
        """
        self._cursor = Cursor(sinks, window, positions, refresh_at)
        self.rows, self.tokens, self.sinks, self.window = rows, tokens, sinks, window
        self._threshold = sink_threshold
        shape = (layers, rows, window, tokens, dim)
        self._k_LBSND = torch.zeros(shape, device=device, dtype=dtype)
        self._v_LBSND = torch.zeros(shape, device=device, dtype=dtype)
        self._source_SCHW = None
        if latent_CHW is not None:
            self._source_SCHW = torch.zeros((sinks, *latent_CHW), device=device, dtype=dtype)
        self._replaced = torch.zeros((), device=device, dtype=torch.int32)
        self._told = host_copy(self._replaced)

    def fork(self) -> Self:
        """As of ``Cache``."""
        other = copy.deepcopy(self)
        other._told = host_copy(self._replaced)
        other._told.copy_(self._told)
        return other

    @property
    def replaced(self) -> int:
        """As of ``Cache``."""
        return int(self._told)

    def source(self, sink: int) -> Tensor:
        """As of ``Cache``."""
        assert self._source_SCHW is not None
        return self._source_SCHW[sink].clone()

    @property
    def filled(self) -> int:
        """Latent frames that are visible now, the current one included."""
        return self._cursor.filled

    @property
    def slot(self) -> int:
        """Where the current latent frame is stored."""
        return self._cursor.slot

    @property
    def position(self) -> int:
        """Time position of the current latent frame."""
        return self._cursor.position

    @property
    def positions(self) -> tuple[int, ...]:
        """Time position of each visible slot, in storage order."""
        return self._cursor.positions

    def stored(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all slots, visible or not, of a cache of one row: ``[L S N D]``,
        views.
        """
        return self._k_LBSND[:, 0], self._v_LBSND[:, 0]

    def current(self) -> list[Tensor]:
        """What ``update`` writes, of a cache of one row, for whom writes it himself: keys and
        values of the first layer, of the second..., ``[N D]``, views.
        """
        assert self.slot >= 0, "begin() comes first"
        return [
            part_LBSND[layer, 0, self.slot]
            for layer in range(len(self._k_LBSND))
            for part_LBSND in (self._k_LBSND, self._v_LBSND)
        ]

    def begin(self, again: int | None = None) -> None:
        """Opens the slot of the next latent frame, or of a sink ``again``; every denoising step
        until the next ``begin`` writes it.
        """
        self._cursor.begin(again)

    def end(self, source_CHW: Tensor | None = None) -> None:
        """Closes the latent frame, whose clean ``source`` is kept with a sink: where sink refresh
        is on, the least similar sink gives way if it is too unlike.
        """
        if self.slot < self.sinks:
            if self._source_SCHW is not None and source_CHW is not None:
                self._source_SCHW[self.slot].copy_(source_CHW)
        elif self._threshold is not None and self.sinks:
            self._refresh(self._threshold, source_CHW)
        self._cursor.end()

    def _refresh(self, threshold: float, source_CHW: Tensor | None) -> None:
        parts = self._k_LBSND, self._v_LBSND
        old = [part[:, :, : self.sinks].float().mean(3) for part in parts]
        new = [part[:, :, self.slot].float().mean(2) for part in parts]
        likeness_S = likeness(old[0], old[1], new[0], new[1]).mean(0)  # stays on the device
        low, least = likeness_S.min(0)
        gone = low < threshold
        goes_S = (torch.arange(self.sinks, device=least.device) == least) & gone
        for part in parts:
            sinks_LBSND = part[:, :, : self.sinks]
            new_LB1ND = part[:, :, self.slot : self.slot + 1]
            sinks_LBSND.copy_(torch.where(goes_S[:, None, None], new_LB1ND, sinks_LBSND))
        if self._source_SCHW is not None and source_CHW is not None:
            its = goes_S[:, None, None, None]
            self._source_SCHW.copy_(torch.where(its, source_CHW, self._source_SCHW))
        self._replaced += gone
        self._told.copy_(self._replaced, non_blocking=True)

    def update(self, layer: int, k_BND: Tensor, v_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the current latent frame's keys and values; returns all visible ones, ``[B M D]``
        (views).
        """
        assert self.slot >= 0, "begin() comes first"
        k_BSND, v_BSND = self._k_LBSND[layer], self._v_LBSND[layer]
        k_BSND[:, self.slot], v_BSND[:, self.slot] = k_BND, v_BND
        return k_BSND[:, : self.filled].flatten(1, 2), v_BSND[:, : self.filled].flatten(1, 2)


def likeness(k_LBSD: Tensor, v_LBSD: Tensor, k_new_LBD: Tensor, v_new_LBD: Tensor) -> Tensor:
    """How much each sink is like the new latent frame, ``[B S]`` from -1 to 1: the mean over layers
    of the cosines of frame-mean keys (not rotated) and values (published code).
    """
    k_LBS = F.cosine_similarity(k_LBSD, k_new_LBD[:, :, None], dim=-1)
    v_LBS = F.cosine_similarity(v_LBSD, v_new_LBD[:, :, None], dim=-1)
    return 0.5 * (k_LBS + v_LBS).mean(0)


def host_copy(x: Tensor) -> Tensor:
    """A tensor in host memory into which ``x`` can be copied without waiting."""
    return torch.zeros(x.shape, dtype=x.dtype, pin_memory=x.device.type == "cuda")
