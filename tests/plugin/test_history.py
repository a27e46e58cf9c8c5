"""Ten minutes, and no more."""

from __future__ import annotations

import dataclasses
import json

import pytest

from brushcast.history import SAMPLES_MOST, History
from tests.plugin.panel.fake_telemetry import sample


def test_what_is_newer_comes_column_by_column() -> None:
    history = History()
    for second in (1, 2, 4):
        history.add(sample(second))
    table = history.since(1)
    assert table["at_s"] == [2, 4]
    assert set(table) == {field.name for field in dataclasses.fields(sample(1))}
    assert {len(column) for column in table.values()} == {2}
    assert history.since(-1)["at_s"] == [1, 2, 4]
    assert history.since(4)["at_s"] == []
    json.dumps(table, allow_nan=False)


def test_the_oldest_go() -> None:
    history = History()
    for second in range(SAMPLES_MOST + 5):
        history.add(sample(second))
    seconds = history.since(-1)["at_s"]
    assert (len(seconds), seconds[0], seconds[-1]) == (600, 5, 604)


def test_time_does_not_run_backwards() -> None:
    history = History()
    history.add(sample(2))
    with pytest.raises(AssertionError):
        history.add(sample(2))
