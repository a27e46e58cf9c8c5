"""The oracle: gaps, ages, leaks and recoveries, on logs that are made up."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from brushcast.playout import Kind
from tests.faults.oracle import (
    Log,
    Seen,
    Steps,
    age_ms,
    joined,
    judge,
    live_again_ns,
    percentile,
)

MS = 1_000_000
PERIOD_NS = 33_333_333


def seen(index: int, **changes: object) -> Seen:
    """Picture `index` of a steady, live output; its source picture is 200 ms older."""
    at_ns = 10**12 + index * PERIOD_NS
    values = {
        "at_ns": at_ns, "process": 1, "tick": index, "kind": Kind.LIVE, "badge": True,
        "captured_ns": at_ns - 200 * MS, "leak": 0.0, "number": index, "contrast": 40.0,
        "waited_ns": 0, "stolen_s": 0.0,
    }  # fmt: skip
    return Seen(**{**values, **changes})  # type: ignore[arg-type]


def test_a_steady_output_has_nothing_wrong() -> None:
    verdict = judge([seen(index) for index in range(101)], live_most_ms=lambda _: 250)
    assert verdict.pictures == 100
    assert verdict.gap_most_ms == pytest.approx(33.3, abs=0.1)
    assert (verdict.raw, verdict.stale, verdict.slow, verdict.blank) == (0, 0, 0, 0)
    assert verdict.shown == {"live": 100}
    assert verdict.live_age_ms == pytest.approx(200)


def test_a_gap_is_told_with_and_without_what_others_took() -> None:
    log = [seen(0), seen(1), seen(6, waited_ns=40 * MS, stolen_s=0.05)]
    verdict = judge(log)
    assert verdict.gap_most_ms == pytest.approx(166.7, abs=0.1)
    assert verdict.gap_ours_ms == pytest.approx(76.7, abs=0.1)
    assert verdict.slow == 1
    assert verdict.waited_ms == pytest.approx(40)
    other_process = [seen(0), seen(6, process=2, waited_ns=500 * MS)]
    assert judge(other_process).gap_ours_ms == pytest.approx(200, abs=0.1)


def test_the_first_picture_is_only_where_the_first_gap_begins() -> None:
    verdict = judge([seen(0, leak=1.0, contrast=0.0), seen(1)])
    assert (verdict.raw, verdict.blank, verdict.pictures) == (0, 0, 1)


def test_every_leak_and_every_blank_picture_counts_whatever_it_is_called() -> None:
    log = [seen(0)] + [
        seen(n, kind=kind, leak=0.7, contrast=1.0) for n, kind in enumerate(Kind, start=1)
    ]
    verdict = judge(log)
    assert (verdict.raw, verdict.blank, verdict.leak) == (4, 4, 0.7)
    assert judge(log, leak_most=0.8).raw == 0


def test_age_is_read_from_the_picture_where_it_tells() -> None:
    made = {7: 10**12}
    late = seen(30, number=7, captured_ns=10**12 + 29 * PERIOD_NS)
    assert age_ms(late, made.get) == pytest.approx(1000, abs=1)
    assert age_ms(late) == pytest.approx(33.3, abs=1), "the product's word"
    assert age_ms(seen(30, number=8), made.get) is None
    assert age_ms(seen(30, number=None), made.get) == pytest.approx(200)
    assert age_ms(seen(30, kind=Kind.HELD)) is None
    verdict = judge([seen(29), late, seen(31, number=999)], made_ns=made.get,
                    live_most_ms=lambda one: 500)  # fmt: skip
    assert (verdict.stale, verdict.foreign, verdict.unread) == (1, 1, 0)
    assert judge([seen(29), late], made_ns=made.get, live_most_ms=lambda _: 1100).stale == 0


def test_back_is_what_was_captured_after_the_fault() -> None:
    since_ns = 10**12 + 10 * PERIOD_NS
    log = [seen(index) for index in range(20)]
    back_ns = live_again_ns(log, since_ns)
    assert back_ns is not None
    assert back_ns >= since_ns + 200 * MS
    assert live_again_ns(log[:15], since_ns) is None
    assert live_again_ns([seen(19, kind=Kind.HELD)], since_ns) is None


def test_two_stretches_are_as_bad_as_the_worse() -> None:
    good = judge([seen(index) for index in range(10)])
    bad = judge([seen(0), seen(9, leak=0.9)])
    for both in (joined(good, bad), joined(bad, good)):
        assert both.gap_most_ms == bad.gap_most_ms
        assert (both.raw, both.pictures, both.leak) == (1, 10, 0.9)
        assert both.shown == {"live": 10}


def test_the_log_is_read_as_it_grows_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(path)
    assert log.new() == []
    lines = [json.dumps(asdict(seen(index))) for index in range(3)]
    path.write_text(lines[0] + "\n" + lines[1][:20])
    assert log.new() == [seen(0)]
    assert log.new() == []
    path.write_text("\n".join(lines) + "\n")
    assert log.new() == [seen(1), seen(2)]


def test_the_engines_own_delay_is_of_its_slowest_recent_step(tmp_path: Path) -> None:
    path, collects = tmp_path / "steps", tmp_path / "collects"
    steps = Steps(path, collects, chunk_frames=4, rate_fps=30)
    assert steps.own_delay_ms(0) == pytest.approx(100), "collecting alone"
    path.write_text(f"{10 * 10**9} 80.0\n{11 * 10**9} 240.0\n{20 * 10**9} 90.0\n")
    steps.read()
    assert steps.own_delay_ms(10 * 10**9) == pytest.approx(180)
    assert steps.own_delay_ms(12 * 10**9) == pytest.approx(3 * 60 + 240)
    assert steps.own_delay_ms(21 * 10**9) == pytest.approx(190)
    assert steps.own_delay_ms(15 * 10**9) == pytest.approx(420), (
        "the last one, where there was none"
    )
    assert steps.own_delay_ms(9 * 10**9) == pytest.approx(100), "none at all"


def test_interpolated_pictures_are_collected_too(tmp_path: Path) -> None:
    path, collects = tmp_path / "steps", tmp_path / "collects"
    steps = Steps(path, collects, chunk_frames=4, rate_fps=30)
    path.write_text(f"{10 * 10**9} 90.0\n")
    collects.write_text(f"{20 * 10**9} 8\n{30 * 10**9} 4\n")
    steps.read()
    for at_s, chunk_frames in ((19, 4), (20, 8), (25, 8), (31, 8), (33, 4)):
        own_ms = (chunk_frames - 1) * 1000 / 30 + 90
        assert steps.own_delay_ms(at_s * 10**9) == pytest.approx(own_ms), at_s


def test_percentiles_are_exact() -> None:
    values = [float(value) for value in range(1, 1001)]
    assert percentile(values, 99.9) == 999
    assert percentile(values, 100) == 1000
    assert percentile([], 50) == 0
    assert not math.isnan(percentile([5.0], 1))
