"""Board: what the bridge has seen. Counts for the report, and the state that the panel shows.

Owned by the bridge's thread. The clock is an argument.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Mapping
from typing import Any

import brushcast
from brushcast.config import BridgeConfig
from brushcast.desk import Desk
from brushcast.frame import Pixels, Size
from brushcast.life import Life, Output, after, refined
from brushcast.metrics import Rate
from brushcast.panel.backend import (
    LookState,
    ObsState,
    OutputState,
    PanelState,
    PortState,
    ProductState,
    SinkState,
    SourceState,
    WorkerPhase,
    WorkerState,
)
from brushcast.panel.cards import preset_cards
from brushcast.playout import Kind, Playout, Shown
from brushcast.presets import Preset
from brushcast.source import SourceStatus
from brushcast.wire.link import ClientLink, ClientState, Lost
from brushcast.wire.messages import Header, StreamState, Welcome, WorkerStatus

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
LONG_RUN_RUNGS = 1000  # changes of the ladder that a report keeps

_PHASES = {
    Life.STARTING: WorkerPhase.STARTING,
    Life.LOADING: WorkerPhase.LOADING,
    Life.READY: WorkerPhase.READY,
    Life.DEGRADED: WorkerPhase.DEGRADED,
    Life.STALLED: WorkerPhase.STALLED,
    Life.BACKOFF: WorkerPhase.RECONNECTING,
    Life.FAILED: WorkerPhase.FAILED,
}
_PORTS = {
    "OFF": PortState.OFF,
    "OPENING": PortState.OPENING,
    "LIVE": PortState.LIVE,
    "FAILED": PortState.FAILED,
}


class Board:
    """Counters and the last facts about each part."""

    def __init__(self, config: BridgeConfig, presets: Mapping[str, Preset], now_ns: int) -> None:
        self._config = config
        self._cards = preset_cards(presets.values())
        self._started_ns = now_ns
        self._counts: collections.Counter[str] = collections.Counter()
        self._dropped: collections.Counter[str] = collections.Counter()
        self._shown: collections.Counter[str] = collections.Counter()
        self._rungs: collections.deque[dict[str, Any]] = collections.deque(maxlen=LONG_RUN_RUNGS)
        self._styled_rate, self._source_rate = Rate(), Rate()
        self._kind = Kind.CARD
        self._delay_ms = 0.0
        self._first_frame_ms: float | None = None
        self._lost_ns: int | None = None
        self._restyled_after_ms: list[float] = []
        self._welcome: Welcome | None = None
        self._status = WorkerStatus()
        self._life = Life.READY if config.remote else Life.STARTING
        self._output, self._output_begins = Output(), False
        self._process_message = ""
        self.restarts = 0  # of the worker's process
        self._link_message = ""
        self._look_message = ""
        self._revision, self._model_size = 1, config.model_size
        self._source = SourceStatus(phase="opening", title=config.source)
        self._camera: Mapping[str, Any] = {}
        self._obs, self._obs_report = ObsState(), dict[str, Any]()
        self._link: Mapping[str, Any] = {}
        self._statistics_ns = now_ns

    # ------------------------------------------------------------------ what happened

    def source_said(self, status: SourceStatus, overtaken: int) -> None:
        """overtaken: frames so far that were replaced before the bridge came to take them."""
        self._source = status
        if overtaken:
            self._dropped["overtaken"] = overtaken

    def obs_said(self, state: ObsState, report: dict[str, Any]) -> None:
        """What OBS's websocket server tells, and the figures of the run so far."""
        self._obs, self._obs_report = state, report

    def link_said(self, figures: Mapping[str, Any]) -> None:
        """How pictures go to the worker and back, and what of the delay is whose."""
        self._link = figures

    def source_fps(self, now_ns: int) -> float:
        """Pictures that come from the source in a second."""
        return self._source_rate.per_second(now_ns)

    def frame_in(self, now_ns: int) -> None:
        self._counts["frames_in"] += 1
        self._output.asked(now_ns)
        self._source_rate.add(now_ns)

    def frame_sent(self) -> None:
        self._counts["frames_sent"] += 1

    def dropped(self, reason: str) -> None:
        self._dropped[reason] += 1

    def look_changed(self, revision: int) -> None:
        self._revision, self._look_message = revision, ""

    def went_back(self, state: StreamState, message: str) -> None:
        """The last wish killed the worker: an earlier one counts again."""
        log.warning("back to the look %s, at %dx%d", state.preset, state.width, state.height)
        self.size_changed(Size(state.width, state.height))
        self.look_changed(state.revision)
        self._look_message = message

    def presets_changed(self, presets: Mapping[str, Preset]) -> None:
        """There are others to choose from."""
        self._cards = preset_cards(presets.values())

    def size_changed(self, size: Size) -> None:
        """The worker is asked for pictures of this size from now on."""
        self._model_size = size

    @property
    def process_ready(self) -> bool:
        """The worker's process said that it is ready (of a remote one nothing is known)."""
        return self._life.serves and not self._config.remote

    def worker_said(self, message: Mapping[str, Any]) -> None:
        """What the supervisor knows of the worker's process."""
        self._life = refined(self._life, Life(message["state"]))
        self._process_message = str(message.get("message") or "")
        self.restarts = int(message.get("restarts", 0))
        self._output_begins = self._output_begins or not self._life.serves
        if self._life in (Life.BACKOFF, Life.FAILED):
            self._status = WorkerStatus()

    def camera_said(self, stats: Mapping[str, Any]) -> None:
        """What the camera process says of its sinks."""
        self._camera = stats

    def connected(self, welcome: Welcome) -> None:
        self._welcome = welcome
        self._link_message = ""

    def judge(self, now_ns: int, *, paused: bool) -> None:
        """What the pictures say of the worker; called some times a second. paused: nobody wants
        any."""
        if paused or self._output_begins or not self._life.serves:
            self._output.begins(now_ns)
            self._output_begins = False
            return
        happening = self._output.verdict(
            now_ns, full_quality=self._status.rung == "full", rate_fps=self._config.rate_fps
        )
        if happening is not None and (life := after(self._life, happening)) is not self._life:
            log.info("the worker is %s: its output %s", life, happening)
            self._life = life

    def lost(self, event: Lost, now_ns: int) -> None:
        if event.was_ready:
            self._counts["reconnects"] += 1
            self._dropped["lost_with_worker"] += len(event.seqs)
            self._lost_ns = now_ns
        self._link_message = event.reason

    def refused(self, message: str) -> None:
        self._link_message = message

    def faulted(self, message: str) -> None:
        """The worker says something of what was asked: that it goes on without it, or what it took
        an unknown wording for."""
        self._look_message = message

    def status(self, status: WorkerStatus, now_ns: int) -> None:
        if not self._rungs or self._rungs[-1]["rung"] != status.rung:
            seconds = (now_ns - self._started_ns) / NS_PER_S
            self._rungs.append({"at_s": round(seconds, 1), "rung": status.rung})
        self._status = status

    def styled(self, header: Header, now_ns: int, *, reused: bool) -> None:
        """A good result came."""
        self._counts["styled"] += 1
        self._counts["reused"] += reused
        self._styled_rate.add(now_ns)
        self._output.painted(now_ns)
        if self._first_frame_ms is None:
            self._first_frame_ms = (now_ns - self._started_ns) / NS_PER_MS
        if self._lost_ns is not None:
            self._restyled_after_ms.append((now_ns - self._lost_ns) / NS_PER_MS)
            self._lost_ns = None

    def shown(self, shown: Shown[Pixels], playout: Playout[Pixels]) -> None:
        """One tick of the output."""
        self._kind = shown.kind
        self._delay_ms = playout.delay_ns / NS_PER_MS
        self._shown[shown.kind.name.lower()] += 1

    # ------------------------------------------------------------------ facts, for the telemetry

    @property
    def welcome(self) -> Welcome | None:
        """The worker that was connected last."""
        return self._welcome

    @property
    def worker_status(self) -> WorkerStatus:
        return self._status

    @property
    def camera(self) -> Mapping[str, Any]:
        """What the camera process said last; empty before."""
        return self._camera

    # ------------------------------------------------------------------ what is said of it

    def second_passed(self, now_ns: int) -> bool:
        """True once a second."""
        if now_ns - self._statistics_ns < NS_PER_S:
            return False
        self._statistics_ns = now_ns
        return True

    def statistics(self) -> dict[str, Any]:
        """For the supervisor and its report."""
        welcome = self._welcome
        return {
            "live": self._kind is Kind.LIVE,
            "source": self._source.title,
            "engine": welcome.engine if welcome else None,
            "device": welcome.device_name or welcome.device if welcome else None,
            "attention": welcome.attention if welcome else None,
            "model_size": str(self._model_size),
            "frames_in": self._counts["frames_in"],
            "frames_sent": self._counts["frames_sent"],
            "styled": self._counts["styled"],
            "reused": self._counts["reused"],
            "dropped": dict(self._dropped),
            "shown": dict(self._shown),
            "first_frame_ms": self._first_frame_ms,
            "delay_ms": round(self._delay_ms, 1),
            "link": dict(self._link),
            "rungs": list(self._rungs),
            "reconnects": self._counts["reconnects"],
            "obs": self._obs_report or None,
            "restyled_after_ms": [round(ms) for ms in self._restyled_after_ms],
        }

    def panel_state(self, link: ClientLink | None, desk: Desk, now_ns: int) -> PanelState:
        """Everything that the panel shows."""
        state, message, advice = self._product_state(link, paused=desk.paused)
        acknowledged = link.acknowledged_revision if link is not None else None
        look = desk.look
        return PanelState(
            state=state,
            message=message,
            advice=advice,
            worker=self._worker_state(link, now_ns),
            look=LookState(
                preset=look.name,
                prompt=look.prompt,
                strength=look.strength,
                seed=look.seed,
                steps=self._config.steps,
                applied=acknowledged is not None and acknowledged >= self._revision,
                message=self._look_message,
            ),
            presets=self._cards,
            source=self._source_state(now_ns),
            sinks=self._sink_states(),
            output=OutputState(
                size=self._config.output_size,
                fps=float(self._camera.get("fps", 0.0)),
                gap_max_ms=(self._camera.get("gap_ms") or {}).get("max"),
            ),
            version=brushcast.__version__,
            paused=desk.paused,
            obs=self._obs,
        )

    def _product_state(
        self, link: ClientLink | None, *, paused: bool
    ) -> tuple[ProductState, str, str]:
        """(state, what is happening, what to do)."""
        if paused:
            return ProductState.OFF, "Paused: everyone sees the card.", ""
        if self._life is Life.FAILED:
            cause = self._process_message or "unknown"
            return ProductState.FAILED, f"The worker keeps failing: {cause}", "Press Retry."
        if link is not None and link.state is ClientState.REFUSED:
            return ProductState.FAILED, link.refusal, "Then press Retry."
        if self._kind is Kind.LIVE:
            return ProductState.LIVE, "Live.", ""
        if link is not None and link.ready:
            if self._kind is Kind.CARD:
                message = "Waiting for the first painted picture."
                return ProductState.STARTING, message, self._source.message
            return ProductState.HELD, "The last picture is held.", self._source.message
        if link is None or not link.connections:
            where = "Connecting to the worker." if self._config.remote else "Loading the model."
            return ProductState.STARTING, where, self._link_message if self._config.remote else ""
        return ProductState.RECONNECTING, "The worker is gone and is being brought back.", ""

    def _worker_state(self, link: ClientLink | None, now_ns: int) -> WorkerState:
        phase = _PHASES[self._life]
        if self._life.serves and (link is None or not link.ready):
            reconnecting = link is not None and link.connections
            phase = WorkerPhase.RECONNECTING if reconnecting else WorkerPhase.LOADING
        welcome = self._welcome
        rung = self._status.rung
        return WorkerState(
            state=phase,
            engine=welcome.engine if welcome else "",
            device=welcome.device if welcome else "",
            device_name=welcome.device_name if welcome else "",
            fps=round(self._styled_rate.per_second(now_ns), 1) if welcome else None,
            delay_ms=round(self._delay_ms) if self._kind is Kind.LIVE else None,
            network_ms=self._link.get("network_ms") if self._kind is Kind.LIVE else None,
            worker_ms=self._link.get("worker_ms") if self._kind is Kind.LIVE else None,
            playout_ms=self._link.get("playout_ms") if self._kind is Kind.LIVE else None,
            codec=str(self._link.get("codec", "")),
            rung=0 if rung == "full" else 1,
            rung_name="" if rung == "full" else rung,
            reconnects=self._counts["reconnects"],
            cache_hits=self._status.cache_hits,
            message=self._process_message or self._link_message,
        )

    def _source_state(self, now_ns: int) -> SourceState:
        phases = {"opening": PortState.OPENING, "live": PortState.LIVE, "failed": PortState.FAILED}
        return SourceState(
            spec=self._config.source,
            title=self._source.title,
            state=phases[self._source.phase],
            size=self._source.size,
            fps=round(self._source_rate.per_second(now_ns), 1) or None,
            message=self._source.message,
        )

    def _sink_states(self) -> tuple[SinkState, ...]:
        return tuple(
            SinkState(
                id=str(sink["id"]),
                title=str(sink.get("title", sink["id"])),
                kind=str(sink.get("kind", "")),
                on=bool(sink.get("on", True)),
                state=_PORTS.get(str(sink.get("state", "OPENING")), PortState.OPENING),
                message=str(sink.get("message", "")),
                frames=int(sink.get("frames", 0)),
            )
            for sink in self._camera.get("sinks", ())
        )
