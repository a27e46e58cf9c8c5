"""The bridge's figures for Prometheus: the table of what there is, and `points`, which reads it.

docs/METRICS.md says what each means; a test holds the two, the dashboard and the rules together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from brushcast.exposition import Metric, Point, Spread
from brushcast.panel.backend import ObsState
from brushcast.picture_probe import Probed
from brushcast.wire.messages import Welcome, WorkerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that a scrape is answered from, as the bridge saw it last; never changed.

    statistics: as of `Board.statistics`. camera: what the camera process said last. playout:
    styled pictures that were not shown, by reason. state_s, rung_s: seconds in each so far.
    alerts: rule → whether it is on. round_trip_s: of the link; None before the first.
    """

    version: str
    remote: bool
    state: str
    worker: str
    restarts: int
    statistics: Mapping[str, Any]
    camera: Mapping[str, Any]
    playout: Mapping[str, int]
    status: WorkerStatus
    welcome: Welcome | None
    obs: ObsState
    probed: Probed
    state_s: Mapping[str, float]
    rung_s: Mapping[str, float]
    alerts: Mapping[str, bool]
    round_trip_s: float | None
    fps_in: float
    fps_styled: float


def _gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name=f"brushcast_{name}", kind="gauge", words=words, labels=labels)


def _counter(name: str, words: str, *labels: str) -> Metric:
    return Metric(name=f"brushcast_{name}_total", kind="counter", words=words, labels=labels)


def _histogram(name: str, words: str, *labels: str) -> Metric:
    return Metric(name=f"brushcast_{name}", kind="histogram", words=words, labels=labels)


INFO = _gauge("info", "1; who runs here", "version", "engine", "device", "worker")
STATE = _gauge("state", "1 for what the audience sees now", "state")
STATE_S = _counter("state_seconds", "Time in each state", "state")
WORKER = _gauge("worker_state", "1 for where the worker is in its life", "state")
RUNG = _gauge("rung", "1 for the ladder's rung", "rung")
RUNG_S = _counter("rung_seconds", "Time at each rung while a worker is there", "rung")
ALERT = _gauge("alert", "1 while the alert is on", "alert")
FIRST_FRAME = _gauge("first_frame_seconds", "From the bridge's start to the first painted picture")
FRAME = _gauge("frame_seconds", "What one picture costs the worker")
STEP = _gauge("step_seconds", "What a chunk of pictures costs the worker")
DELAY = _gauge("delay_seconds", "From capture to the moment a picture is due")
LATENCY = _histogram("latency_seconds", "From capture to the output", "sink")
GAP = _histogram("output_gap_seconds", "Between two pictures at the output", "sink")
GAP_MAX = _gauge("output_gap_max_seconds", "The longest gap of the worst output so far")
RATE_IN = _gauge("source_frames_per_second", "From the source, over two seconds")
RATE_STYLED = _gauge("styled_frames_per_second", "Painted, over two seconds")
FRAMES_IN = _counter("frames_in", "Pictures from the source")
FRAMES_SENT = _counter("frames_sent", "Pictures sent to the worker")
FRAMES_STYLED = _counter("frames_styled", "Painted pictures that came back")
FRAMES_REUSED = _counter("frames_reused", "Of these, taken from the cache")
FRAMES_OUT = _counter("frames_out", "Output periods that were served")
DROPPED = _counter("frames_dropped", "Pictures given up, by reason", "reason")
SHOWN = _counter("ticks_shown", "Output periods, by what they showed", "kind")
SINK_UP = _gauge("sink_up", "1 while the output is open", "sink")
SINK_FRAMES = _counter("sink_frames", "Pictures written to the output", "sink")
SINK_DROPPED = _counter("sink_frames_dropped", "Pictures that the output was too slow for", "sink")
RECONNECTS = _counter("reconnects", "Connections to a worker that were lost")
RESTARTS = _counter("worker_restarts", "Times the worker's process died")
RECOVERY = _gauge("recovery_seconds", "From the last loss to the first painted picture after it")
ROUND_TRIP = _gauge("link_round_trip_seconds", "A question to the worker and its answer")
SSIM = _gauge("consistency_ssim_ratio", "SSIM of neighbouring output pictures", "compensated")
PSNR = _gauge("consistency_psnr_decibels", "PSNR of neighbouring output pictures", "compensated")
MOTION = _gauge("motion_pixels_per_frame", "Mean motion between neighbouring output pictures")
SMOOTHNESS = _gauge("motion_smoothness_ratio", "1 where everything moves on as it did")
WARP = _gauge("warp_error_ratio", "Mean difference of neighbours, motion taken out")
SHARPNESS = _gauge("sharpness", "Variance of the Laplacian of an output picture")
SAMPLES = _counter("picture_samples", "Looks at the output pictures, one a second")
ARTEFACTS = _counter("picture_artefacts", "Samples with an artefact", "kind")
GPU = _gauge("gpu_use_ratio", "Part of the time in which the GPU has work")
GPU_USED = _gauge("gpu_memory_used_bytes", "Of the GPU, by all its users")
GPU_TOTAL = _gauge("gpu_memory_total_bytes", "Of the GPU")
MEMORY = _gauge("worker_memory_bytes", "In use by the worker: the GPU's, or the process's on a CPU")
BATCH = _gauge("batch_efficiency_ratio", "Pictures per second against the best batch of its shape")
CACHE = _gauge("cache_hit_ratio", "Chunks that met a memory of their scene")
QUEUE = _gauge("worker_queue_frames", "Pictures that wait in the worker")
REFUSED = _counter("worker_refused_frames", "Pictures that the worker refused in this stream")
OBS = _gauge("obs_connected", "1 while OBS's websocket server answers")
OBS_RENDER = _gauge("obs_render_seconds", "What drawing a picture takes OBS")
OBS_RATE = _gauge("obs_frames_per_second", "The rate that OBS reaches")
OBS_SKIPPED = _gauge("obs_skipped_ratio", "Part of the last seconds' frames that OBS skipped")
OBS_PRESSURE = _gauge("obs_pressure", "1 while the worker gives way to OBS")

