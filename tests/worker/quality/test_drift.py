"""Drift: one that is put in is found, and a loop without one has none."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from brushcast_worker.quality.drift import RATE_FPS, drift, drifts, looped, tones
from brushcast_worker.quality.networks import load_networks
from brushcast_worker.quality.play import one_style

PERIOD = 8


def rounds(count: int) -> torch.Tensor:
    """Tones that change within a round and are the same in every round."""
    one = torch.tensor([100.0, 90, 80, 40, 9]) + torch.arange(PERIOD)[:, None]
    return one.repeat(count, 1).double()


def test_a_loop_without_drift_has_none() -> None:
    found = drift(rounds(6), PERIOD)
    assert (found.colour, found.contrast) == (0, 0)
    assert found.colour_slope == pytest.approx(0, abs=1e-9)
    assert found.sharpness_end == 1
    assert found.rounds == 6


def test_a_drift_that_is_put_in_is_found() -> None:
    tones_TC = rounds(10)
    minutes = torch.arange(len(tones_TC)) / RATE_FPS / 60
    tones_TC[:, 1] += 30 * minutes  # green, levels a minute
    tones_TC[:, 3] -= 12 * minutes
    found = drift(tones_TC, PERIOD)
    assert found.colour_slope == pytest.approx(30, rel=1e-6)
    assert found.contrast_slope == pytest.approx(12, rel=1e-6)
    assert found.colour == found.colour_end == pytest.approx(30 * 9 * PERIOD / RATE_FPS / 60)


def test_what_comes_back_is_still_seen() -> None:
    tones_TC = rounds(5)
    tones_TC[2 * PERIOD : 3 * PERIOD, 0] += 4
    found = drift(tones_TC, PERIOD)
    assert found.colour == pytest.approx(4)
    assert found.colour_end == 0


def test_the_loop_runs_there_and_back_without_a_cut() -> None:
    video = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 2, 2)
    seen = torch.cat(list(islice(looped(video), 5)), 1)[0, :, 0, 0, 0].tolist()
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1, 2, 3]


def test_tones_are_levels() -> None:
    halves = torch.cat([-torch.ones(1, 1, 3, 4, 4), torch.ones(1, 1, 3, 4, 4)], -1)
    red, green, blue, contrast, energy = tones(halves)[0, 0].tolist()
    assert (red, green, blue) == (0, 0, 0)
    assert contrast == pytest.approx(127.5, abs=1e-3)
    assert energy > 0


def test_every_look_has_its_own() -> None:
    pocket = load_networks("pocket-random", "cpu").pocket
    looks = torch.cat([one_style("oil"), one_style("ink")])
    said: list[float] = []
    found = drifts(pocket, torch.rand(8, 3, 48, 64) * 2 - 1, looks, 1.6, said.append)
    assert [row.rounds for row in found] == [3, 3]
    assert found[0] != found[1]
    assert said[0] == 0
