"""Table: the rows as docs/RELIABILITY.md has them, between markers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.oracle import GAP_P999_MS, Verdict, joined
from tests.faults.rows import Check, Row, count, said

DOCUMENT = Path(__file__).parents[2] / "docs" / "RELIABILITY.md"
SLOW_SHARE = 0.1  # %: the 99.9th percentile is within its bar exactly when no more are above it


def overall(rows: Sequence[Row]) -> Row:
    """All pictures of all faults together: the percentile is of them, a few seconds have none."""
    verdicts = [row.verdict for row in rows if row.verdict is not None]
    if not verdicts:
        return Row(fault="all of them", promise="", skipped="no picture was judged")
    total: Verdict = verdicts[0]
    for verdict in verdicts[1:]:
        total = joined(total, verdict)
    share = 100 * total.slow / total.pictures
    return Row(
        fault="all of them together",
        promise="the gap of all pictures; nothing raw",
        checks=(
            Check(figure=f"gaps above {GAP_P999_MS:.0f} ms", value=share, bar=SLOW_SHARE, unit="%"),
            said("longest gap", total.gap_most_ms, "ms"),
            said("less run queue and host", total.gap_ours_ms, "ms"),
            count("raw", sum(row.verdict.raw for row in rows if row.verdict is not None), 0),
            said("pictures", total.pictures),
            said("stolen by the host", total.stolen_ms, "ms"),
        ),
        verdict=total,
    )


def faults_table(rows: Sequence[Row]) -> str:
    """One line a fault. A measured value in bold missed its bar."""
    lines = [
        _made_on(rows), "",
        "| fault | promise | bar | measured | gap, less run queue and host, ms | met |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        bars = "; ".join(filter(None, (check.wanted() for check in row.checks)))
        values = "; ".join(check.measured() for check in row.checks)
        gap = ""
        if row.verdict is not None:
            gap = f"{row.verdict.gap_most_ms:.0f}, {row.verdict.gap_ours_ms:.0f}"
        met = "left out" if row.skipped else "yes" if row.met else "**no**"
        cells = [row.fault, row.promise, bars, values or row.skipped, gap, met]
        if row.note and not row.met:
            cells[3] += f" ({row.note})"
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def soak_table(row: Row) -> str:
    """One line a figure."""
    lines = [_made_on([row]), "", f"{row.fault}: {row.note}", "",
             "| figure | bar | measured |", "|---|---|---|"]  # fmt: skip
    for check in row.checks:
        cells = [check.figure, check.wanted().removeprefix(check.figure).strip(), check.measured()]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def written_into(text: str, part: str, table: str) -> str:
    """`text` with the table between `<!-- part -->` and `<!-- /part -->`. Raises ValueError
    without them."""
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"wanted one {begin} and one {end}")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{table}\n{end}{tail}"


def _made_on(rows: Sequence[Row]) -> str:
    stolen_ms = sum(row.verdict.stolen_ms for row in rows if row.verdict is not None)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"{day}, {os.cpu_count()} processors, of which the host took {stolen_ms / 1000:.1f} s "
        "in the meantime."
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
