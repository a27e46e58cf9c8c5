"""What a scraper reads."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from brushcast.exposition import CONTENT_TYPE, PROCESS_METRICS, Exposition, Metric, Point, Spread
from brushcast.metrics import Histogram

COUNT = Metric(name="brushcast_things_total", kind="counter", words="Things", labels=("kind",))
LEVEL = Metric(name="brushcast_level_ratio", kind="gauge", words="A level")
TIMES = Metric(name="brushcast_wait_seconds", kind="histogram", words="Waits", labels=("who",))


def samples(*points: Point) -> dict[str, float]:
    text = Exposition(lambda: points).text().decode()
    return {
        sample.name + str(dict(sorted(sample.labels.items())) or ""): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_every_kind_is_told() -> None:
    histogram = Histogram()
    for ms in (10, 60, 60, 900):
        histogram.add(ms)
    spread = Spread.from_ms(histogram.spread((20, 100)))
    read = samples(
        Point(COUNT, 3, ("a",)),
        Point(COUNT, 4, ("b",)),
        Point(LEVEL, 0.25),
        Point(TIMES, spread, ("me",)),
    )
    assert read["brushcast_things_total{'kind': 'a'}"] == 3
    assert read["brushcast_things_total{'kind': 'b'}"] == 4
    assert read["brushcast_level_ratio"] == 0.25
    assert read["brushcast_wait_seconds_bucket{'le': '0.02', 'who': 'me'}"] == 1
    assert read["brushcast_wait_seconds_bucket{'le': '0.1', 'who': 'me'}"] == 3
    assert read["brushcast_wait_seconds_bucket{'le': '+Inf', 'who': 'me'}"] == 4
    assert read["brushcast_wait_seconds_count{'who': 'me'}"] == 4
    assert read["brushcast_wait_seconds_sum{'who': 'me'}"] == pytest.approx(1.03)


def test_figures_are_read_at_each_scrape() -> None:
    level = [0.1]
    exposition = Exposition(lambda: [Point(LEVEL, level[0])])
    assert b"brushcast_level_ratio 0.1" in exposition.text()
    level[0] = 0.9
    assert b"brushcast_level_ratio 0.9" in exposition.text()
    assert CONTENT_TYPE.startswith("text/plain")


def test_the_process_tells_of_itself_and_the_global_registry_of_nothing() -> None:
    read = samples()
    assert set(PROCESS_METRICS) == {name for name in read if "process" in name}
    assert b"brushcast" not in prometheus_client.generate_latest()


def test_two_in_one_process_do_not_meet() -> None:
    one, other = Exposition(lambda: [Point(LEVEL, 1)]), Exposition(lambda: [Point(LEVEL, 2)])
    assert b"brushcast_level_ratio 1" in one.text()
    assert b"brushcast_level_ratio 2" in other.text()


def test_labels_from_outside_are_quoted() -> None:
    bad = 'a"\nbrushcast_level_ratio 7'
    read = samples(Point(COUNT, 1, (bad,)))
    assert read[f"brushcast_things_total{ {'kind': bad} }"] == 1
    assert "brushcast_level_ratio" not in read


@pytest.mark.parametrize(("name", "kind"), [("brushcast_x", "counter"), ("x_ratio", "gauge")])
def test_names_keep_to_the_conventions(name: str, kind: str) -> None:
    with pytest.raises(AssertionError):
        Metric(name=name, kind=kind, words="")  # type: ignore[arg-type]
