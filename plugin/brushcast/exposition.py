"""Exposition: figures in Prometheus's text format. What they are is a table (`Metric`) of the one
who has them; nothing is counted here a second time: each scrape reads what is there.

The only file that imports prometheus_client, whose global registry is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client import generate_latest as _as_text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

CONTENT_TYPE = CONTENT_TYPE_LATEST
# What prometheus_client tells of the process itself, on Linux.
PROCESS_METRICS = (
    "brushcast_process_virtual_memory_bytes",
    "brushcast_process_resident_memory_bytes",
    "brushcast_process_start_time_seconds",
    "brushcast_process_cpu_seconds_total",
    "brushcast_process_open_fds",
    "brushcast_process_max_fds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A row of the table. name: in full, with its unit, `_total` for a counter. words: one line of
    help. labels: their names."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    words: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.name.startswith("brushcast_"), self.name
        assert (self.kind == "counter") == self.name.endswith("_total"), self.name


@dataclass(frozen=True, slots=True)
class Spread:
    """A histogram's value: for each bound how many values do not exceed it (rising), their sum and
    their number. In the metric's own unit."""

    up_to: Sequence[tuple[float, int]]
    total: float
    count: int

    @classmethod
    def from_ms(cls, table: dict[str, Any]) -> Spread:
        """From what `metrics.Histogram.spread` told in milliseconds, in seconds."""
        up_to = [(bound / 1000, count) for bound, count in table["up_to"]]
        return cls(up_to, table["sum"] / 1000, table["count"])


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric; labels: the values of its labels, in the table's order."""

    metric: Metric
    value: float | Spread
    labels: tuple[str, ...] = ()


class Exposition:
    """Owned by the thread that answers scrapes."""

    def __init__(self, read: Callable[[], Iterable[Point]]) -> None:
        """read: the figures now; called at each scrape, in its thread."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(read))
        ProcessCollector(namespace="brushcast", registry=self._registry)

    def text(self) -> bytes:
        """What a scrape is answered with, of the type CONTENT_TYPE."""
        return _as_text(self._registry)


class _Collector:
    def __init__(self, read: Callable[[], Iterable[Point]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for point in self._read():
            metric = point.metric
            assert len(point.labels) == len(metric.labels), metric.name
            family = families.setdefault(metric.name, _family(metric))
            labels = list(point.labels)
            if isinstance(family, HistogramMetricFamily):
                assert isinstance(point.value, Spread), metric.name
                buckets = [(f"{bound:g}", count) for bound, count in point.value.up_to]
                buckets.append(("+Inf", point.value.count))
                family.add_metric(labels, buckets, sum_value=point.value.total)
            else:
                assert isinstance(family, GaugeMetricFamily | CounterMetricFamily)
                assert isinstance(point.value, int | float), metric.name
                family.add_metric(labels, point.value)
        yield from families.values()


def _family(metric: Metric) -> Family:
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.words, labels=metric.labels)
    if metric.kind == "counter":
        return CounterMetricFamily(metric.name, metric.words, labels=metric.labels)
    return GaugeMetricFamily(metric.name, metric.words, labels=metric.labels)
