"""A recorded load, played to the ladder: what it would have done. `python -m
brushcast_worker.ladder_trace FILE`.

A trace has a line of JSON for every finished chunk: when (`at_ns`), the rung that the stream stood
on and what the chunk told (`Rung`, `Outcome`). The worker writes such lines into its log at level
DEBUG; `--record LOG` takes one stream's out of a log. Played again, a chunk is made dearer or
cheaper as the rung of now differs from that of then: with the rule that was recorded the same rungs
come out, with another one what may be expected of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from brushcast.errors import BrushcastError, ConfigError
from brushcast_worker.ladder import Ladder, Outcome, Rung

MARK = "ladder {"  # in a log
NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace."""

    at_ns: int
    rung: Rung
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """The ladder's answer: when, in seconds from the trace's begin, from where, to where, why."""

    at_s: float
    before: Rung
    after: Rung
    outcome: Outcome


def read_trace(lines: Iterable[str]) -> list[Step]:
    """Raises ConfigError for a line that is none of a trace."""
    return [_step(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def from_log(lines: Iterable[str]) -> Iterator[str]:
    """The trace in a worker's log."""
    for line in lines:
        at = line.find(MARK)
        if at >= 0:
            yield line[at + len(MARK) - 1 :].strip()


def replay(trace: Sequence[Step]) -> list[Change]:
    """What a ladder of now does under that load. The recorded stream's best rung is its top."""
    steps = max((step.rung.steps for step in trace), default=1)
    ladder = Ladder(steps)
    changes = []
    for step in trace:
        before = ladder.rung
        outcome = _as_if(step, before)
        after = ladder.observe(step.at_ns, outcome) if before.takes else ladder.idle(step.at_ns)
        if after is not None:
            at_s = (step.at_ns - trace[0].at_ns) / NS
            changes.append(Change(at_s, before, after, outcome))
    return changes


def _as_if(step: Step, here: Rung) -> Outcome:
    """That chunk on this rung: its painting costs in proportion, its coming together does not."""
    then, outcome = step.rung, step.outcome
    if here == then or not then.takes or not here.takes:
        return outcome
    work = (outcome.age - outcome.collect) * here.chunk_cost / then.chunk_cost
    slower = here.takes * here.every / (then.takes * then.every)
    return dataclasses.replace(
        outcome,
        age=work + outcome.collect * slower,
        collect=outcome.collect * slower,
        load=outcome.load * here.cost / then.cost,
    )


def _step(number: int, line: str) -> Step:
    rung_names = {field.name for field in dataclasses.fields(Rung)}
    try:
        table: dict[str, Any] = json.loads(line)
        at_ns = int(table.pop("at_ns"))
        rung = Rung(**{name: table.pop(name) for name in rung_names})
        return Step(at_ns, rung, Outcome(**table))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"line {number} is none of a trace: {error}") from None


def told(trace: Sequence[Step], changes: Sequence[Change]) -> Iterator[str]:
    """For people: every change, and what the trace showed."""
    length_s = (trace[-1].at_ns - trace[0].at_ns) / NS if trace else 0.0
    late = sum(step.outcome.age > 1 for step in trace)
    yield f"{len(trace)} chunks in {length_s:.0f} s, {late} of them late where it was recorded"
    for change in changes:
        to, outcome = change.after, change.outcome
        yield (
            f"{change.at_s:7.1f} s  {change.before.name} -> {to.name}: {to.steps} steps, area "
            f"{to.area:.2f}, paints 1 in {to.every}, takes 1 in {to.takes} "
            f"(age {outcome.age:.2f}, load {outcome.load:.2f})"
        )
    gaps = [b.at_s - a.at_s for a, b in zip(changes, changes[1:], strict=False)]
    if gaps:
        yield f"nearest two changes: {min(gaps):.1f} s apart"


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--record", is_flag=True, help="FILE is a worker's log: print the trace in it.")
def main(file: Path, record: bool) -> None:
    """Play a recorded load to the ladder and say what it does."""
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        trace = read_trace(from_log(lines) if record else lines)
    except BrushcastError as error:
        raise click.ClickException(str(error)) from None
    shown = from_log(lines) if record else told(trace, replay(trace))
    for line in shown:
        click.echo(line)


if __name__ == "__main__":
    sys.exit(main())
