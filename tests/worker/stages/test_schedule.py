"""The schedule against the published numbers."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.stages import schedule
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import schedule_error


def test_agrees_with_the_published_schedule(reference: Vectors) -> None:
    table = schedule.sigma_table()
    torch.testing.assert_close(table, reference.schedule.sigmas, rtol=1e-5, atol=1e-6)
    assert schedule_error(reference.schedule) < 1e-6


def test_a_table_may_end_above_zero() -> None:
    table = schedule.sigma_table(1.0, 5, lowest=0.2, extra_step=False)
    assert table.tolist() == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_published_steps_start_at_the_motion_aware_one() -> None:
    steps = schedule.wan_steps(2, 0.701, schedule.sigma_table())
    assert [s.timestep for s in steps] == [601.0, 500.0]
    assert steps[0].sigma == pytest.approx(0.601, abs=2e-3)
    assert [s.level for s in steps] == [0.701, steps[1].sigma]


def test_pocket_halves_the_noise_for_its_second_step() -> None:
    assert [s.sigma for s in schedule.pocket_steps(2, 0.56)] == pytest.approx([0.56, 0.28])
    with pytest.raises(ValueError, match="3 steps; 1 or 2 wanted"):
        schedule.pocket_steps(3, 0.5)


def test_strength_raises_the_noise() -> None:
    scales = [schedule.noise_scale_of(s) for s in (0.0, 0.6, 1.0)]
    assert scales == pytest.approx([0.2, 0.56, 0.8])


def test_rows_carry_their_own_step() -> None:
    timestep, sigma = schedule.as_rows(schedule.pocket_steps(2, 0.5), "cpu")
    assert timestep.tolist() == [[500.0], [250.0]]
    assert sigma.tolist() == [[0.5], [0.25]]
