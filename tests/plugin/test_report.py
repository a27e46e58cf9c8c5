"""The report: sums over incarnations, and never half a file."""

import json
from pathlib import Path

import pytest

from brushcast.config import RunConfig
from brushcast.errors import SinkError
from brushcast.frame import Size
from brushcast.report import build_report, check_report_path, write_report

STATS = {
    "bridge": [
        {"frames_in": 10, "styled": 8, "dropped": {"no_credit": 2}, "first_frame_ms": 700.0,
         "engine": "pocket", "reconnects": 1, "link": {"codec": "jpeg", "network_ms": 20.0},
         "restyled_after_ms": [1500.0]},
        {"frames_in": 5, "styled": 4, "reused": 3, "dropped": {"no_credit": 1, "late": 1}},
    ],
    "camera": [{"frames_out": 60, "seconds": 2.0, "gap_ms": {"max": 40.0}}],
}  # fmt: skip


def test_counters_are_summed_and_the_last_measurement_wins() -> None:
    report = build_report(RunConfig(), Size(512, 288), STATS, {"restarts": 1})
    assert report["frames_in"] == 15
    assert report["dropped"] == {"no_credit": 3, "late": 1}
    assert report["fps"] == 30.0
    assert report["styled_fps"] == 6.0
    assert (report["reused"], report["reused_share"]) == (3, 0.25)
    assert report["first_frame_ms"] == 700.0
    assert report["engine"] == "pocket"
    assert report["output_gap_ms"] == {"max": 40.0}
    assert report["worker_restarts"] == 1
    assert report["link"] == {"codec": "jpeg", "network_ms": 20.0}


def test_a_run_that_measured_nothing_still_has_a_report() -> None:
    report = build_report(RunConfig(), Size(512, 288), {"bridge": [{}], "camera": [{}]}, {})
    assert report["fps"] == 0
    assert report["reused_share"] == 0
    json.dumps(report)


def test_an_unwritable_place_is_refused_before_the_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "r.json"):
        with pytest.raises(SinkError, match="wanted a file in a folder"):
            check_report_path(path)


def test_it_is_written_whole(tmp_path: Path) -> None:
    write_report({"a": 1}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    with pytest.raises(SinkError, match="report"):
        write_report({}, tmp_path / "absent" / "r.json")
