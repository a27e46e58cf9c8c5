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

SINK_THRESHOLD = (
    0.2  # cosine below which a sink no longer describes the scene (the published code's value)
)
ROPE_REFRESH_AT = 50  # published


def rolling_cache(
    config: DiTConfig, tokens: int, device: torch.device, dtype: torch.dtype
) -> RollingCache:
    """The cache of one row of a transformer."""
    return RollingCache(
        layers=config.layers,
        rows=1,
        tokens=tokens,
        dim=config.dim,
        sinks=config.sinks,
        window=config.window,
        device=device,
        dtype=dtype,
    )


class Cache(Protocol):
    """What an engine asks of the cache of one stream and one denoising step."""

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

    def begin(self) -> None:
        """Opens the slot of the next latent frame."""
        ring = self.window - self.sinks
        n = self.seen
        self.slot = n if n < self.window else self.sinks + (n - self.sinks) % ring
        self.seen, self.filled = n + 1, min(n + 1, self.window)
        if self._next_position >= self._refresh_at:
            self._next_position = self.window
        self._position_of[self.slot] = self._next_position
        self._next_position += 1

    @property
    def position(self) -> int:
        """Time position of the current latent frame."""
        return self.filled - 1 if self._mode == "slot" else self._position_of[self.slot]

    @property
    def positions(self) -> tuple[int, ...]:
        """Time position of each visible slot, in storage order."""
        if self._mode == "frame":
            return tuple(self._position_of[: self.filled])
        if self.seen <= self.window:
            return tuple(range(self.filled))
        ring = self.window - self.sinks
        ages = [(self.slot - slot) % ring for slot in range(self.sinks, self.window)]
        return (*range(self.sinks), *(self.window - 1 - age for age in ages))

    @property
    def moved(self) -> tuple[bool, ...]:
        """Of each slot: whether the current latent frame's coming moved it one position back."""
        full = self._mode == "slot" and self.seen > self.window
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
    ) -> None:
        """``window`` latent frames in all, ``sinks`` of them kept; a ``sink_threshold`` switches
        sink refresh on.
        """
        self._cursor = Cursor(sinks, window, positions, refresh_at)
        self.rows, self.tokens, self.sinks, self.window = rows, tokens, sinks, window
        self._threshold = sink_threshold
        shape = (layers, rows, window, tokens, dim)
        self._k_LBSND = torch.zeros(shape, device=device, dtype=dtype)
        self._v_LBSND = torch.zeros(shape, device=device, dtype=dtype)

    def fork(self) -> Self:
        """As of ``Cache``."""
        return copy.deepcopy(self)

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

    def begin(self) -> None:
        """Opens the slot of the next latent frame; every denoising step until the next ``begin``
        writes it.
        """
        self._cursor.begin()

    def end(self) -> None:
        """Closes the latent frame: where sink refresh is on, the least similar sink gives way if it
        is too unlike.
        """
        if self._threshold is None or self.slot < self.sinks:
            return
        k_new, v_new = self._k_LBSND[:, :, self.slot], self._v_LBSND[:, :, self.slot]
        k_old, v_old = self._k_LBSND[:, :, : self.sinks], self._v_LBSND[:, :, : self.sinks]
        likeness = 0.5 * (
            _likeness(k_old, k_new) + _likeness(v_old, v_new)
        )  # [S], stays on the device
        least = likeness.argmin()
        gone = (torch.arange(self.sinks, device=least.device) == least) & (
            likeness < self._threshold
        )
        gone = gone[None, None, :, None, None]
        k_old.copy_(torch.where(gone, k_new[:, :, None], k_old))
        v_old.copy_(torch.where(gone, v_new[:, :, None], v_old))

    def update(self, layer: int, k_BND: Tensor, v_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the current latent frame's keys and values; returns all visible ones, ``[B M D]``
        (views).
        """
        assert self.slot >= 0, "begin() comes first"
        k_BSND, v_BSND = self._k_LBSND[layer], self._v_LBSND[layer]
        k_BSND[:, self.slot], v_BSND[:, self.slot] = k_BND, v_BND
        return k_BSND[:, : self.filled].flatten(1, 2), v_BSND[:, : self.filled].flatten(1, 2)


def _likeness(old_LBSND: Tensor, new_LBND: Tensor) -> Tensor:
    """Cosine of the frame means, averaged over layers and rows, for each sink."""
    old, new = old_LBSND.float().mean(3), new_LBND.float().mean(2)[:, :, None]
    return F.cosine_similarity(old, new, dim=-1).mean((0, 1))
