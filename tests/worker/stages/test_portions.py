"""How many share a forward once the memory did not do."""

from __future__ import annotations

import pytest

from brushcast_worker.stages.portions import Portions


def test_all_at_once_until_the_memory_does_not_do() -> None:
    portions = Portions("decoding")
    assert list(portions.split("96x64", "abcde")) == ["abcde"]
    assert portions.too_many("96x64", 5)
    assert list(portions.split("96x64", "abcde")) == ["ab", "cd", "e"]
    assert portions.too_many("96x64", 2)
    assert list(portions.split("96x64", "abc")) == ["a", "b", "c"]
    assert list(portions.split("48x32", "abc")) == ["abc"], "another size has its own"


def test_one_is_never_too_many(caplog: pytest.LogCaptureFixture) -> None:
    portions = Portions("decoding")
    assert not portions.too_many("96x64", 1)
    assert list(portions.split("96x64", "ab")) == ["ab"]
    assert not caplog.records
    assert list(portions.split("96x64", "")) == []
    portions.too_many("96x64", 3)
    assert "decoding of 96x64 for at most 1 at once" in caplog.text
