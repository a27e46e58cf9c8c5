from __future__ import annotations

import dataclasses

import pytest

from brushcast.panel.backend import PanelBackend, PrivacyState
from tests.plugin.panel.fake_backend import FakeBackend, fake_state


def test_a_snapshot_cannot_be_changed_under_its_reader() -> None:
    state = fake_state()
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.paused = True
    assert isinstance(state.sinks, tuple)
    assert isinstance(state.presets, tuple)
    assert hash(state) == hash(fake_state())


def test_the_raw_camera_is_off_unless_somebody_says_so() -> None:
    assert not PrivacyState().raw_shown
    assert not fake_state().privacy.raw_shown


def test_the_fake_is_a_backend() -> None:
    backend: PanelBackend = FakeBackend()
    assert backend.snapshot().worker.fps == 29.8
