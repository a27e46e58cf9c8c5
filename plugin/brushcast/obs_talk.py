"""What is said on one connection to OBS: `turn` is the table of contents. No thread, no clock.

Asked once a second: how OBS fares, and the sound's offset. Told when it changes: what the product
does, as an event for Stream Deck and bots.
"""

from __future__ import annotations

import logging
from typing import Any

from brushcast.errors import ConfigError, ObsRequestError
from brushcast.obs_client import Asker, number, plain_text
from brushcast.obs_pressure import ObsStats, PressureGauge, Tally
from brushcast.obs_sound import SoundKeeper
from brushcast.panel.backend import ObsState, PanelState

log = logging.getLogger(__name__)

ASK_EVERY_NS = 1_000_000_000
RATE_EVERY_NS = 10_000_000_000  # the canvas's rate may be changed while OBS runs
CAMERA_MESSAGE_NS = 60_000_000_000  # so long it is shown why the camera did not start
MOST_FRAMES = 2.0**53
# obs-websocket's RequestStatus: what was asked for is so already.
OUTPUT_RUNNING, OUTPUT_NOT_RUNNING = 500, 501
CAMERA_REMARK = "OBS's virtual camera did not {}: try it in OBS itself once, which says why"


class ObsTalk:
    """Owned by the thread that owns the connection. Every method may raise ObsError: then the
    connection is over."""

    def __init__(self, obs: Asker, *, gauge: PressureGauge, tally: Tally, sound: SoundKeeper):
        self._obs, self._gauge, self._tally, self._sound = obs, gauge, tally, sound
        self._version = plain_text(obs.ask("GetVersion").get("obsVersion"))
        self._period_ms = 0.0
        self._asked_ns: int | None = None
        self._rate_asked_ns: int | None = None
        self._stats: ObsStats | None = None
        self._event: dict[str, Any] | None = None  # the last one
        self._camera_wanted: bool | None = None  # to be looked after
        self._camera_asked_ns = 0
        self._camera_message = self._sound_message = self._sound_warned = ""

    def turn(self, now_ns: int, product: PanelState | None, camera: bool | None) -> ObsState:
        """One turn, at most four a second. product: what it does now; camera: a wish, None for
        none."""
        if camera is not None:
            self._camera_asked_ns = now_ns
            self._switch_camera(camera)
        elif now_ns - self._camera_asked_ns >= CAMERA_MESSAGE_NS:
            self._camera_message = ""
        if product is not None:
            self._tell(event_of(product))
        if self._asked_ns is None or now_ns - self._asked_ns >= ASK_EVERY_NS:
            self._asked_ns = now_ns
            if camera is None:
                self._look_after_camera()
            self._measure(now_ns)
            self._keep_sound(product.worker.delay_ms if product is not None else None, now_ns)
        stats = self._stats
        return ObsState(
            connected=True,
            version=self._version,
            fps=stats.fps if stats else None,
            render_ms=stats.render_ms if stats else None,
            skipped_share=self._gauge.skipped_share,
            message=self._camera_message or self._sound_message,
        )

    def end(self) -> None:
        """The run is over: the sound is the user's again, and whoever listens is told."""
        try:
            self._sound.restore(self._obs)
        except (ConfigError, ObsRequestError) as error:
            log.warning("%s", error)
        if self._event is not None:
            self._tell({**self._event, "state": "STOPPED"})

    # ------------------------------------------------------------------ parts

    def _tell(self, event: dict[str, Any]) -> None:
        if event == self._event:
            return
        self._event = event
        try:
            self._obs.ask("BroadcastCustomEvent", {"eventData": event})
        except ObsRequestError as error:
            log.debug("%s", error)

    def _measure(self, now_ns: int) -> None:
        """How OBS fares. Raises ObsError for figures that are none."""
        if self._rate_asked_ns is None or now_ns - self._rate_asked_ns >= RATE_EVERY_NS:
            self._rate_asked_ns = now_ns
            rate = self._obs.ask("GetVideoSettings")
            numerator = number(rate, "fpsNumerator", 1, 1e9)
            self._period_ms = 1000 * number(rate, "fpsDenominator", 1, 1e9) / numerator
        answer = self._obs.ask("GetStats")
        self._stats = stats = stats_of(answer)
        self._gauge.observe(stats, self._period_ms, now_ns)
        self._tally.observe(stats, now_ns, pressed=self._gauge.pressed(now_ns))

    def _keep_sound(self, delay_ms: float | None, now_ns: int) -> None:
        try:
            message = self._sound.tick(self._obs, delay_ms, now_ns)
        except (ConfigError, ObsRequestError) as error:
            message = str(error)
        # Twice in a row: an OBS that ends has no inputs for a moment.
        if message and message == self._sound_message != self._sound_warned:
            self._sound_warned = message
            log.warning("%s", message)
        self._sound_message = message

    def _switch_camera(self, on: bool) -> None:
        self._camera_message, self._camera_wanted = "", on
        try:
            self._obs.ask("StartVirtualCam" if on else "StopVirtualCam")
        except ObsRequestError as error:
            if error.code != (OUTPUT_RUNNING if on else OUTPUT_NOT_RUNNING):
                self._camera_message, self._camera_wanted = str(error), None

    def _look_after_camera(self) -> None:
        """OBS says yes before it tries."""
        if self._camera_wanted is None:
            return
        wanted, self._camera_wanted = self._camera_wanted, None
        try:
            active = self._obs.ask("GetVirtualCamStatus").get("outputActive")
        except ObsRequestError as error:
            self._camera_message = str(error)
            return
        if active is not wanted:
            self._camera_message = CAMERA_REMARK.format("start" if wanted else "stop")


def event_of(product: PanelState) -> dict[str, Any]:
    """What Stream Deck and bots are told: `BroadcastCustomEvent`'s data."""
    return {
        "source": "brushcast",
        "state": product.state.value,
        "preset": product.look.preset,
        "strength": round(product.look.strength, 3),
        "paused": product.paused,
        "alerts": [alert.name for alert in product.alerts],
    }


def stats_of(answer: Any) -> ObsStats:
    """GetStats, checked. Raises ObsError."""
    return ObsStats(
        fps=number(answer, "activeFps", 0, 1e6),
        render_ms=number(answer, "averageFrameRenderTime", 0, 1e9),
        render_frames=int(number(answer, "renderTotalFrames", 0, MOST_FRAMES)),
        render_skipped=int(number(answer, "renderSkippedFrames", 0, MOST_FRAMES)),
        output_frames=int(number(answer, "outputTotalFrames", 0, MOST_FRAMES)),
        output_skipped=int(number(answer, "outputSkippedFrames", 0, MOST_FRAMES)),
    )
