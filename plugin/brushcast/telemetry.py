"""Telemetry: what the bridge tells of itself: figures, history, alerts, health. Counts nothing that
the board counts: what it hears it passes on to the board, and reads there.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import brushcast
from brushcast.alerts import (
    GAP_MS,
    NOTES,
    SENTENCES,
    Alerts,
    Rule,
    Seen,
    latency_limit_ms,
)
from brushcast.board import Board
from brushcast.bridge_metrics import Figures, points
from brushcast.desk import Desk
from brushcast.exposition import Point
from brushcast.frame import Pixels
from brushcast.health import Health
from brushcast.history import History, Sample
from brushcast.panel.backend import AlertState, PanelState, PortState, ProductState
from brushcast.picture_probe import PictureProbe
from brushcast.playout import Kind, Playout, Shown
from brushcast.wire.link import ClientLink, StatusReceived
from brushcast.wire.messages import Header

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# The one word of /readyz while no painted picture comes; any other state is said in small letters.
_WHY = {ProductState.OFF: "paused", ProductState.LIVE: "stale", ProductState.HELD: "held"}


class Telemetry:
    """One run of the bridge. Owned by it: `start`, the calls of its thread, `stop`."""

    def __init__(self, board: Board, playout: Playout[Pixels], remote: bool, now_ns: int) -> None:
        """remote: the worker is on another machine."""
        self._board, self._playout, self._remote = board, playout, remote
        self._started_ns = self._reported_ns = now_ns
        self._health = Health(now_ns)
        self._probe = PictureProbe()
        self._alerts = Alerts()
        self._history = History()
        self._second = 0  # of the last sample
        self._last_seq = -1
        self._ages_ms: list[float] = []  # of the pictures that came on in this second
        self._limit_ms = latency_limit_ms(
            remote=remote, step_ms=0, chunk_frames=1, held_frames=0, source_fps=0
        )
        self._look: object = None
        self._look_number = 0
        self._round_trip_ns: int | None = None
        self._dropped = 0  # until the last sample
        self._out = (0, 0.0)  # frames and seconds of the camera process until the last sample
        self._state_s: dict[str, float] = collections.defaultdict(float)
        self._rung_s: dict[str, float] = collections.defaultdict(float)
        self._figures: Figures | None = None

    def start(self) -> None:
        self._probe.start()

    def stop(self) -> None:
        self._probe.stop()

    def turned(self, now_ns: int) -> None:
        """The bridge's loop came round."""
        self._health.turned(now_ns)

    def styled(self, header: Header, now_ns: int, *, reused: bool) -> None:
        """A good result came."""
        self._board.styled(header, now_ns, reused=reused)
        self._health.frame_done(now_ns)

    def status(self, event: StatusReceived, now_ns: int) -> None:
        """The worker says how it fares."""
        self._board.status(event.status, now_ns)
        if event.round_trip_ns:
            self._round_trip_ns = event.round_trip_ns

    def shown(self, shown: Shown[Pixels], now_ns: int) -> None:
        """One tick of the output."""
        self._board.shown(shown, self._playout)
        if shown.kind not in (Kind.LIVE, Kind.HELD) or shown.picture is None:
            self._probe.interrupted()
            return
        # A picture that comes on too old to be called live is held from its first tick.
        if shown.seq == self._last_seq:
            return
        self._last_seq = shown.seq
        age_ms = (now_ns - shown.captured_ns) / NS_PER_MS
        self._ages_ms.append(age_ms)
        self._alerts.picture(now_ns, age_ms, self._limit_ms)
        self._probe.see(shown.picture, self._look_number, now_ns)

    def panel_state(self, link: ClientLink | None, desk: Desk, now_ns: int) -> PanelState:
        """Four times a second: the board's, with the alerts; once a second a sample as well."""
        state = self._board.panel_state(link, desk, now_ns)
        look = (state.look.preset, state.look.prompt, state.look.strength, state.look.seed)
        if look != self._look:
            self._look = look
            self._look_number += 1
        self._health.explain(_WHY.get(state.state, state.state.value.lower()))
        self._follow_limit(state)
        self._pass_time(state, now_ns)
        self._look_for_alerts(state, now_ns)
        self._figures = self._figures_now(state)
        second = (now_ns - self._started_ns) // NS_PER_S
        if second > self._second:
            self._second = second
            self._history.add(self._sample(state, second))
        alerts = tuple(
            AlertState(
                name=rule.value,
                level="note" if rule in NOTES else "warning",
                message=SENTENCES[rule],
                since_s=(since_ns - self._started_ns) // NS_PER_S,
            )
            for rule, since_ns in self._alerts.active.items()
        )
        return dataclasses.replace(state, alerts=alerts)

    # ------------------------------------------------------------------ the panel's thread

    @property
    def health(self) -> Health:
        return self._health

    def points(self) -> Iterator[Point]:
        """Every figure as it was at the last report."""
        figures = self._figures
        return iter(()) if figures is None else points(figures)

    def history(self, after_s: int) -> dict[str, list[Any]]:
        """See `History.since`."""
        return self._history.since(after_s)

    # ------------------------------------------------------------------ parts

    def _follow_limit(self, state: PanelState) -> None:
        status, welcome = self._board.worker_status, self._board.welcome
        self._limit_ms = latency_limit_ms(
            remote=self._remote,
            step_ms=status.step_ms,
            chunk_frames=welcome.chunk_frames if welcome else 1,
            held_frames=status.held_frames,
            source_fps=state.source.fps or 0.0,
        )

    def _pass_time(self, state: PanelState, now_ns: int) -> None:
        seconds = (now_ns - self._reported_ns) / NS_PER_S
        self._reported_ns = now_ns
        self._state_s[state.state.value] += seconds
        if self._board.welcome is not None:
            self._rung_s[self._board.worker_status.rung] += seconds

    def _look_for_alerts(self, state: PanelState, now_ns: int) -> None:
        status, probed = self._board.worker_status, self._probe.probed
        newest = probed.newest
        seen = Seen(
            live=state.state is ProductState.LIVE,
            worker=state.worker.state.value,
            gpu_share=status.gpu_share if status.gpu_share >= 0 else None,
            sample=None if newest is None else (probed.number, newest.compensated_ssim),
            look=self._look_number,
            long_gaps=self._long_gaps(),
            frames_in=self._board.statistics()["frames_in"],
            source_failed=state.source.state is PortState.FAILED,
            sinks_failed=sum(sink.on and sink.state is PortState.FAILED for sink in state.sinks),
            paused=state.paused,
        )
        for change in self._alerts.observe(now_ns, seen):
            if change.rose:
                log.warning("%s: %s", change.rule.value, SENTENCES[change.rule])
            else:
                log.info("%s: over", change.rule.value)

    def _long_gaps(self) -> int:
        """Of the output that has most of them."""
        spreads = self._board.camera.get("spreads", {})
        tables = [spread["gap_ms"] for spread in spreads.values()]
        return max((table["count"] - dict(table["up_to"])[GAP_MS] for table in tables), default=0)

    def _figures_now(self, state: PanelState) -> Figures:
        board, counts, active = self._board, self._playout.counts, self._alerts.active
        round_trip_ns = self._round_trip_ns
        return Figures(
            version=brushcast.__version__,
            remote=self._remote,
            state=state.state.value,
            worker=state.worker.state.value,
            restarts=board.restarts,
            statistics=board.statistics(),
            camera=board.camera,
            playout={"late": counts.late, "skipped": counts.skipped, "overflow": counts.overflow},
            status=board.worker_status,
            welcome=board.welcome,
            obs=state.obs,
            probed=self._probe.probed,
            state_s=dict(self._state_s),
            rung_s=dict(self._rung_s),
            alerts={rule.value: rule in active for rule in Rule},
            round_trip_s=None if round_trip_ns is None else round_trip_ns / NS_PER_S,
            fps_in=state.source.fps or 0.0,
            fps_styled=state.worker.fps or 0.0,
        )

    def _sample(self, state: PanelState, second: int) -> Sample:
        figures = self._figures
        assert figures is not None
        status, newest = figures.status, figures.probed.newest
        ages_ms, self._ages_ms = self._ages_ms, []
        dropped = sum(figures.statistics["dropped"].values()) + sum(figures.playout.values())
        before, self._dropped = self._dropped, dropped
        total = status.gpu_total_bytes
        return Sample(
            at_s=second,
            state=figures.state,
            worker=figures.worker,
            rung=status.rung if figures.welcome is not None else "",
            latency_ms=sum(ages_ms) / len(ages_ms) if ages_ms else None,
            fps_in=figures.fps_in,
            fps_styled=figures.fps_styled,
            fps_out=self._fps_out(),
            gpu_share=status.gpu_share if status.gpu_share >= 0 else None,
            gpu_memory_share=status.gpu_used_bytes / total if total else None,
            dropped=dropped - before,
            ssim=newest.compensated_ssim if newest is not None and ages_ms else None,
            alerts=len(self._alerts.active),
        )

    def _fps_out(self) -> float | None:
        """Since the camera process was heard before; None where it said nothing new."""
        camera = self._board.camera
        frames, seconds = int(camera.get("frames_out", 0)), float(camera.get("seconds", 0.0))
        (frames_before, before_s), self._out = self._out, (frames, seconds)
        if seconds <= before_s or frames < frames_before:
            return None
        return (frames - frames_before) / (seconds - before_s)
