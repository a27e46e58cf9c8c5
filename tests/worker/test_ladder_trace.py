"""Recorded loads, played again."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from brushcast.errors import ConfigError
from brushcast_worker.ladder import APART_NS, HOPELESS_AGE, Outcome, rungs_for
from brushcast_worker.ladder_trace import NS, from_log, main, read_trace, replay, told

TRACES = Path(__file__).parent / "traces"
RECORDED = sorted(TRACES.glob("*.jsonl"))


def line(at_s: float, rung: int = 0, **outcome: object) -> str:
    on = dataclasses.asdict(rungs_for(2)[rung])
    said = dataclasses.asdict(Outcome(**{"age": 0.5, **outcome}))
    return json.dumps({"at_ns": round(at_s * NS), **on, **said})


def test_there_is_a_recorded_overload() -> None:
    assert RECORDED


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_on_a_recorded_overload_nothing_flaps_and_the_answer_comes_within_3_s(path: Path) -> None:
    trace = read_trace(path.read_text().splitlines())
    changes = replay(trace)
    assert changes, "it was an overload"
    down = [change for change in changes if change.after.cost < change.before.cost]
    up = [change for change in changes if change.after.cost > change.before.cost]
    assert down
    assert up, "and there was room again"
    begin_ns = trace[0].at_ns
    late = [s for s in trace[1:] if s.outcome.age > 1 or s.outcome.load > 1.1]
    assert down[0].at_s - (late[0].at_ns - begin_ns) / NS <= 3
    for before, after in pairwise(changes):
        apart_s = after.at_s - before.at_s
        hopeless = after in down and after.outcome.age > HOPELESS_AGE
        assert apart_s >= APART_NS / NS or hopeless
    for first, third in zip(changes, changes[2:], strict=False):
        assert third.at_s - first.at_s >= APART_NS / NS, "three changes in ten seconds"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_rule_of_the_recording_gives_the_rungs_of_the_recording(path: Path) -> None:
    trace = read_trace(path.read_text().splitlines())
    seen = [b.rung.name for a, b in pairwise(trace) if a.rung != b.rung]
    played = [change.after.name for change in replay(trace) if change.after.takes]
    assert played[: len(seen)] == seen


def test_a_chunk_costs_in_proportion_to_the_rung_that_it_is_played_on() -> None:
    """Recorded on the full picture throughout; played, the smaller one is in time."""
    trace = read_trace(line(n * 0.3, age=2.0) for n in range(200))
    changes = replay(trace)
    assert len(changes) == 1
    assert changes[0].after.area < 1


def test_a_log_has_the_trace_among_other_lines() -> None:
    log = ["12:00 INFO x: hello", f"12:00 DEBUG brushcast_worker.session: ladder {line(1)}", ""]
    assert [step.at_ns for step in read_trace(from_log(log))] == [NS]


@pytest.mark.parametrize("wrong", ["[]", "{", '{"at_ns": 1}', line(1)[:-1] + ', "colour": 1}'])
def test_a_line_of_something_else_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match="line 2 is none of a trace"):
        read_trace([line(0), wrong])


def test_people_are_told_every_change() -> None:
    trace = read_trace(line(n * 0.3, age=2.0) for n in range(20))
    lines = list(told(trace, replay(trace)))
    assert lines[0] == "20 chunks in 6 s, 20 of them late where it was recorded"
    assert "full -> " in lines[1]
    assert list(told([], [])) == ["0 chunks in 0 s, 0 of them late where it was recorded"]


def test_the_command(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("\n".join(f"x ladder {line(n * 0.3, age=2.0)}" for n in range(20)))
    trace = CliRunner().invoke(main, [str(log), "--record"]).output
    file = tmp_path / "trace.jsonl"
    file.write_text(trace)
    assert "full -> " in CliRunner().invoke(main, [str(file)]).output
    wrong = CliRunner().invoke(main, [str(log)])
    assert wrong.exit_code == 1
    assert "line 1 is none of a trace" in wrong.output
