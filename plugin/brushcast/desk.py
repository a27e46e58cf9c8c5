"""Desk: where the panel's wishes and the bridge's facts meet. The one object that both their
threads touch.

The look, the pause and the switches live here, so that a wish is visible the moment it is
accepted; the bridge takes the changes and posts what it sees.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

import cv2
import numpy as np

from brushcast.badge import DEFAULT_CORNER, Corner, rgb_patch
from brushcast.errors import InputError
from brushcast.frame import Pixels, Size, fit
from brushcast.panel.backend import (
    Change,
    ChangeLook,
    LookState,
    NoticeSeen,
    PanelState,
    Pause,
    Preview,
    RetryWorker,
    SwitchBadge,
    SwitchMode,
    SwitchObsCamera,
    SwitchSink,
    Which,
)
from brushcast.presets import Preset, find_preset

PREVIEW = Size(640, 360)
PREVIEW_QUALITY = 82


class Desk:
    """Implements `panel.backend.PanelBackend` for the panel's thread; the rest is the bridge's."""

    def __init__(
        self,
        presets: Mapping[str, Preset],
        look: Preset,
        *,
        badge: bool = True,
        corner: Corner = DEFAULT_CORNER,
        notice: bool = False,
        mode: str = "balanced",
    ) -> None:
        """badge, corner: whether and where painted pictures say "AI". notice: it is due. mode:
        as in StreamState."""
        self._patch = rgb_patch(PREVIEW, corner)
        self._badge, self._notice, self._mode = badge, notice, mode
        self._presets = dict(presets)
        self._lock = threading.Lock()
        self._look = look
        self._paused = False
        self._changes: list[Change] = []
        self._state: PanelState | None = None
        self._pictures: dict[Which, tuple[Pixels, int, bool]] = {}  # with counter, painted
        self._encoded: dict[Which, tuple[Preview, bool]] = {}  # with badge
        self._watchers = 0

    # ------------------------------------------------------------------ the bridge's side

    @property
    def look(self) -> Preset:
        """The look that was asked for last."""
        with self._lock:
            return self._look

    @property
    def paused(self) -> bool:
        with self._lock:
            return self._paused

    @property
    def watched(self) -> bool:
        """Whether anybody looks at the previews."""
        with self._lock:
            return self._watchers > 0

    def take_changes(self) -> list[Change]:
        """What was asked since the last call, in order."""
        with self._lock:
            changes, self._changes = self._changes, []
            return changes

    def presets_changed(self, presets: Mapping[str, Preset]) -> None:
        """What may be asked for from now on; the look that was asked for stays as it is."""
        with self._lock:
            self._presets = dict(presets)

    def go_back(self, look: Preset) -> None:
        """The wish that counts again; one that was made in the meantime is newer, and stays."""
        with self._lock:
            if not any(isinstance(change, ChangeLook) for change in self._changes):
                self._look = look

    def post(self, state: PanelState) -> None:
        """What the bridge sees now."""
        with self._lock:
            self._state = state

    def show(
        self, which: Which, pixels_HWC: Pixels, counter: int, *, painted: bool = False
    ) -> None:
        """The newest picture of one side; nothing is encoded until somebody asks. painted: by a
        model, so that it gets the badge.
        """
        with self._lock:
            self._pictures[which] = (pixels_HWC, counter, painted)

    # ------------------------------------------------------------------ the panel's side

    def snapshot(self) -> PanelState:
        """The facts that were posted last, with the wishes that were accepted since."""
        with self._lock:
            assert self._state is not None, "the bridge posts before it starts the panel"
            look = self._look
            applied = self._state.look.applied and not any(
                isinstance(change, ChangeLook) for change in self._changes
            )
            return dataclasses.replace(
                self._state,
                paused=self._paused,
                badge=self._badge,
                notice=self._notice,
                mode=self._mode,
                look=LookState(
                    preset=look.name,
                    prompt=look.prompt,
                    strength=look.strength,
                    seed=look.seed,
                    steps=self._state.look.steps,
                    applied=applied,
                    message=self._state.look.message,
                ),
            )

    def preview(self, which: Which) -> Preview | None:
        """The newest picture of that side as a JPEG of at most 640x360."""
        with self._lock:
            newest = self._pictures.get(which)
            last = self._encoded.get(which)
            badge = self._badge
        if newest is None:
            return None
        pixels_HWC, counter, painted = newest
        badge = badge and painted
        if last is not None and (last[0].counter, last[1]) == (counter, badge):
            return last[0]
        pixels_HWC = fit(pixels_HWC, PREVIEW)
        if badge and self._patch is not None:
            pixels_HWC = np.array(pixels_HWC)
            self._patch.lay_on(pixels_HWC)
        bgr_HWC = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, PREVIEW_QUALITY])
        preview = Preview(jpeg=jpeg.tobytes(), counter=counter)
        with self._lock:
            self._encoded[which] = (preview, badge)
        return preview

    def request(self, change: Change) -> None:
        """Accept a wish or raise InputError with the reason."""
        with self._lock:
            if isinstance(change, ChangeLook):
                self._look = self._changed_look(change)
            elif isinstance(change, Pause):
                self._paused = change.on
            elif isinstance(change, SwitchSink):
                self._check_sink(change.id)
            elif isinstance(change, SwitchBadge):
                self._badge = change.on
            elif isinstance(change, SwitchMode):
                self._mode = change.mode
            elif isinstance(change, NoticeSeen):
                self._notice = False
            elif isinstance(change, SwitchObsCamera):
                self._check_obs()
            else:
                assert isinstance(change, RetryWorker)
            self._changes.append(change)

    def watchers(self, count: int) -> None:
        with self._lock:
            self._watchers = count

    def _changed_look(self, change: ChangeLook) -> Preset:
        look = self._look
        if change.preset is not None:
            look = find_preset(change.preset, self._presets)
        return look.changed(prompt=change.prompt, strength=change.strength, seed=change.seed)

    def _check_obs(self) -> None:
        obs = self._state.obs if self._state is not None else None
        if obs is None or not obs.connected:
            reason = (obs.message if obs is not None else "") or "its websocket server is not there"
            raise InputError(f"OBS's camera cannot be switched: {reason}")

    def _check_sink(self, sink: str) -> None:
        known = [state.id for state in self._state.sinks] if self._state is not None else []
        if sink not in known:
            raise InputError(f"unknown sink {sink!r}: there are {', '.join(known) or 'none'}")
