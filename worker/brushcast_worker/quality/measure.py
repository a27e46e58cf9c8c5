"""Everything that is measured of one clip under some looks: the stream, the stream with parts of
it taken away, and what the teachers make of the same pictures.

Letters: B rows (looks), T pictures, C channels, H W size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from brushcast_worker.models.text import STYLES
from brushcast_worker.quality import between, lettering, metrics
from brushcast_worker.quality.clips import Sample
from brushcast_worker.quality.landmarks import Landmarks, faint
from brushcast_worker.quality.play import (
    ALONE,
    ALONE_OWN_NOISE,
    CHUNK,
    Play,
    Player,
    one_style,
)
from brushcast_worker.quality.target import target
from brushcast_worker.quality.warp import Motion

Figures = dict[str, dict[str, float]]  # what is measured, and its figures
STILL_PICTURES = 16  # of a held picture; the second half is measured
SENSOR_NOISE = 2.0  # levels: a webcam in a lit room
STROKES = Play(strength=0.8)  # where seeds are told apart
SEEDS = (1, 2)
BOARD_PICTURES = 8
LIGHT = Play(strength=0)  # a teacher's own hand: half the work


@dataclass(frozen=True, slots=True)
class Outcome:
    """One look on one clip: its figures, and ``[3 H W]`` pictures by name for the sheet."""

    figures: Figures
    pictures: dict[str, Tensor]


class Bench:
    """One clip, prepared: what does not depend on the look."""

    def __init__(self, player: Player, sample: Sample, *, teach_all: bool) -> None:
        """``teach_all``: hold every picture of the second half against the teacher, not two."""
        self.player, self.sample = player, sample
        self.video = sample.video_TCHW.to(player.device)
        count = len(self.video)
        self.start = count // 2  # first pictures have no past: what is measured comes after them
        # The odd ones are in between where every second picture is painted.
        self.taught = list(range(self.start, count)) if teach_all else [count - 3, count - 1]
        self.motion, self.landmarks = Motion(self.video), Landmarks(self.video)
        self.still = self.video[-1:].expand(STILL_PICTURES, -1, -1, -1)
        drawn = torch.randn(self.still.shape, generator=torch.Generator().manual_seed(1))
        noise = drawn.to(player.device) * (SENSOR_NOISE / metrics.LEVELS)
        self.noisy = (self.still + noise).clamp(-1, 1)
        self.board = lettering.board(sample.first_HWC, BOARD_PICTURES)
        self.board_video = self.board.video_TCHW.to(player.device)

    def outcomes(self, styles: Sequence[str]) -> list[Outcome]:
        """Plays everything under these looks, side by side as far as the device likes it."""
        looks = torch.cat([one_style(style) for style in styles])
        others = torch.cat([one_style(_other(style)) for style in styles])
        play, tail = self.player.play, self.video[None, -2 * CHUNK :]
        streams, latents = play(self.video[None], looks, Play())
        _, others_z = play(tail[:, CHUNK:], others, Play())
        twos, _ = play(tail, looks, Play(steps=2))
        halves, _ = play(self.video[None, ::2], looks, Play())
        stills, _ = play(self.still[None], looks, Play())
        noisy, _ = play(self.noisy[None], looks, Play())
        boards, _ = play(self.board_video[None], looks, Play())
        seeds = [play(tail, looks, replace(STROKES, seed=s))[0] for s in (*SEEDS, SEEDS[0])]
        found = []
        for row, style in enumerate(styles):
            y, want = streams[row], target(self.video[self.taught], style, Play())
            first, second, again = (x[row, CHUNK:] for x in seeds)
            alone = self.player.frame_by_frame(self.video[self.start :], style, ALONE)
            own = self.player.frame_by_frame(self.video[self.start :], style, ALONE_OWN_NOISE)
            drawn = self._drawn(latents[row, -1:], others_z[row, -1:], want)
            figures: Figures = {
                "teacher": self._to_teacher(y, twos[row], want),
                "latents": drawn[0],
                "sharpness": self._sharpness(y, want),
                "warp": self._warp(y, alone, own),
                "between": self._between(y, halves[row], want),
                "flicker": _flicker(stills[row], noisy[row], want[-1:]),
                "structure": self._structure(y, want),
                "seeds": self._seeds(first, second, again),
                "landmarks": self._landmarks(y, want),
                "lettering": self._lettering(boards[row], style),
            }
            shown = {
                "source": self.video[-1], "teacher": want[-1], "output": y[-1],
                "frame by frame": own[-1], "latents: none": drawn[1],
                f"0.8, seed {SEEDS[0]}": first[-1], f"0.8, seed {SEEDS[1]}": second[-1],
                "lettering": boards[row, -1],
            }  # fmt: skip
            found.append(Outcome(figures, {name: x.float().cpu() for name, x in shown.items()}))
        return found

    def _to_teacher(self, y: Tensor, two: Tensor, want: Tensor) -> dict[str, float]:
        source = metrics.psnr(self.video[self.taught], want)
        output = metrics.psnr(y[self.taught], want)
        last = [index for index in self.taught if index >= len(y) - 2 * CHUNK]
        two_steps = two[[index - len(y) for index in last]]
        return {
            "source_db": source,
            "output_db": output,
            "gain_db": output - source,
            "two_steps_db": metrics.psnr(two_steps, want[-len(last) :]),
        }

    def _drawn(
        self, own_z: Tensor, other_z: Tensor, want: Tensor
    ) -> tuple[dict[str, float], Tensor]:
        """The last chunk from its own latents, from another look's and from zeros, all of them by
        a decoder without a past; and the picture from zeros.
        """
        chunk = self.video[-CHUNK:]
        taught = [index - len(self.video) for index in self.taught]
        taught = [index for index in taught if index >= -CHUNK]
        empty = self.player.draw(torch.zeros_like(own_z), chunk)
        drawn = [self.player.draw(own_z, chunk), self.player.draw(other_z, chunk), empty]
        own, other, zero = (metrics.psnr(x[taught], want[-len(taught) :]) for x in drawn)
        figures = {"own_db": own, "other_db": other, "zero_db": zero}
        return {**figures, "margin_db": own - max(other, zero)}, empty[-1]

    def _sharpness(self, y: Tensor, want: Tensor) -> dict[str, float]:
        y = y[self.taught]
        size = metrics.gradient_size(y) / max(metrics.gradient_size(want), 1e-9)
        return {"energy": metrics.sharpness(y, want), "gradient": size}

    def _warp(self, y: Tensor, alone: Tensor, own: Tensor) -> dict[str, float]:
        """``relative``: to the source's own; ``to_alone``: to the same model's frame by frame, with
        the stream's noise or with noise of its own.
        """
        stream, source = self._error(y[self.start :]), self.motion.own(self.start)
        one, fresh = self._error(alone), self._error(own)
        return {
            "source": source,
            "stream": stream,
            "relative": stream / source,
            "alone_relative": one / source,
            "alone_own_noise_relative": fresh / source,
            "to_alone": stream / max(one, 1e-6),
            "to_alone_own_noise": stream / max(fresh, 1e-6),
        }

    def _error(self, late_TCHW: Tensor) -> float:
        return self.motion.error(late_TCHW, self.start)

    def _between(self, y: Tensor, half: Tensor, want: Tensor) -> dict[str, float]:
        """Warp error of the whole sequence, and sharpness of the pictures in between."""
        source = self.motion.own(0, len(y) - 1)
        found = {"painted_relative": self.motion.error(y[:-1]) / source}
        at = [n for n, index in enumerate(self.taught) if index % 2 and index < len(y) - 1]
        for name, way in between.WAYS.items():
            sequence = between.at_twice_the_rate(half, way)
            found[f"{name}_relative"] = self.motion.error(sequence) / source
            shown = sequence[[self.taught[n] for n in at]]
            found[f"{name}_sharpness"] = metrics.sharpness(shown, want[at])
        return found

    def _structure(self, y: Tensor, want: Tensor) -> dict[str, float]:
        source = self.video[self.taught]
        return {
            "edge_ssim": metrics.edge_ssim(y[self.taught], source),
            "teacher_edge_ssim": metrics.edge_ssim(want, source),
        }

    def _seeds(self, first: Tensor, second: Tensor, again: Tensor) -> dict[str, float]:
        source = self.video[-CHUNK:]
        return {
            "difference": metrics.difference(first, second),
            "edge_ssim_a": metrics.edge_ssim(first, source),
            "edge_ssim_b": metrics.edge_ssim(second, source),
            "repeat_difference": metrics.difference(first, again),
        }

    def _landmarks(self, y: Tensor, want: Tensor) -> dict[str, float]:
        found, late = self.landmarks.wander(y), self.taught[-4:]
        return {
            "median_px": found.median_px,
            "p95_px": found.p95_px,
            "lost": found.lost,
            "points": found.points,
            "faint": faint(self.video[late], y[late], want[-len(late) :]),
        }

    def _lettering(self, painted: Tensor, style: str) -> dict[str, float]:
        last = BOARD_PICTURES - 1
        reading = lettering.read(self.board, painted[last:], last)
        taught = lettering.read(self.board, target(self.board_video[-1:], style, LIGHT), last)
        return {
            "recognised": reading.recognised,
            "likeness": reading.likeness,
            "teacher_recognised": taught.recognised,
            "teacher_likeness": taught.likeness,
        }


def _flicker(still: Tensor, noisy: Tensor, want: Tensor) -> dict[str, float]:
    half = STILL_PICTURES // 2
    return {
        "still": metrics.flicker(still[half:]),
        "noisy": metrics.flicker(noisy[half:]),
        "still_sharpness": metrics.sharpness(still[-1:], want),
        "noisy_sharpness": metrics.sharpness(noisy[-1:], want),
    }


def _other(style: str) -> str:
    """The look after this one, round and round, the untouched picture left out."""
    return STYLES[1 + STYLES.index(style) % (len(STYLES) - 1)]
