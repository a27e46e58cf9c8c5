"""A line of a doctor's table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "BAD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table: BAD stops the product, a note is worth knowing."""

    verdict: Verdict
    topic: str
    text: str
    how: str = ""
    """What to do about it, a command a line where there are some."""


def render(lines: Iterable[Line]) -> str:
    """The table for a terminal; what is to be done on lines of its own."""
    return "\n".join(
        "\n".join(
            [f"{line.verdict:<5} {line.topic:<15} {line.text}"]
            + [f"{'':<22}{row}" for row in line.how.splitlines()]
        )
        for line in lines
    )
