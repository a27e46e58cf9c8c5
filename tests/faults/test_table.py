"""What missed its bar says so: in the row, in the table, in the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import __main__ as command
from tests.faults import table
from tests.faults.oracle import Verdict, judge
from tests.faults.rows import Check, Made, Row, Scale, Scene, count, holds, ms, said, seen_checks
from tests.faults.soak import slope
from tests.faults.table import DOCUMENT, faults_table, overall, soak_table, written_into
from tests.faults.test_oracle import seen


def steady() -> Verdict:
    return judge([seen(index) for index in range(1001)])


@pytest.mark.parametrize(
    ("check", "met"),
    [
        (ms("back", 2999.9, 3000), True),
        (ms("back", 3000.1, 3000), False),
        (count("raw", 0, 0), True),
        (count("raw", 1, 0), False),
        (holds("told", False), False),
        (Check(figure="live", value=49.0, bar=50.0, how="at least"), False),
        (said("anything", 1e9), True),
    ],
)
def test_a_bar_is_met_or_missed(check: Check, met: bool) -> None:
    assert check.met is met
    row = Row(fault="f", promise="p", checks=(count("raw", 0, 0), check))
    assert row.met is met
    assert ("**" in check.measured()) is not met
    assert row.as_json()["checks"][1]["met"] is met


@pytest.mark.parametrize(
    "change", [{"gap_most_ms": 100.1}, {"raw": 1}, {"stale": 1}, {"foreign": 1}]
)
def test_what_holds_under_every_fault_is_checked(change: dict[str, float]) -> None:
    good = steady()
    assert all(check.met for check in seen_checks(good))
    bad = replace(good, **change)  # type: ignore[arg-type]
    assert sum(not check.met for check in seen_checks(bad)) == 1


def test_what_was_left_out_is_not_met() -> None:
    row = Row(fault="f", promise="p", skipped="wants root")
    assert not row.met
    assert "left out" in faults_table([row])
    assert "wants root" in faults_table([row])


def test_the_percentile_is_of_all_pictures() -> None:
    slow = replace(steady(), slow=2, gap_most_ms=80.0)
    rows = [
        Row(fault="a", promise="", checks=seen_checks(slow), verdict=slow),
        Row(fault="b", promise="", checks=seen_checks(steady()), verdict=steady()),
    ]
    total = overall(rows)
    assert total.met, "2 of 2000 are a tenth of a percent"
    assert total.verdict is not None
    assert total.verdict.gap_most_ms == 80
    worse = replace(slow, slow=3)
    rows[0] = Row(fault="a", promise="", checks=seen_checks(worse), verdict=worse)
    assert not overall(rows).met
    rows[1] = replace(rows[1], verdict=replace(steady(), raw=1))
    assert "raw 1" in " ".join(check.measured() for check in overall(rows).checks)


def test_the_table_says_which_value_missed() -> None:
    row = Row(
        fault="a | b", promise="p", checks=(ms("noticed", 1500.0, 1000),), verdict=steady(),
        note="because",
    )  # fmt: skip
    line = faults_table([row]).splitlines()[-1]
    assert line.count("|") == 7, "no cell breaks the table"
    assert "**noticed 1500 ms**" in line
    assert "noticed ≤ 1000 ms" in line
    assert "because" in line
    assert "| **no** |" in line


def test_the_table_goes_between_its_markers_alone() -> None:
    text = "head\n<!-- faults -->\nold\n<!-- /faults -->\ntail\n"
    assert written_into(text, "faults", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="soak"):
        written_into(text, "soak", "new")
    for part in ("faults", "soak"):
        written_into(DOCUMENT.read_text(encoding="utf-8"), part, "new")


def test_a_fault_that_breaks_is_red_and_the_next_one_is_made() -> None:
    def fail() -> Row:
        raise AssertionError("waited in vain")

    def play(_: Path, __: Scale) -> Iterator[Made]:
        yield "first", fail
        yield "second", lambda: Row(fault="second", promise="p", checks=(count("raw", 0, 0),))
        raise OSError("the scene itself")

    scene = Scene(name="s", faults=("first", "second", "third"), play=play)
    rows = command.play(scene, Scale())
    met = [(row.fault, row.met) for row in rows]
    assert met == [("first", False), ("second", True), ("third", False)]
    assert "waited in vain" in rows[0].note
    assert "the scene itself" in rows[2].note


@pytest.mark.parametrize("raw", [0, 1])
def test_the_command_fails_with_a_missed_bar_and_writes_everything(
    raw: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = replace(steady(), raw=raw)
    row = Row(fault="one", promise="p", checks=seen_checks(verdict), verdict=verdict)

    def play(_: Path, __: Scale) -> Iterator[Made]:
        yield "one", lambda: row

    document = tmp_path / "RELIABILITY.md"
    document.write_text("<!-- faults -->\n<!-- /faults -->\n")
    monkeypatch.setattr(command, "DOCUMENT", document)
    monkeypatch.setattr(command, "SCENES", (Scene(name="s", faults=("one",), play=play),))
    code = command.main(["--write", "--json", str(tmp_path / "found.json")])
    assert code == raw
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert [row["met"] for row in found["scenes"]["s"]] == [raw == 0]
    assert found["together"]["met"] is (raw == 0)
    assert ("**raw 1**" in document.read_text()) is bool(raw)
    assert ("missed: one" in capsys.readouterr().out) is bool(raw)


def test_some_scenes_anew_leave_the_others_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, gaps_ms = steady(), {"a": 40.0, "b": 60.0}

    def scene(name: str) -> Scene:
        def play(_: Path, __: Scale) -> Iterator[Made]:
            now = replace(verdict, gap_most_ms=gaps_ms[name])
            yield name, lambda: Row(fault=name, promise="p", checks=seen_checks(now), verdict=now)

        return Scene(name=name, faults=(name,), play=play)

    document = tmp_path / "RELIABILITY.md"
    document.write_text("<!-- faults -->\n<!-- /faults -->\n")
    monkeypatch.setattr(command, "DOCUMENT", document)
    monkeypatch.setattr(command, "SCENES", (scene("a"), scene("b")))
    file = ["--write", "--json", str(tmp_path / "found.json")]
    assert command.main([*file, "--only", "a"]) == 0, "the other one is not there yet"
    assert "60 ms" not in document.read_text()
    assert command.main(file) == 0
    before = document.read_text()
    gaps_ms.update(a=45.0, b=65.0)
    assert command.main([*file, "--only", "b"]) == 0
    assert document.read_text() == before.replace("60 ms", "65 ms").replace("| 60,", "| 65,")


def test_every_scene_has_its_faults_by_name() -> None:
    names = [scene.name for scene in command.SCENES]
    assert len(set(names)) == len(names) == 5
    assert sum(len(scene.faults) for scene in command.SCENES) >= 30


def test_a_slope_is_told_with_its_error() -> None:
    hours = [index / 10 for index in range(40)]
    steep, error = slope([3600 * hour for hour in hours], [100 + 2.5 * hour for hour in hours])
    assert steep == pytest.approx(2.5)
    assert error < 1e-6
    noisy = [100 + 2.5 * hour + (-1) ** index for index, hour in enumerate(hours)]
    steep, error = slope([3600 * hour for hour in hours], noisy)
    assert 0.05 < error < 0.5
    assert abs(steep - 2.5) < 3 * error
    assert slope([0, 1], [1, 2]) == (0.0, float("inf"))


def test_the_soaks_table_has_a_line_for_each_figure() -> None:
    row = Row(fault="soak of 60 s", promise="", checks=(count("raw", 0, 0), said("faults", 3)))
    lines = soak_table(row).splitlines()
    assert lines[-2:] == ["| raw | 0 | raw 0 |", "| faults |  | faults 3 |"]
    assert table.DOCUMENT.name == "RELIABILITY.md"
