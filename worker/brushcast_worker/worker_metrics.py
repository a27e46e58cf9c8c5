"""The worker's own figures for Prometheus: `serve --metrics`. The table, and `points`, which reads
what was published last. docs/METRICS.md says what each means."""

from __future__ import annotations

from collections.abc import Iterator

from brushcast.exposition import Metric, Point, Spread
from brushcast_worker.engine import EngineInfo
from brushcast_worker.worker_figures import Published


def _gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name=f"brushcast_worker_{name}", kind="gauge", words=words, labels=labels)


def _counter(name: str, words: str) -> Metric:
    return Metric(name=f"brushcast_worker_{name}_total", kind="counter", words=words)


INFO = _gauge("info", "1; what runs here", "engine", "device", "device_name")
STREAMS = _gauge("streams", "Streams that are open")
RUNGS = _gauge("streams_at_rung", "Streams at each rung of the ladder", "rung")
BATCHES = _counter("batches", "Batches that were computed")
PICTURES = _counter("pictures", "Pictures that were painted")
REUSED = _counter("pictures_reused", "Of these, taken from the cache")
PADDING = _counter("pictures_padding", "Pictures computed only because a chunk must be full")
STEP = Metric(name="brushcast_worker_batch_seconds", kind="histogram", words="What a batch takes")
BATCH = _gauge("batch_efficiency_ratio", "Pictures per second against the best batch of its shape")
CACHE = _gauge("cache_hit_ratio", "Chunks that met a memory of their scene, mean of the streams")
QUEUE = _gauge("queue_pictures", "Pictures that wait, of all streams")
MEMORY = _gauge("memory_used_bytes", "In use by this worker: the GPU's, or the process's on a CPU")
GPU = _gauge("gpu_use_ratio", "Part of the time in which the GPU has work")
GPU_USED = _gauge("gpu_memory_used_bytes", "Of the GPU, by all its users")
GPU_TOTAL = _gauge("gpu_memory_total_bytes", "Of the GPU")

TABLE: tuple[Metric, ...] = tuple(
    value for value in tuple(globals().values()) if isinstance(value, Metric)
)


def points(info: EngineInfo | None, told: Published) -> Iterator[Point]:
    """info: None while the model is being loaded."""
    if info is None:
        return
    yield Point(INFO, 1, (info.name, info.device, info.device_name))
    yield Point(STREAMS, told.streams)
    for rung, streams in told.rungs.items():
        yield Point(RUNGS, streams, (rung,))
    yield Point(BATCHES, told.batches)
    yield Point(PICTURES, told.pictures)
    yield Point(REUSED, told.reused)
    yield Point(PADDING, told.padding)
    yield Point(STEP, Spread.from_ms(told.steps))
    if told.batch_share >= 0:
        yield Point(BATCH, told.batch_share)
    if told.cache_share >= 0:
        yield Point(CACHE, told.cache_share)
    yield Point(QUEUE, told.queue_frames)
    yield Point(MEMORY, told.memory_bytes)
    if told.gpu is not None:
        yield Point(GPU, told.gpu.share)
        yield Point(GPU_USED, told.gpu.used_bytes)
        yield Point(GPU_TOTAL, told.gpu.total_bytes)
