"""Drift: whether colour and contrast stay where they are when a stream runs on and on.

A stretch of a clip is played forwards and backwards without a cut, again and again: every round
shows the same pictures, so whatever changes from round to round is the model's own.

Letters: B rows, T pictures, N rounds, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from brushcast_worker.models.pocket import Pocket
from brushcast_worker.quality.metrics import LEVELS, luminance
from brushcast_worker.quality.play import CHUNK, Play, stream

RATE_FPS = 30  # of the looped clip
TOLD = 10  # times how far it is
Tell = Callable[[float], None]  # 0..1 of the way


@dataclass(frozen=True, slots=True)
class Drift:
    """Against the first round, levels: ``colour`` and ``contrast`` at their furthest,
    ``colour_end`` and ``contrast_end`` in the last round; slopes in levels a minute.
    ``sharpness_end``: gradient energy of the last round as a share of the first one's.
    """

    colour: float
    colour_end: float
    colour_slope: float
    contrast: float
    contrast_end: float
    contrast_slope: float
    sharpness_end: float
    seconds: float
    rounds: int


def looped(video_TCHW: Tensor) -> Iterator[Tensor]:
    """Chunks ``[1 4 3 H W]`` of a video that runs forwards and backwards for ever; its length is a
    multiple of 4.
    """
    there_and_back = torch.cat([video_TCHW, video_TCHW.flip(0)])[None]
    while True:
        yield from torch.split(there_and_back, CHUNK, 1)


def drifts(
    pocket: Pocket, video_TCHW: Tensor, weights_BS: Tensor, seconds: float, tell: Tell
) -> list[Drift]:
    """One drift for every row of weights; all rows are played at once. At least two rounds."""
    period = 2 * len(video_TCHW)
    rounds = max(2, round(seconds * RATE_FPS / period))
    wanted = rounds * period // CHUNK
    found = []
    source = looped(video_TCHW)
    chunks = (next(source) for _ in range(wanted))
    for number, (pictures_BTCHW, _) in enumerate(stream(pocket, chunks, weights_BS, Play())):
        found.append(tones(pictures_BTCHW))
        if number * TOLD // wanted != (number - 1) * TOLD // wanted:
            tell(number / wanted)
    tones_BTC = torch.cat(found, 1).double().cpu()
    return [drift(row_TC, period) for row_TC in tones_BTC]


def tones(pictures_BTCHW: Tensor) -> Tensor:
    """Mean red, green, blue, the luminance's deviation (levels) and its gradient energy:
    ``[B T 5]``.
    """
    x = pictures_BTCHW.float() * LEVELS
    grey = luminance(x.flatten(0, 1)).reshape(*x.shape[:2], *x.shape[3:])
    contrast = grey.flatten(2).std(-1, correction=0)
    across, down = (grey.diff(dim=dim).square().mean((-1, -2)) for dim in (-1, -2))
    return torch.cat([x.mean((-1, -2)), torch.stack([contrast, across + down], -1)], -1)


def drift(tones_TC: Tensor, period: int) -> Drift:
    """Of ``tones`` of whole rounds of ``period`` pictures."""
    rounds_NC = tones_TC.reshape(-1, period, tones_TC.shape[1]).mean(1)
    away_NC = (rounds_NC - rounds_NC[0]).abs()
    minutes = torch.arange(len(rounds_NC), dtype=tones_TC.dtype) * period / RATE_FPS / 60
    centred = minutes - minutes.mean()
    slope_C = (centred[:, None] * rounds_NC).sum(0) / centred.square().sum().clamp(min=1e-12)
    return Drift(
        colour=float(away_NC[:, :3].max()),
        colour_end=float(away_NC[-1, :3].max()),
        colour_slope=float(slope_C[:3].abs().max()),
        contrast=float(away_NC[:, 3].max()),
        contrast_end=float(away_NC[-1, 3]),
        contrast_slope=float(slope_C[3].abs()),
        sharpness_end=float(rounds_NC[-1, 4] / rounds_NC[0, 4].clamp(min=1e-9)),
        seconds=len(tones_TC) / RATE_FPS,
        rounds=len(rounds_NC),
    )
