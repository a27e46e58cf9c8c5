from __future__ import annotations

import io

import pytest

from installer.question import NeedsAnswer, confirm
from tests.installer.obs_home import Terminal


@pytest.mark.parametrize(
    ("typed", "agreed"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)],
)
def test_only_a_yes_is_a_yes(typed: str, agreed: bool) -> None:
    out = io.StringIO()
    assert confirm("Change that?", yes=False, answers=Terminal(typed), out=out) is agreed
    assert out.getvalue() == "Change that? [y/N] "


def test_nobody_there_is_no_yes() -> None:
    with pytest.raises(NeedsAnswer, match="add --yes"):
        confirm("Change that?", yes=False, answers=io.StringIO("y\n"), out=io.StringIO())
    assert confirm("Change that?", yes=True, answers=io.StringIO(), out=io.StringIO())
