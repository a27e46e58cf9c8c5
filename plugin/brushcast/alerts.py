"""Alerts: what the user should know, by stated rules. Pure: the clock is an argument.

| alert | begins | is over |
|---|---|---|
| latency | 3 pictures in a row older than the limit when they come on | 30 in a row within 90 % of it, or none for 5 s |
| consistency | the median of 5 samples 20 % below that of the 60 before them | 10 % below, or another look, or after 120 s: then it is normal |
| gpu-busy | GPU above 95 % for 30 s | below 90 % for 10 s |
| gpu-idle | GPU below 30 % for 60 s while live | above 35 % for 10 s, or not live |
| worker | its process or its link is down for 1 s | ready for 2 s |
| worker-failed | it is not started any more | anything else |
| gap | a picture came more than 100 ms after the one before it | 30 s without another |
| source | failed, or no picture for 3 s | pictures for 2 s |
| sink | an output that is switched on has failed | none has |

The limit of a picture's age is `latency_limit_ms`. Every alert has one sentence that says what to
do. Samples of consistency are the compensated SSIM of neighbours (picture_figures.py), one a second.
"""  # noqa: E501

from __future__ import annotations

import collections
import statistics
from dataclasses import dataclass, field
from enum import StrEnum

NS_PER_S = 1_000_000_000

LATE_IN_A_ROW, GOOD_IN_A_ROW, LATE_CLEAR = 3, 30, 0.9
NO_PICTURE_NS = 5 * NS_PER_S
LOCAL_LIMIT_MS, REMOTE_LIMIT_MS = 250.0, 500.0  # design.md, "Promises"; the engine's delay comes on
NEWEST_SAMPLES, BASE_SAMPLES, BASE_LEAST = 5, 60, 15
DROP, DROP_CLEAR = 0.8, 0.9  # of the baseline
NEW_NORMAL_NS = 120 * NS_PER_S
GPU_BUSY, GPU_BUSY_CLEAR, GPU_BUSY_NS = 0.95, 0.90, 30 * NS_PER_S
GPU_IDLE, GPU_IDLE_CLEAR, GPU_IDLE_NS = 0.30, 0.35, 60 * NS_PER_S
GPU_CLEAR_NS = 10 * NS_PER_S
DOWN_NS, UP_NS = 1 * NS_PER_S, 2 * NS_PER_S
GAP_MS, GAP_CLEAR_NS = 100.0, 30 * NS_PER_S
SILENT_NS, HEARD_NS = 3 * NS_PER_S, 2 * NS_PER_S
# Of the worker, as the panel words it; what is not named here is not down.
DOWN_WORDS = frozenset({"reconnecting", "backoff", "stalled", "failed"})
FAILED_WORD = "failed"


class Rule(StrEnum):
    LATENCY = "latency"
    CONSISTENCY = "consistency"
    GPU_BUSY = "gpu-busy"
    GPU_IDLE = "gpu-idle"
    WORKER = "worker"
    WORKER_FAILED = "worker-failed"
    GAP = "gap"
    SOURCE = "source"
    SINK = "sink"


