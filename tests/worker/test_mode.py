from __future__ import annotations

import pytest

from brushcast.wire.bodies import MODES as NAMES
from brushcast_worker.mode import MODES, mode_of


def test_there_is_one_for_every_name_on_the_wire() -> None:
    assert tuple(MODES) == NAMES
    assert mode_of("") == mode_of("balanced")


def test_a_short_delay_is_paid_for_with_steps_and_motion() -> None:
    low, balanced, quality = (mode_of(name) for name in NAMES)
    assert low.deadline_ns < balanced.deadline_ns < quality.deadline_ns
    assert (low.steps_least, low.steps_most) == (1, 2)
    assert (quality.steps_least, quality.steps_most) == (3, 4)
    assert (low.care, quality.care) == ("light", "full")
    assert not low.waits


def test_an_unknown_one_is_our_own_mistake() -> None:
    with pytest.raises(KeyError):
        mode_of("fast")
