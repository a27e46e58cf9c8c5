"""What the panel asks of the bridge: a snapshot, a picture, a change. Nothing here knows HTTP.

The bridge implements `PanelBackend`; the panel's thread calls it. All values are frozen, so a
snapshot can be handed over without a lock around its reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from brushcast.exposition import Point
from brushcast.frame import Size
from brushcast.health import Health

Which = Literal["before", "after"]


class ProductState(StrEnum):
    """What the audience sees now, in one word."""

    STARTING = "STARTING"  # the card: no styled picture yet
    LIVE = "LIVE"  # styled pictures arrive in time
    HELD = "HELD"  # the last styled picture is held, the worker is still there
    RECONNECTING = "RECONNECTING"  # held or card: the worker is gone and is being brought back
    FAILED = "FAILED"  # the card: someone has to do something
    OFF = "OFF"  # the card: paused by the user


class WorkerPhase(StrEnum):
    """Where the worker is in its life."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DEGRADED = "degraded"  # it paints, but less well or less often than was asked
    STALLED = "stalled"  # it lives, frames flow, and nothing has come back for two seconds
    RECONNECTING = "reconnecting"
    FAILED = "failed"


class PortState(StrEnum):
    """Where a source or a sink is in its life."""

    OFF = "off"
    OPENING = "opening"
    LIVE = "live"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The worker. Figures are None until they have been measured.

    engine, device ("cuda", "cpu"), device_name ("NVIDIA H200"): "" while unknown.
    delay_ms: capture to output; of it network_ms there and back, worker_ms until the result came
    without that, playout_ms until its time. rung: 0 is full quality; rung_name says what was given
    up, in plain words. codec: how pictures go there: raw, jpeg or h264. message: one sentence, ""
    when there is nothing to say.
    """

    state: WorkerPhase
    engine: str = ""
    device: str = ""
    device_name: str = ""
    fps: float | None = None
    delay_ms: float | None = None
    network_ms: float | None = None
    worker_ms: float | None = None
    playout_ms: float | None = None
    codec: str = ""
    rung: int = 0
    rung_name: str = ""
    reconnects: int = 0
    cache_hits: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookState:
    """The look that was asked for last.

    preset: a name. strength: 0..1. steps: 0 = the engine's choice. applied: the worker shows it.
    message: why it does not, or what a wording that names no known look was taken for.
    """

    preset: str
    prompt: str
    strength: float
    seed: int
    steps: int = 0
    applied: bool = True
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetCard:
    """A preset as the panel shows it.

    thumbnail: an address on this server, or "" (the page paints one).
    """

    name: str
    title: str
    prompt: str
    thumbnail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Where pictures come from.

    spec: what was asked for ("file:clip.mkv"). title: what people read.
    """

    spec: str
    title: str
    state: PortState
    size: Size | None = None
    fps: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkState:
    """One output.

    id: `[a-z0-9_-]{1,64}`, stable during a run. kind: "camera", "file", "null" or "preview".

    on: what the user wants; state: what it is. frames: pictures written since it was opened.
    """

    id: str
    title: str
    kind: str
    on: bool
    state: PortState
    message: str = ""
    frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputState:
    """What the sinks are fed with. gap_max_ms: the longest gap between two pictures so far."""

    size: Size
    fps: float
    gap_max_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyState:
    """raw_shown: the untouched camera reaches a sink now (only while the user holds it open)."""

    raw_shown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObsState:
    """OBS on this machine, as its websocket server tells it. Figures are None while unknown.

    version: of OBS. fps: that it reaches. render_ms: what it takes to draw a picture, in the mean.
    skipped_share: of the last seconds' frames, 0 to 1. pressure: OBS cannot keep its own pace, and
    the worker gives way. message: why it is not connected, or what it refused; one sentence or "".
    """

    connected: bool = False
    version: str = ""
    fps: float | None = None
    render_ms: float | None = None
    skipped_share: float | None = None
    pressure: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """Something the user should know (alerts.py). name: of its rule. level: "warning", or "note"
    where nothing is wrong. message: one sentence that says what to do. since_s: since it began."""

    name: str
    level: str
    message: str
    since_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelState:
    """Everything the page shows.

    message: what is happening, one plain sentence. advice: what to do about it, or "".
    badge: painted pictures say "AI". notice: the words on likenesses and labels were not read yet.
    mode: what is preferred, a short delay or a better picture; one of wire.bodies.MODES. alerts:
    the oldest first.
    """

    state: ProductState
    message: str
    worker: WorkerState
    look: LookState
    presets: tuple[PresetCard, ...]
    source: SourceState
    sinks: tuple[SinkState, ...]
    output: OutputState
    version: str
    privacy: PrivacyState = PrivacyState()
    paused: bool = False
    advice: str = ""
    badge: bool = True
    notice: bool = False
    mode: str = "balanced"
    obs: ObsState = ObsState()
    alerts: tuple[AlertState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The newest picture of one side as a JPEG; counter rises with every new picture of it."""

    jpeg: bytes
    counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLook:
    """A new look; None leaves a part as it is. All parts of one change take effect together.

    A preset brings its own prompt, strength and seed; the parts that are given beside it win.
    """

    preset: str | None = None
    prompt: str | None = None
    strength: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSink:
    """Open (on) or close (off) one sink."""

    id: str
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """on: every sink gets the card until it is switched off again."""

    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWorker:
    """Forget the failures and start or reach the worker again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchBadge:
    """on: painted pictures say "AI" in a corner, in every sink."""

    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchMode:
    """Prefer a short delay or a better picture; one of wire.bodies.MODES."""

    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchObsCamera:
    """Start (on) or stop (off) OBS's own virtual camera."""

    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSeen:
    """The words on likenesses and labels were read: never show them again."""


Change = (
    ChangeLook
    | SwitchSink
    | Pause
    | RetryWorker
    | SwitchBadge
    | SwitchMode
    | NoticeSeen
    | SwitchObsCamera
)


class PanelBackend(Protocol):
    """Implemented by the bridge. Called on the panel's thread; must answer in milliseconds."""

    def snapshot(self) -> PanelState:
        """The state now. What an accepted `request` asked for is already in it."""
        ...

    def preview(self, which: Which) -> Preview | None:
        """The newest picture of that side, None while there is none; it may be encoded here.

        "before" is what the source gives, "after" what the sinks get, card and held picture too.
        """
        ...

    def request(self, change: Change) -> None:
        """Record a change; the bridge acts on its own thread. Raises InputError, for the user."""
        ...

    def watchers(self, count: int) -> None:
        """How many clients look at pictures from now on; while there are 0, encode none."""
        ...


class PanelTelemetry(Protocol):
    """How the bridge fares, for machines and charts. Called on the panel's thread."""

    @property
    def health(self) -> Health: ...

    def points(self) -> Iterable[Point]:
        """Every figure now."""
        ...

    def history(self, after_s: int) -> dict[str, list[Any]]:
        """See `History.since`."""
        ...