SENTENCES = {
    Rule.LATENCY: "The picture is late: choose fewer steps or a smaller picture, or close what "
    "else uses this machine.",
    Rule.CONSISTENCY: "The picture flickers more than before: lower the strength, or put more "
    "light on the scene.",
    Rule.GPU_BUSY: "The GPU is full: choose fewer steps or a smaller picture, or close what else "
    "uses it.",
    Rule.GPU_IDLE: "The GPU is hardly used: more steps or a larger picture would look better.",
    Rule.WORKER: "The worker is down and is being brought back: nothing to do unless it stays so.",
    Rule.WORKER_FAILED: "The worker has failed: read the cause on the control page, then press "
    "Retry.",
    Rule.GAP: "The output stood still for more than 100 ms: close what else uses the processor.",
    Rule.SOURCE: "The camera gives no pictures: check its cable, and that no other program has it.",
    Rule.SINK: "An output has failed: its reason is under Outputs on the control page.",
}
# Nothing is wrong, but something could be better.
NOTES = frozenset({Rule.GPU_IDLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at everything, once a second or more often.

    live: painted pictures are shown. worker: its state in the panel's words, any. gpu_share: 0..1,
    None where unknown. sample: (its number, compensated SSIM) of the newest pictures; None before
    the first. look: a number that changes with the look. long_gaps: of the output, above 100 ms,
    since the start of its process. frames_in: pictures from the source so far. source_failed: it
    says so. sinks_failed: how many that are switched on. paused: the user asked for the card.
    """

    live: bool
    worker: str
    gpu_share: float | None
    sample: tuple[int, float] | None
    look: int
    long_gaps: int
    frames_in: int
    source_failed: bool
    sinks_failed: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Change:
    """rose: it begins; else it is over."""

    rule: Rule
    rose: bool


@dataclass(slots=True)
class _Latch:
    """On once `bad` held for rise_ns, off once `good` held for fall_ns; between the two as it
    was."""

    rise_ns: int = 0
    fall_ns: int = 0
    on: bool = False
    _since_ns: int | None = None

    def update(self, now_ns: int, *, bad: bool, good: bool) -> None:
        wanted = good if self.on else bad
        if not wanted:
            self._since_ns = None
            return
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns >= (self.fall_ns if self.on else self.rise_ns):
            self.on, self._since_ns = not self.on, None


@dataclass(slots=True)
class _Consistency:
    """The newest samples against those before them."""

    on: bool = False
    _samples: collections.deque[float] = field(
        default_factory=lambda: collections.deque(maxlen=NEWEST_SAMPLES + BASE_SAMPLES)
    )
    _number: int = 0
    _look: int = -1
    _base: float = 0.0  # while on: what it fell from
    _rose_ns: int = 0

    def update(self, now_ns: int, sample: tuple[int, float] | None, look: int) -> None:
        if look != self._look:
            self._look, self.on = look, False
            self._samples.clear()
        if self.on and now_ns - self._rose_ns >= NEW_NORMAL_NS:
            self.on = False
            self._samples.clear()
        if sample is None or sample[0] == self._number:
            return
        self._number = sample[0]
        self._samples.append(sample[1])
        newest = statistics.median(list(self._samples)[-NEWEST_SAMPLES:])
        if self.on:
            self.on = newest < DROP_CLEAR * self._base
            return
        before = list(self._samples)[:-NEWEST_SAMPLES]
        if len(before) >= BASE_LEAST:
            base = statistics.median(before)
            if newest < DROP * base:
                self.on, self._base, self._rose_ns = True, base, now_ns


class Alerts:
    """Owned by the bridge's thread: `picture` for each one that comes on, `observe` regularly."""

    def __init__(self) -> None:
        self._late = self._good = 0  # in a row
        self._picture_ns: int | None = None
        self._latency_on = False
        self._consistency = _Consistency()
        self._gpu_busy = _Latch(GPU_BUSY_NS, GPU_CLEAR_NS)
        self._gpu_idle = _Latch(GPU_IDLE_NS, GPU_CLEAR_NS)
        self._worker = _Latch(DOWN_NS, UP_NS)
        self._failed = _Latch()
        self._long_gaps: int | None = None
        self._gap_ns: int | None = None
        self._frames_in = 0
        self._heard_ns: int | None = None
        self._source = _Latch(0, HEARD_NS)
        self._sink = _Latch()
        self._active: dict[Rule, int] = {}  # since when

    @property
    def active(self) -> dict[Rule, int]:
        """Rule → since when, in ns; the oldest first."""
        return dict(self._active)

    def picture(self, now_ns: int, age_ms: float, limit_ms: float) -> None:
        """A painted picture came on, so old: capture to output."""
        self._picture_ns = now_ns
        self._late = self._late + 1 if age_ms > limit_ms else 0
        self._good = self._good + 1 if age_ms <= LATE_CLEAR * limit_ms else 0
        if self._late >= LATE_IN_A_ROW:
            self._latency_on = True
        elif self._good >= GOOD_IN_A_ROW:
            self._latency_on = False

    def observe(self, now_ns: int, seen: Seen) -> list[Change]:
        """What rose and what is over since the last call."""
        if self._picture_ns is None or now_ns - self._picture_ns > NO_PICTURE_NS:
            self._latency_on, self._late, self._good = False, 0, 0
        self._consistency.update(now_ns, seen.sample, seen.look)
        gpu = seen.gpu_share
        known = gpu is not None
        share = gpu if gpu is not None else 0.0
        self._gpu_busy.update(
            now_ns, bad=known and share > GPU_BUSY, good=not known or share < GPU_BUSY_CLEAR
        )
        if not seen.live:
            self._gpu_idle = _Latch(GPU_IDLE_NS, GPU_CLEAR_NS)
        self._gpu_idle.update(
            now_ns,
            bad=known and seen.live and share < GPU_IDLE,
            good=not known or share > GPU_IDLE_CLEAR,
        )
        down, failed = seen.worker in DOWN_WORDS, seen.worker == FAILED_WORD
        self._failed.update(now_ns, bad=failed, good=not failed)
        self._worker.update(now_ns, bad=down, good=not down)
        self._observe_gaps(now_ns, seen.long_gaps)
        self._observe_source(now_ns, seen)
        self._sink.update(now_ns, bad=seen.sinks_failed > 0, good=seen.sinks_failed == 0)
        return self._changes(now_ns)

    def _observe_gaps(self, now_ns: int, long_gaps: int) -> None:
        # What was there at the first look was on the card: opening outputs takes a moment.
        before, self._long_gaps = self._long_gaps, long_gaps
        if before is not None and long_gaps > before:
            self._gap_ns = now_ns
        elif self._gap_ns is not None and now_ns - self._gap_ns >= GAP_CLEAR_NS:
            self._gap_ns = None

    def _observe_source(self, now_ns: int, seen: Seen) -> None:
        if seen.frames_in != self._frames_in:
            self._frames_in, self._heard_ns = seen.frames_in, now_ns
        # Before the first picture it is being opened, and says itself when that fails.
        silent = self._heard_ns is not None and now_ns - self._heard_ns >= SILENT_NS
        bad = seen.source_failed or (silent and not seen.paused)
        self._source.update(now_ns, bad=bad, good=not bad)

    def _changes(self, now_ns: int) -> list[Change]:
        on = {
            Rule.LATENCY: self._latency_on,
            Rule.CONSISTENCY: self._consistency.on,
            Rule.GPU_BUSY: self._gpu_busy.on,
            Rule.GPU_IDLE: self._gpu_idle.on,
            Rule.WORKER: self._worker.on and not self._failed.on,
            Rule.WORKER_FAILED: self._failed.on,
            Rule.GAP: self._gap_ns is not None,
            Rule.SOURCE: self._source.on,
            Rule.SINK: self._sink.on,
        }
        changes = []
        for rule, is_on in on.items():
            if is_on != (rule in self._active):
                changes.append(Change(rule, is_on))
                if is_on:
                    self._active[rule] = now_ns
                else:
                    del self._active[rule]
        return changes


def latency_limit_ms(
    *, remote: bool, step_ms: float, chunk_frames: int, held_frames: int, source_fps: float
) -> float:
    """How old a picture may be when it comes on: 250 ms with a local worker, 500 ms with a remote
    one, and the engine's own delay: a chunk has to come together, what the engine holds back has to
    be pushed out, and the step takes its time, but no more than a chunk lasts at the source's rate:
    what a worker takes beyond that is lateness. step_ms: of a chunk."""
    chunk, period_ms = max(1, chunk_frames), 1000 / source_fps if source_fps > 0 else 0.0
    own_ms = min(step_ms, chunk * period_ms) + (chunk - 1 + held_frames) * period_ms
    return (REMOTE_LIMIT_MS if remote else LOCAL_LIMIT_MS) + own_ms
