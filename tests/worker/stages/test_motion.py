"""Still, cut, fast: measured on pictures whose motion the test knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brushcast.frame import Pixels
from brushcast_worker.stages.motion import (
    ALIKE_BELOW,
    CUT_ABOVE,
    STILL_BELOW,
    Picture,
    Seen,
    measure,
    noise_level,
)
from brushcast_worker.stages.noise import NoiseConfig, noise_scale, open_noise
from brushcast_worker.stages.noise import motion as tensor_motion
from tests.worker.conftest import moving

CLIP = Path(__file__).parents[3] / "media" / "clip.mp4"


def seen(picture_HWC: Pixels) -> Seen:
    return Seen(Picture(picture_HWC), Picture(picture_HWC))


def noisy(picture_HWC: Pixels, sigma: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, sigma, picture_HWC.shape)
    return (picture_HWC + noise).round().clip(0, 255).astype(np.uint8)


def test_the_first_chunk_is_new_and_no_cut() -> None:
    motion = measure(moving(4), None)
    assert motion.peak >= STILL_BELOW
    assert motion.cut == 0


def test_equal_pictures_have_no_motion_at_all() -> None:
    picture = moving(1)[0]
    motion = measure([picture] * 4, seen(picture))
    assert (motion.peak, motion.rms, motion.cut) == (0, 0, 0)


def test_a_sensors_noise_is_still() -> None:
    base = moving(1)[0].clip(20, 235)
    pictures = [noisy(base, 1.5, seed) for seed in range(5)]
    assert measure(pictures[1:], seen(pictures[0])).peak < STILL_BELOW


def test_a_blink_in_a_large_picture_is_not() -> None:
    """An eye of a face before a webcam at 512x288 is about 16x8 pixels."""
    base = noisy(np.full((288, 512, 3), 150, np.uint8), 1.5, 0)
    blink = base.copy()
    blink[100:108, 200:216] -= 60
    assert measure([base, base, blink, base], seen(base)).peak >= 3 * STILL_BELOW


def test_slow_drift_adds_up_against_the_reference() -> None:
    base = np.full((64, 64, 3), 100, np.uint8)
    state = seen(base)
    peaks = []
    for step in range(1, 5):
        picture = base + step
        peaks.append(measure([picture] * 4, state).peak)
        state = Seen(state.reference, Picture(picture))
    assert peaks == [1, 2, 3, 4]


def test_speed_is_that_of_the_published_rule() -> None:
    """The same figure as the tensor form of `noise.motion`, for pictures that move evenly."""
    pictures = moving(5, speed_px=3)
    x_TCHW = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    wanted = float(tensor_motion(x_TCHW[1:], x_TCHW[0]))
    assert measure(pictures[1:], seen(pictures[0])).rms == pytest.approx(wanted, rel=0.03)


def test_the_noise_level_is_that_of_the_tensor_form() -> None:
    config, state, level = NoiseConfig(), open_noise((1, 2, 2), 0, "cpu", torch.float32), None
    rng = np.random.default_rng(0)
    last = None
    for _ in range(6):
        picture = torch.from_numpy(rng.uniform(-0.1, 0.1, (1, 3, 8, 8))).float()
        rms = 0.0 if last is None else float((picture - last).square().mean().sqrt())
        level = noise_level(rms, 0.56, level, config)
        assert level == pytest.approx(float(noise_scale(state, picture, 0.56, config)), abs=1e-6)
        last = picture


@pytest.mark.parametrize("corner", [(0, 0), (0, 1272), (360, 640), (712, 0), (712, 1272)])
def test_one_cell_that_moves_is_found_anywhere_in_a_large_picture(corner: tuple[int, int]) -> None:
    base = np.full((720, 1280, 3), 100, np.uint8)
    moved, (y, x) = base.copy(), corner
    moved[y : y + 8, x : x + 8] += 9
    for where in range(4):
        pictures = [base] * where + [moved] + [base] * (3 - where)
        assert measure(pictures, seen(base)).peak == 9


def test_speed_in_a_large_picture_is_that_of_all_its_rows() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (46, 80, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:720]
    moved = np.roll(scene, (5, 3), (0, 1))
    square = np.square(scene / 127.5 - moved / 127.5).mean()
    assert measure([moved], seen(scene)).rms == pytest.approx(square**0.5, rel=0.03)


def test_no_cut_is_missed_because_two_pictures_look_alike() -> None:
    """What is not looked at would not have been a cut: the least difference that can be one, all
    cells of one colour moving to another class of brightness."""
    for colour in ((1, 1, 1), (0, 1, 0), (1, 1, 0)):
        for step in range(1, 60):
            dark = np.full((64, 64, 3), 100, np.uint8)
            bright = dark + np.array(colour, np.uint8) * step
            motion = measure([bright], seen(dark))
            rms = float(np.sqrt(np.square(bright / 127.5 - dark / 127.5).mean()))
            if motion.cut > CUT_ABOVE:
                assert rms > 1.2 * ALIKE_BELOW
                break
        else:
            pytest.fail("none of them was a cut")


@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_a_cut_is_found_wherever_in_the_chunk_it_is(where: int) -> None:
    dark = [picture // 4 for picture in moving(5, seed=1)]
    bright = [255 - picture // 3 for picture in moving(4, seed=2)]
    pictures = dark[1 : 1 + where] + bright[where:]
    assert measure(pictures, seen(dark[0])).cut > CUT_ABOVE


def test_fast_motion_is_no_cut() -> None:
    pictures = moving(5, speed_px=24)
    assert measure(pictures[1:], seen(pictures[0])).cut < CUT_ABOVE / 2


def test_a_lamp_that_is_turned_up_is_no_cut() -> None:
    base = moving(1)[0] // 2
    pictures = [base + 12 * step for step in range(5)]
    assert measure(pictures[1:], seen(pictures[0])).cut < CUT_ABOVE


@pytest.mark.skipif(not CLIP.is_file(), reason="the bundled clip is not there")
def test_finds_the_one_real_cut_of_the_bundled_clip() -> None:
    av = pytest.importorskip("av")
    pictures = [
        f.to_ndarray(format="rgb24", width=256, height=144)
        for f in av.open(str(CLIP)).decode(video=0)
    ]
    state, cuts = seen(pictures[0]), []
    for at in range(1, len(pictures) - 4, 4):
        if measure(pictures[at : at + 4], state).cut > CUT_ABOVE:
            cuts.append(at)
        state = seen(pictures[at + 3])
    assert len(cuts) == 1, cuts
