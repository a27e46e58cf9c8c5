"""Whether OBS keeps its own pace: its figures, read once a second, and what follows. Pure.

Pressure begins when a picture takes OBS most of a frame's time to draw, or when it skips more than
one frame in a hundred; it ends after ten calm seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

BUSY_SHARE = 0.8  # of a frame's period, for drawing
SKIPPED_SHARE = 0.01  # of the frames of the last seconds
WINDOW_NS = 5_000_000_000  # "the last seconds"
WINDOW_FRAMES = 100  # at least: so that one skipped frame alone is no pressure, at any rate
CALM_NS = 10_000_000_000
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ObsStats:
    """GetStats: the rate that OBS reaches, the mean time it takes to draw a picture, and counters
    since it started (output: of what is recorded, streamed or shown by its camera)."""

    fps: float
    render_ms: float
    render_frames: int
    render_skipped: int
    output_frames: int
    output_skipped: int


class PressureGauge:
    """Owned by one thread; told of every reading."""

    def __init__(self) -> None:
        self._window: deque[tuple[int, ObsStats]] = deque()
        self._hot_ns: int | None = None

    def observe(self, stats: ObsStats, period_ms: float, now_ns: int) -> None:
        """period_ms: of a frame, as set in OBS (what it reaches gets longer under load)."""
        if self._window and _runs_backwards(self._window[-1][1], stats):
            self._window.clear()  # its counters began anew
        self._window.append((now_ns, stats))
        while len(self._window) > 2 and self._is_enough(self._window[1], stats, now_ns):
            self._window.popleft()
        share = self.skipped_share
        if stats.render_ms > BUSY_SHARE * period_ms or (share or 0.0) > SKIPPED_SHARE:
            self._hot_ns = now_ns

    def forget(self) -> None:
        """Another OBS, or another connection: its counters say nothing of the old ones. Pressure
        goes on until ten calm seconds are over."""
        self._window.clear()

    def pressed(self, now_ns: int) -> bool:
        return self._hot_ns is not None and now_ns - self._hot_ns < CALM_NS

    @property
    def skipped_share(self) -> float | None:
        """Of the last seconds' frames, 0 to 1: the larger of what was not drawn in time and what an
        output left out. None while too few frames were seen."""
        if not self._window:
            return None
        first, last = self._window[0][1], self._window[-1][1]
        shares = [
            min(skipped / frames, 1.0)
            for skipped, frames in (
                (
                    last.render_skipped - first.render_skipped,
                    last.render_frames - first.render_frames,
                ),
                (
                    last.output_skipped - first.output_skipped,
                    last.output_frames - first.output_frames,
                ),
            )
            if frames >= WINDOW_FRAMES
        ]
        return max(shares, default=None)

    @staticmethod
    def _is_enough(since: tuple[int, ObsStats], stats: ObsStats, now_ns: int) -> bool:
        """Whether the window could begin here."""
        frames = stats.render_frames - since[1].render_frames
        return now_ns - since[0] >= WINDOW_NS and frames >= WINDOW_FRAMES


class Tally:
    """OBS over a whole run, for its report."""

    def __init__(self) -> None:
        self._readings = 0
        self._render_ms_sum = self._render_ms_max = 0.0
        self._last: ObsStats | None = None
        self._sums = [0, 0, 0, 0]  # frames drawn, of those late, frames out, of those skipped
        self._pressed_ns = 0
        self._seen_ns: int | None = None

    def observe(self, stats: ObsStats, now_ns: int, *, pressed: bool) -> None:
        self._readings += 1
        self._render_ms_sum += stats.render_ms
        self._render_ms_max = max(self._render_ms_max, stats.render_ms)
        if self._last is not None and not _runs_backwards(self._last, stats):
            differences = zip(_counters(stats), _counters(self._last), strict=True)
            self._sums = [
                total + new - old for total, (new, old) in zip(self._sums, differences, strict=True)
            ]
        self._last = stats
        if pressed and self._seen_ns is not None:
            self._pressed_ns += now_ns - self._seen_ns
        self._seen_ns = now_ns

    def forget(self) -> None:
        """As for the gauge."""
        self._last = self._seen_ns = None

    def report(self) -> dict[str, float | int | None]:
        """Figures of the time in which OBS was asked. `readings`: one a second."""
        drawn, late, out, skipped = self._sums
        mean_ms = self._render_ms_sum / self._readings if self._readings else None
        return {
            "readings": self._readings,
            "render_ms": round(mean_ms, 2) if mean_ms is not None else None,
            "render_ms_max": round(self._render_ms_max, 2) if self._readings else None,
            "render_frames": drawn,
            "render_skipped": late,
            "output_frames": out,
            "output_skipped": skipped,
            "pressure_s": round(self._pressed_ns / NS_PER_S, 1),
        }


def _counters(stats: ObsStats) -> tuple[int, int, int, int]:
    return stats.render_frames, stats.render_skipped, stats.output_frames, stats.output_skipped


def _runs_backwards(before: ObsStats, after: ObsStats) -> bool:
    return any(new < old for new, old in zip(_counters(after), _counters(before), strict=True))
