"""The table of figures, and everything that names its rows: the document, the dashboard, the
rules. What is read out of them is tested in test_telemetry.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from brushcast.alerts import Rule
from brushcast.bridge_metrics import TABLE
from brushcast.exposition import PROCESS_METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = {metric.name for metric in TABLE}
HISTOGRAMS = {metric.name for metric in TABLE if metric.kind == "histogram"}
PARTS = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}
QUERYABLE = (NAMES - HISTOGRAMS) | PARTS | set(PROCESS_METRICS)
WORD = re.compile(r"brushcast_[a-z0-9_]+")


def test_the_units_are_prometheus_own() -> None:
    for metric in TABLE:
        assert not re.search(r"_(ms|ns|percent|kb|mb|px|fps)(_total)?$", metric.name), metric.name
        assert metric.words
        assert not metric.words.endswith(".")


def test_the_document_has_every_figure_and_no_other() -> None:
    text = (DOCS / "METRICS.md").read_text("utf-8")
    section = text.partition("## The bridge's figures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(brushcast_\w+)", section, re.M)
    assert len(rows) == len(set(rows))
    assert set(rows) == NAMES | set(PROCESS_METRICS)


def test_the_document_has_every_alert() -> None:
    text = (DOCS / "METRICS.md").read_text("utf-8")
    for rule in Rule:
        assert f"| `{rule.value}` |" in text, rule


def queries() -> list[str]:
    board = json.loads((DOCS / "grafana" / "brushcast.json").read_text("utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_what_there_is() -> None:
    asked = {name for query in queries() for name in WORD.findall(query)}
    assert asked <= QUERYABLE, asked - QUERYABLE
    assert len(asked) > 30


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((DOCS / "grafana" / "brushcast.json").read_text("utf-8"))
    assert board["schemaVersion"] >= 39  # Grafana 11's
    (source,) = board["__inputs"]
    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == f"${{{source['name']}}}", panel["title"]
        assert all(target["expr"].strip() for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_labels_that_are_asked_for_are_there(metric: object) -> None:
    labels = set(metric.labels) | {"le", "job", "instance"}  # type: ignore[attr-defined]
    name = metric.name  # type: ignore[attr-defined]
    for query in [*queries(), *rules()]:
        for asked in re.findall(rf"{name}(?:_bucket|_sum|_count)?{{([^}}]*)}}", query):
            assert set(re.findall(r"(\w+)\s*[=!]", asked)) <= labels, query


def rules() -> list[str]:
    text = (DOCS / "grafana" / "alerts.yml").read_text("utf-8")
    return re.findall(r"^\s*expr: (.+)$", text, re.M)


def test_the_rules_ask_for_what_there_is() -> None:
    asked = {name for rule in rules() for name in WORD.findall(rule)}
    assert len(rules()) >= 8
    assert asked <= QUERYABLE, asked - QUERYABLE
