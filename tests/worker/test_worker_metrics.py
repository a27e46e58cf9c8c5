"""The worker's table: what is told of it, and that the document has it."""

from __future__ import annotations

import re
from pathlib import Path

from brushcast.exposition import PROCESS_METRICS, Exposition
from brushcast_worker.gpu_gauge import GpuReading
from brushcast_worker.worker_figures import Published
from brushcast_worker.worker_metrics import TABLE, points
from tests.worker.conftest import Clock
from tests.worker.loop_rig import Rig

METRICS = Path(__file__).resolve().parents[2] / "docs" / "METRICS.md"
INFO = Rig(Clock()).engine.info


def told(published: Published) -> str:
    return Exposition(lambda: points(INFO, published)).text().decode()


def test_everything_that_is_known_is_told() -> None:
    text = told(
        Published(
            streams=2, batches=3, pictures=12, padding=1, reused=4, batch_share=0.5,
            cache_share=0.9, queue_frames=6, rungs={"full": 1, "hold": 1}, memory_bytes=77,
            gpu=GpuReading(share=0.25, used_bytes=5, total_bytes=10),
        )
    )  # fmt: skip
    assert 'brushcast_worker_info{device="cpu",device_name="a fake",engine="fake"} 1.0' in text
    assert 'brushcast_worker_streams_at_rung{rung="hold"} 1.0' in text
    assert "brushcast_worker_pictures_padding_total 1.0" in text
    assert "brushcast_worker_batch_efficiency_ratio 0.5" in text
    assert "brushcast_worker_cache_hit_ratio 0.9" in text
    assert "brushcast_worker_gpu_use_ratio 0.25" in text
    assert "brushcast_worker_gpu_memory_total_bytes 10.0" in text
    assert "brushcast_worker_batch_seconds_count 0.0" in text
    for metric in TABLE:
        assert f"# TYPE {metric.name.removesuffix('_total')}" in text, metric.name


def test_what_is_unknown_is_not_told() -> None:
    text = told(Published())
    assert "gpu" not in text
    assert "_ratio" not in text
    assert list(points(None, Published(streams=1))) == []


def test_the_document_has_every_figure_and_no_other() -> None:
    text = METRICS.read_text("utf-8")
    section = text.partition("## The worker's own figures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(brushcast_\w+)", section, re.M)
    assert sorted(rows) == sorted(metric.name for metric in TABLE)
    assert not set(rows) & set(PROCESS_METRICS)
