"""Sinks: what the pool knows of each, and the rule by which one gives way, all on the device.

A sink holds a latent frame of the scene's beginning, so that a long stream does not drift away from
it. When the scene has changed without a cut, what it holds is wrong: if the new latent frame is too
unlike a sink, the least similar one is replaced by it (StreamDiffusionV2, arXiv 2511.07399; the
rule is `stages.cache.likeness`). A CUDA graph has no branches: where nothing is replaced, what was
stored is written once more to where it is.

Letters: B rows, L layers, S slots of a cache, P sinks and one place that nobody reads, N tokens of
a latent frame, D width of a token, C channels, H W latent size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from brushcast_worker.models.attention import RotaryParts, StaticRows, time_pairs
from brushcast_worker.models.dit import DiTConfig
from brushcast_worker.stages.cache import Grid, likeness

NEVER = -2.0  # a threshold that no cosine falls below
_LAYERS_AT_ONCE = 10  # of the copies: 30 MB a row in the 1.3 B transformer


@dataclass(frozen=True, slots=True)
class SinkRows:
    """Of every row: frame-mean keys (not rotated) and values of the sinks, float32, where the rule
    is in use; their clean sources; how many gave way so far. Rows are axis 1 everywhere."""

    k_LBPD: Tensor
    v_LBPD: Tensor
    source_1BPCHW: Tensor
    replaced_1B: Tensor  # int32

    @classmethod
    def blank(
        cls, config: DiTConfig, rows: int, grid: Grid, device: torch.device, dtype: torch.dtype
    ) -> Self:
        """Of rows that hold nothing. Raises OutOfMemoryError."""
        places = config.sinks + 1
        k_LBPD = torch.zeros(config.layers, rows, places, config.dim, device=device)
        shape = 1, rows, places, config.latent_channels, *grid
        source_1BPCHW = torch.zeros(shape, device=device, dtype=dtype)
        replaced_1B = torch.zeros(1, rows, device=device, dtype=torch.int32)
        return cls(k_LBPD, torch.zeros_like(k_LBPD), source_1BPCHW, replaced_1B)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All of it."""
        return self.k_LBPD, self.v_LBPD, self.source_1BPCHW, self.replaced_1B

    def first(self, rows: int) -> Self:
        """The first rows, views."""
        return type(self)(*(part[:, :rows] for part in self.parts))


def close(
    sinks: SinkRows,
    rows: StaticRows,
    source_BCHW: Tensor,
    threshold_B: Tensor,
    rope: Tensor,
    parts: RotaryParts,
) -> None:
    """Ends a latent frame of each row, in place: a sink's source (and means) are kept; where the
    rule is in use (`rows.means`), the least similar sink gives way if its likeness is below the
    row's threshold."""
    place_B = rows.slot_B.clamp(max=rows.sinks)  # a rolling one's: nobody reads it
    every_B = torch.arange(len(place_B), device=place_B.device)
    if rows.means is not None:
        k_LBD, v_LBD = (torch.stack(part) for part in zip(*rows.means, strict=True))
        old = sinks.k_LBPD[:, :, : rows.sinks], sinks.v_LBPD[:, :, : rows.sinks]
        low_B, least_B = likeness(*old, k_LBD, v_LBD).min(1)
        gone_B = (rows.slot_B >= rows.sinks) & (low_B < threshold_B)
        place_B = torch.where(gone_B, least_B, place_B)
        sinks.k_LBPD[:, every_B, place_B] = k_LBD
        sinks.v_LBPD[:, every_B, place_B] = v_LBD
        sinks.replaced_1B[0] += gone_B
        _copy(rows, torch.where(gone_B, least_B, rows.slot_B), gone_B, rope, parts)
    sinks.source_1BPCHW[0, every_B, place_B] = source_BCHW


def _copy(rows: StaticRows, to_B: Tensor, gone_B: Tensor, rope: Tensor, parts: RotaryParts) -> None:
    """The current latent frame's keys and values to those slots too; a key is turned to the sink's
    position, which is its slot."""
    time, width = time_pairs(rope), 2 * rope.shape[1]
    back_B = torch.where(gone_B, rows.position_B - to_B, 0)
    cos, sin = rope[back_B, :time][None, :, None, None].unbind(-1)
    every_B = torch.arange(len(to_B), device=to_B.device)
    k, v = rows.k_LBSND, rows.v_LBSND
    for first in range(0, len(k), _LAYERS_AT_ONCE):
        k_LBSNKE, v_LBSNKE = (
            part.view(*part.shape[:-1], -1, width)
            for part in (k[first : first + _LAYERS_AT_ONCE], v[first : first + _LAYERS_AT_ONCE])
        )
        parts.repeat(k_LBSNKE, v_LBSNKE, every_B, rows.slot_B, to_B, cos, sin)