TABLE: tuple[Metric, ...] = tuple(
    value for value in tuple(globals().values()) if isinstance(value, Metric)
)


def points(figures: Figures) -> Iterator[Point]:
    """What is known now; what is not known has no point."""
    yield from _states(figures)
    yield from _times(figures)
    yield from _counts(figures)
    yield from _outputs(figures.camera)
    yield from _pictures(figures.probed)
    yield from _worker(figures.status, figures.welcome)
    yield from _obs(figures.obs)


def _states(figures: Figures) -> Iterator[Point]:
    welcome = figures.welcome
    about = (welcome.engine, welcome.device_name or welcome.device) if welcome else ("", "")
    yield Point(INFO, 1, (figures.version, *about, "remote" if figures.remote else "local"))
    yield Point(STATE, 1, (figures.state,))
    yield Point(WORKER, 1, (figures.worker,))
    for word, seconds in figures.state_s.items():
        yield Point(STATE_S, seconds, (word,))
    for word, seconds in figures.rung_s.items():
        yield Point(RUNG_S, seconds, (word,))
    if welcome is not None:
        yield Point(RUNG, 1, (figures.status.rung,))
    for name, on in figures.alerts.items():
        yield Point(ALERT, int(on), (name,))


def _times(figures: Figures) -> Iterator[Point]:
    told = figures.statistics
    if told["first_frame_ms"] is not None:
        yield Point(FIRST_FRAME, told["first_frame_ms"] / 1000)
    if told["delay_ms"]:
        yield Point(DELAY, told["delay_ms"] / 1000)
    if told["restyled_after_ms"]:
        yield Point(RECOVERY, told["restyled_after_ms"][-1] / 1000)
    if figures.round_trip_s is not None:
        yield Point(ROUND_TRIP, figures.round_trip_s)
    yield Point(RATE_IN, figures.fps_in)
    yield Point(RATE_STYLED, figures.fps_styled)


