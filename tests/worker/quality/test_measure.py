"""What is measured of a clip: every figure is there, and a decoder that blurs is found."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from brushcast.frame import Size
from brushcast_worker.models.text import STYLES
from brushcast_worker.quality import measure
from brushcast_worker.quality.bars import bars
from brushcast_worker.quality.clips import samples
from brushcast_worker.quality.measure import Bench
from brushcast_worker.quality.metrics import gradient_size
from brushcast_worker.quality.networks import load_networks
from brushcast_worker.quality.play import Play, Player, one_style
from brushcast_worker.quality.target import target


@pytest.fixture(scope="module")
def player() -> Player:
    return Player(load_networks("pocket-random", "cpu").pocket, 2)


@pytest.fixture(scope="module")
def bench(player: Player) -> Bench:
    return Bench(player, samples([], Size(96, 64), 16)[0], teach_all=False)


def test_every_figure_is_there(bench: Bench) -> None:
    first, second = bench.outcomes(["oil", "ink"])
    assert first.figures != second.figures
    for outcome in (first, second):
        assert all(math.isfinite(x) for names in outcome.figures.values() for x in names.values())
        assert outcome.figures["seeds"]["repeat_difference"] == 0
        assert {x.shape for x in outcome.pictures.values()} == {(3, 64, 96)}
    assert bars({"oil": first.figures, "ink": second.figures}, None)


@pytest.mark.gpu
def test_every_figure_is_there_on_a_gpu_all_looks_at_once() -> None:
    networks = load_networks("pocket-random", "cuda")
    player = Player(networks.pocket, 16)
    on_gpu = Bench(player, samples([], Size(96, 64), 16)[0], teach_all=True)
    styles = [*STYLES[1:]]
    outcomes = on_gpu.outcomes(styles)
    assert len(outcomes) == len(styles)
    for outcome in outcomes:
        assert all(math.isfinite(x) for names in outcome.figures.values() for x in names.values())
        assert {x.device.type for x in outcome.pictures.values()} == {"cpu"}


class Teacher(Player):
    """A model that paints as its teacher does, picture by picture: perfect, but for what it is told
    to do to its pictures."""

    window = 1

    def play(
        self, video_BTCHW: torch.Tensor, weights_BS: torch.Tensor, play: Play
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _, z = super().play(video_BTCHW, weights_BS, play)
        videos = video_BTCHW.expand(len(z), *video_BTCHW.shape[1:])
        y = torch.stack([target(x, "neon", play) for x in videos])
        blurred = F.avg_pool2d(y.flatten(0, 1), self.window, 1, self.window // 2)
        return (blurred.unflatten(0, y.shape[:2]) if self.window > 1 else y), z


@pytest.mark.parametrize(("window", "met"), [(1, True), (3, False)])
def test_a_decoder_that_blurs_is_found_and_does_not_pass_for_calm(
    player: Player, window: int, met: bool
) -> None:
    teacher = Teacher(player.pocket, 2)
    teacher.window = window
    bench = Bench(teacher, samples([], Size(96, 64), 16)[0], teach_all=False)
    (outcome,) = bench.outcomes(["neon"])
    figures = outcome.figures
    assert (figures["sharpness"]["energy"] >= 0.8) is met
    assert (figures["flicker"]["still_sharpness"] >= 0.8) is met
    sharp = [b for b in bars({"neon": figures}, None) if "gradient energy" in b["figure"]]
    assert all(b["met"] for b in sharp) is met
    if met:
        assert figures["teacher"]["output_db"] > 60
        assert figures["flicker"]["still"] == 0
        assert figures["structure"]["edge_ssim"] == figures["structure"]["teacher_edge_ssim"]


WEIGHTS = Path(measure.__file__).parents[1] / "weights"


@pytest.mark.slow
def test_the_shipped_decoder_does_not_blur() -> None:
    """Half the product's size: the teachers are slow. A decoder that is blurred once misses it."""
    player = Player(load_networks("pocket", "cpu").pocket, 1)
    video = samples([], Size(256, 144), 16)[0].video_TCHW
    y, _ = player.play(video[None], one_style("watercolour"), Play())
    want = target(video[-1:], "watercolour", Play())
    assert 0.8 < gradient_size(y[0, -1:]) / gradient_size(want) < 1.2
    blurred = F.avg_pool2d(y[0, -1:], 3, 1, 1)
    assert gradient_size(blurred) / gradient_size(want) < 0.8
