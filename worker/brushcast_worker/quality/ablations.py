"""Ablations: what each part of the stream is good for. Every part is switched off by itself, and
the same long stretch is played: so long that positions which grow leave what training saw.

Letters: B rows (looks), T pictures, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice

import torch
from torch import Tensor

from brushcast_worker.quality import metrics
from brushcast_worker.quality.drift import looped
from brushcast_worker.quality.measure import SENSOR_NOISE, STILL_PICTURES
from brushcast_worker.quality.play import CHUNK, NEVER, Play, Player, one_style, stream
from brushcast_worker.quality.target import target
from brushcast_worker.quality.warp import Motion

OURS = "all of it (positions by slot)"
VARIANTS = {
    OURS: Play(),
    "no key-value cache": Play(cache=False),
    "no sinks": Play(sinks=0),
    "no motion-aware noise": Play(motion_noise=False),
    "positions grow for ever": Play(positions="frame", refresh_at=NEVER),
    "positions refreshed at 50": Play(positions="frame"),
    "no autoencoder memory": Play(memory=False),
    "noise drawn afresh": Play(fixed_noise=False),
}
LATENT_FRAMES = 108  # of the stretch: training saw 5, a refresh at 50 happens twice
LOOP_PICTURES = 24  # there, and back again: 12 latent frames
Tell = Callable[[str], None]


def ablate(
    player: Player, video_TCHW: Tensor, styles: Sequence[str], tell: Tell
) -> dict[str, dict[str, float]]:
    """By variant, means over the looks:

    ``warp``: relative to the source's own, in the last round. ``flicker``: of a scene that stands
    still after it, with a sensor's noise. ``sharpness``, ``output_db``: against the teacher, at the
    stretch's end.
    ``seam``: the largest mean difference of a picture to the same one a round earlier (levels):
    what a stream does to itself when nothing else happens.
    """
    video = video_TCHW[:LOOP_PICTURES].to(player.device)
    video = video[: len(video) // CHUNK * CHUNK]
    there_and_back = torch.cat([video, video.flip(0)])
    motion = Motion(there_and_back)
    own = motion.own()
    wanted = {style: target(there_and_back[-2:], style, Play()) for style in styles}
    found = {}
    for name, play in VARIANTS.items():
        tell(f"ablations: {name}")
        rows = []
        for start in range(0, len(styles), player.rows_at_once):
            group = styles[start : start + player.rows_at_once]
            looks = torch.cat([one_style(style) for style in group])
            last, calm, seams = _stretch(player, video, looks, play)
            for row, style in enumerate(group):
                want = wanted[style]
                end = last[row, -len(want) :]
                rows.append(
                    {
                        "warp": motion.error(last[row]) / own,
                        "flicker": metrics.flicker(calm[row]),
                        "sharpness": metrics.sharpness(end, want),
                        "output_db": metrics.psnr(end, want),
                        "seam": seams[row],
                    }
                )
        found[name] = {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}
    return found


def _stretch(
    player: Player, video_TCHW: Tensor, looks_BS: Tensor, play: Play
) -> tuple[Tensor, Tensor, list[float]]:
    """The last round ``[B 2T 3 H W]``, the second half of the still pictures that follow it, and
    each look's seam. The rounds before the second are warming up.
    """
    period = 2 * len(video_TCHW) // CHUNK
    rounds = max(3, -(-LATENT_FRAMES // period))
    moving = islice(looped(video_TCHW), rounds * period)
    source = (x.to(player.dtype) for x in chain(moving, _still(video_TCHW[0])))
    before: list[Tensor] = []
    calm: list[Tensor] = []
    seams = torch.zeros(len(looks_BS))
    for number, (pictures, _) in enumerate(stream(player.pocket, source, looks_BS, play)):
        pictures = pictures.float()
        if number >= rounds * period:
            calm.append(pictures)
            continue
        if number >= 2 * period:
            change = (pictures - before[0]).abs().mean((2, 3, 4)).amax(1).cpu()
            seams = torch.maximum(seams, change * metrics.LEVELS)
        before = [*before[-(period - 1) :], pictures]
    return torch.cat(before, 1), torch.cat(calm[len(calm) // 2 :], 1), seams.tolist()


def _still(picture_CHW: Tensor) -> tuple[Tensor, ...]:
    """Chunks ``[1 4 3 H W]`` of a picture that is held under a sensor's noise."""
    shape = (1, STILL_PICTURES, *picture_CHW.shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(picture_CHW.device)
    noisy = picture_CHW + noise * (SENSOR_NOISE / metrics.LEVELS)
    return torch.split(noisy.clamp(-1, 1), CHUNK, 1)