def _counts(figures: Figures) -> Iterator[Point]:
    told = figures.statistics
    yield Point(FRAMES_IN, told["frames_in"])
    yield Point(FRAMES_SENT, told["frames_sent"])
    yield Point(FRAMES_STYLED, told["styled"])
    yield Point(FRAMES_REUSED, told["reused"])
    for reason, count in (*told["dropped"].items(), *figures.playout.items()):
        yield Point(DROPPED, count, (reason,))
    for kind, count in told["shown"].items():
        yield Point(SHOWN, count, (kind,))
    yield Point(RECONNECTS, told["reconnects"])
    yield Point(RESTARTS, figures.restarts)


def _outputs(camera: Mapping[str, Any]) -> Iterator[Point]:
    if not camera:
        return
    yield Point(FRAMES_OUT, camera["frames_out"])
    yield Point(GAP_MAX, camera["gap_ms"]["max"] / 1000)
    for sink in camera["sinks"]:
        name = (str(sink["id"]),)
        yield Point(SINK_UP, int(sink["state"] == "LIVE"), name)
        yield Point(SINK_FRAMES, sink["frames"], name)
        yield Point(SINK_DROPPED, sink["dropped"], name)
    for sink_id, spreads in camera["spreads"].items():
        yield Point(GAP, Spread.from_ms(spreads["gap_ms"]), (sink_id,))
        yield Point(LATENCY, Spread.from_ms(spreads["capture_to_sink_ms"]), (sink_id,))


def _pictures(probed: Probed) -> Iterator[Point]:
    yield Point(SAMPLES, probed.number)
    yield Point(ARTEFACTS, probed.blurred, ("blur",))
    yield Point(ARTEFACTS, probed.warped, ("warp",))
    newest = probed.newest
    if newest is None:
        return
    yield Point(SSIM, newest.ssim, ("no",))
    yield Point(SSIM, newest.compensated_ssim, ("yes",))
    yield Point(PSNR, newest.psnr_db, ("no",))
    yield Point(PSNR, newest.compensated_psnr_db, ("yes",))
    yield Point(MOTION, newest.motion_px)
    yield Point(SMOOTHNESS, newest.smoothness)
    yield Point(WARP, newest.warp_error)
    yield Point(SHARPNESS, newest.sharpness)


def _worker(status: WorkerStatus, welcome: Welcome | None) -> Iterator[Point]:
    if welcome is None:
        return
    if status.step_ms:
        yield Point(STEP, status.step_ms / 1000)
        yield Point(FRAME, status.step_ms / 1000 / welcome.chunk_frames)
    shares = ((GPU, status.gpu_share), (BATCH, status.batch_share), (CACHE, status.cache_share))
    for metric, share in shares:
        if share >= 0:
            yield Point(metric, share)
    if status.gpu_total_bytes:
        yield Point(GPU_USED, status.gpu_used_bytes)
        yield Point(GPU_TOTAL, status.gpu_total_bytes)
    yield Point(MEMORY, status.memory_bytes)
    yield Point(QUEUE, status.queue_frames)
    yield Point(REFUSED, status.refused_frames)


def _obs(obs: ObsState) -> Iterator[Point]:
    yield Point(OBS, int(obs.connected))
    yield Point(OBS_PRESSURE, int(obs.pressure))
    if obs.render_ms is not None:
        yield Point(OBS_RENDER, obs.render_ms / 1000)
    if obs.fps is not None:
        yield Point(OBS_RATE, obs.fps)
    if obs.skipped_share is not None:
        yield Point(OBS_SKIPPED, obs.skipped_share)
