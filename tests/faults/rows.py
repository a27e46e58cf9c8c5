"""Rows: what the table says of each fault: the promise, each bar, and the value measured."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.oracle import GAP_MOST_MS, Verdict

_COMPARE = {"at most": operator.le, "at least": operator.ge, "is": operator.eq}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure and its bar. how: `at most`, `at least` or `is`; others make no bar (`said`)."""

    figure: str
    value: Any
    bar: Any = None
    unit: str = ""
    how: str = "at most"

    @property
    def met(self) -> bool:
        return self.bar is None or bool(_COMPARE[self.how](self.value, self.bar))

    def wanted(self) -> str:
        """As the table has it; "" without a bar."""
        if self.bar is None:
            return ""
        how = {"at most": "≤ ", "at least": "≥ ", "is": ""}[self.how]
        return f"{self.figure} {how}{told(self.bar)}{self.unit and ' ' + self.unit}"

    def measured(self) -> str:
        text = f"{self.figure} {told(self.value)}{self.unit and ' ' + self.unit}"
        return text if self.met else f"**{text}**"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault that was made. skipped: why it was not. note: what a reader must know of it."""

    fault: str
    promise: str
    checks: tuple[Check, ...] = ()
    verdict: Verdict | None = None
    skipped: str = ""
    note: str = ""

    @property
    def met(self) -> bool:
        return not self.skipped and all(check.met for check in self.checks)

    @property
    def missed(self) -> list[str]:
        return [check.measured() for check in self.checks if not check.met]

    def as_json(self) -> dict[str, Any]:
        table = dataclasses.asdict(self)
        return {**table, "met": self.met, "checks": [
            {**dataclasses.asdict(check), "met": check.met} for check in self.checks
        ]}  # fmt: skip


def row_from_json(table: dict[str, Any]) -> Row:
    """What `as_json` made."""
    known = {field.name for field in dataclasses.fields(Check)}
    checks = tuple(
        Check(**{name: value for name, value in check.items() if name in known})
        for check in table["checks"]
    )
    verdict = table["verdict"] and Verdict(**table["verdict"])
    rest = {name: table[name] for name in ("fault", "promise", "skipped", "note")}
    return Row(checks=checks, verdict=verdict, **rest)


def seen_checks(verdict: Verdict) -> tuple[Check, ...]:
    """What holds under every fault."""
    checks = [
        Check(figure="gap", value=verdict.gap_most_ms, bar=GAP_MOST_MS, unit="ms"),
        Check(figure="raw", value=verdict.raw, bar=0, how="is"),
        Check(figure="live but too old", value=verdict.stale, bar=0, how="is"),
        Check(figure="of another source", value=verdict.foreign, bar=0, how="is"),
    ]
    return tuple(checks)


def ms(figure: str, value: float, most: float | None) -> Check:
    return Check(figure=figure, value=value, bar=most, unit="ms")


def count(figure: str, value: int, wanted: int) -> Check:
    return Check(figure=figure, value=value, bar=wanted, how="is")


def holds(figure: str, value: bool) -> Check:
    return Check(figure=figure, value=value, bar=True, how="is")


def said(figure: str, value: Any, unit: str = "") -> Check:
    """Without a bar."""
    return Check(figure=figure, value=value, unit=unit)


def told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is done. kills: of the worker, whatever it is doing. outages_s: half-open links.
    messages: malformed ones. crashes: in a row."""

    kills: int = 100
    outages_s: tuple[float, ...] = (6, 17, 60)
    messages: int = 100_000
    crashes: int = 20
    watch_s: float = 6.0


Made = tuple[str, Callable[[], Row]]  # a fault's name, and what makes it
FULL = Scale()
SHORT = Scale(kills=5, outages_s=(6,), messages=5_000, crashes=5, watch_s=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Faults that are made one after the other, most of them in one run of the product. play:
    yields each with what makes it; whoever plays it calls that, and goes on if one fails. faults:
    how those begin that must come, so that one that was never reached is told."""

    name: str
    faults: tuple[str, ...]
    play: Callable[[Path, Scale], Iterator[Made]]
