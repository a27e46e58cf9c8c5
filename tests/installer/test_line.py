from __future__ import annotations

from installer.line import Line, render


def test_a_row_is_a_line_with_its_verdict_first() -> None:
    assert render([Line(verdict="BAD", topic="disk", text="none")]) == "BAD   disk            none"


def test_what_to_do_is_below_and_can_be_copied() -> None:
    row = Line(verdict="note", topic="camera", text="none", how="first\nsecond")
    assert render([row]).splitlines()[1:] == [" " * 22 + "first", " " * 22 + "second"]
