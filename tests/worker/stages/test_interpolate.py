"""A missing picture between two painted ones. "Painted" here: the negative of the source, so that
what ought to come out is known to the pixel."""

from __future__ import annotations

from importlib import resources
from itertools import islice

import cv2
import numpy as np
import pytest

from brushcast.clip import Clip
from brushcast.frame import Pixels, Size, fit
from brushcast_worker.stages.interpolate import FULL_ABOVE_PX, Follower

SIDE = 128


def texture(seed: int = 0, side: int = 2 * SIDE) -> Pixels:
    """Blobs of every colour, smooth enough to be followed."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def panned(pixels_HWC: Pixels, right_px: float) -> Pixels:
    """What a camera sees that has moved on."""
    shift = np.array([[1, 0, -40 - right_px], [0, 1, -40]], np.float32)
    return np.asarray(cv2.warpAffine(pixels_HWC, shift, (SIDE, SIDE)), np.uint8)


def painted(pixels_HWC: Pixels) -> Pixels:
    return 255 - pixels_HWC


def wrong(a_HWC: Pixels, b_HWC: Pixels, edge: int = 16) -> float:
    """Mean absolute difference in levels, away from the edges, which a pan uncovers."""
    a, b = (p[edge:-edge, edge:-edge].astype(np.float32) for p in (a_HWC, b_HWC))
    return float(np.abs(a - b).mean())


@pytest.mark.parametrize("speed_px", [0.5, 2.0, 4.0, 9.0])
def test_a_pan_comes_out_where_it_was(speed_px: float) -> None:
    scene = texture()
    before, missing, after = (panned(scene, -n * speed_px) for n in range(3))
    path = Follower().follow(before, missing, after)
    found = path.paint(painted(before), painted(after))
    mixed = cv2.addWeighted(painted(before), 0.5, painted(after), 0.5, 0)
    assert path.speed_px == pytest.approx(speed_px, rel=0.2)
    assert wrong(found, painted(missing)) < 3
    assert wrong(found, painted(missing)) < 0.5 * wrong(np.asarray(mixed, np.uint8), found) + 1


def test_slow_motion_takes_the_light_estimate_and_fast_motion_the_full_one() -> None:
    scene = texture()

    def follow(speed_px: float, care: str) -> bool:
        pictures = [panned(scene, -n * speed_px) for n in range(3)]
        return Follower().follow(*pictures, care=care).full

    assert not follow(FULL_ABOVE_PX - 1.5, "full")
    assert follow(FULL_ABOVE_PX + 1.5, "full")
    assert not follow(FULL_ABOVE_PX + 1.5, "light"), "a low delay has no time for it"


def test_the_full_estimate_is_worth_its_cost() -> None:
    """On the bundled clip, where the portrait turns its head."""
    with Clip(str(resources.files("brushcast").joinpath("assets", "clip.mp4"))) as clip:
        scenes = (fit(picture.pixels_HWC, Size(384, 384)) for picture in clip.pictures())
        pictures = list(islice(scenes, 100, 130))
    light, full = 0.0, 0.0
    for n in range(0, 28, 2):
        before, missing, after = pictures[n : n + 3]
        path = Follower().follow(before, missing, after)
        if path.full:
            full += wrong(path.paint(before, after), missing)
            path = Follower().follow(before, missing, after, care="light")
            light += wrong(path.paint(before, after), missing)
    assert 0 < full < 0.98 * light


def test_still_paint_stays_as_crisp_as_it_is_whatever_the_sensor_does() -> None:
    """The strokes shimmer from picture to picture; what is fetched must not be softened by the flow
    of a sensor's noise."""
    scene = panned(texture(), 0)
    random = np.random.default_rng(1)

    def noisy() -> Pixels:
        noise = random.normal(0, 3, scene.shape)
        return np.clip(scene + noise, 0, 255).astype(np.uint8)

    strokes = random.integers(0, 2, (SIDE, SIDE, 1), np.uint8).repeat(3, 2) * np.uint8(255)
    found = Follower().follow(noisy(), noisy(), noisy()).paint(strokes, strokes)
    assert wrong(found, strokes, edge=1) < 1


@pytest.mark.parametrize("moment", [0.2, 0.8])
def test_nothing_is_mixed_over_a_cut(moment: float) -> None:
    """Also where the missing picture is nearer in time to the other scene."""
    first, second = texture(1, SIDE) // 3, 170 + texture(2, SIDE) // 3
    for missing, wanted in ((first, first), (second, second)):
        path = Follower().follow(first, missing, second, moment=moment)
        found = path.paint(painted(first), painted(second))
        assert np.array_equal(found, painted(wanted))


def test_what_was_hidden_before_is_taken_from_after() -> None:
    """A square moves right by 8 px a picture over a still ground: in the missing picture the ground
    behind it is seen in `after`, and hidden in `before`."""
    ground = panned(texture(4), 0)

    def scene(left: int) -> Pixels:
        picture = ground.copy()
        picture[40:80, left : left + 40] = texture(5)[:40, :40] // 2
        return picture

    before, missing, after = scene(30), scene(38), scene(46)
    uncovered = (slice(44, 76), slice(31, 36))
    path = Follower().follow(before, missing, after)
    found = path.paint(painted(before), painted(after))
    error = np.abs(found[uncovered].astype(int) - painted(missing)[uncovered]).mean()
    halves = (painted(before)[uncovered].astype(int) + painted(after)[uncovered]) / 2
    smeared = np.abs(halves - painted(missing)[uncovered]).mean()
    assert error < 0.35 * smeared


def test_a_picture_that_neither_neighbour_explains_is_the_nearer_one_held() -> None:
    """Of one histogram, so that it is no cut: everything has moved out of reach."""
    noise = [np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for n in (1, 2)]
    missing = np.random.default_rng(9).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for moment, wanted in ((0.3, 0), (0.7, 1)):
        path = Follower().follow(noise[0], missing, noise[1], moment=moment)
        assert path.ways is None
        assert path.paint(noise[0], noise[1]) is noise[wanted]


def test_the_moment_decides_where_both_neighbours_know() -> None:
    scene = panned(texture(), 0)
    light, dark = np.full_like(scene, 200), np.full_like(scene, 100)
    means = [
        Follower().follow(scene, scene, scene, moment=moment).paint(light, dark).mean()
        for moment in (0.1, 0.5, 0.9)
    ]
    assert means[0] > 185
    assert means[1] == pytest.approx(150, abs=2)
    assert means[2] < 115


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (48, 32)])
def test_any_size(size: tuple[int, int]) -> None:
    width, height = size
    pictures = [texture(n)[:height, :width].copy() for n in range(3)]
    found = Follower().follow(*pictures).paint(pictures[0], pictures[2])
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
