"""Studio: capture, picture, product and scene together: what the buttons and hotkeys mean.

Called on OBS's UI and hotkey threads; nothing here waits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brushcast_script import place
from brushcast_script.folders import runtime_folder
from brushcast_script.libobs import KEPT, Libobs, VideoInfo
from brushcast_script.picture import Shown
from brushcast_script.place import Placed, PlaceError
from brushcast_script.product import Product, Wanted
from brushcast_script.tap import Tap
from brushcast_script.words import Words

log = logging.getLogger(__name__)

EVERY_S = 0.25
MOST_FPS = 60


@dataclass(frozen=True)
class Settings:
    """As the user set them. strength: None is the look's own."""

    source: str = ""
    preset: str = "watercolour"
    strength: float | None = None
    camera: bool = False
    allow_raw: bool = False
    on: bool = True


class Studio:
    """Owns the threads of the script."""

    def __init__(self, obs: Libobs) -> None:
        self._obs = obs
        self.settings = Settings()
        self.running = False
        self.raw = False
        self.placed: list[Placed] = []
        self.shown = Shown(obs, lambda: _ring("obs-out"))
        self.tap = Tap(obs, lambda: _ring("obs-in"))
        self.product = Product(runtime_folder)
        # What the page asked for last, what is shown since (by hotkey, by the panel): of the latter
        # a product that is started anew is told, and a script that is loaded anew knows.
        self._asked, self._look = KEPT.pop("look", (None, None))
        self._to_tell = False
        self._known: dict[str, Any] = {}  # size of a source when it was captured last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="brushcast studio", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Everything ends: the product, the capture, the threads."""
        self._stop.set()
        self.show_raw(False)
        self._thread.join(2)
        self.tap.close()
        self.product.close()
        if self.running:
            KEPT["look"] = self._asked, self._look
        self.shown.close()

    # ------------------------------------------------------------------ settings, buttons

    def apply(self, settings: Settings) -> None:
        """New settings; what differs is told."""
        before, self.settings = self.settings, settings
        if settings.source != before.source and settings.on:
            self.running = bool(settings.source)
        if not settings.allow_raw:
            self.show_raw(False)
        self.capture()

    def start(self) -> bool:
        """False: no source was chosen."""
        self.product.try_again()
        self.running = bool(self.settings.source)
        self.capture()
        return self.running

    def stop(self) -> None:
        self.running = False
        self.capture()

    def leave(self) -> None:
        """OBS ends: so does the product, now, and `close` waits for it. It talks to OBS's
        websocket server, whose end waits for its clients."""
        self.running = False
        self.product.want(None)

    def capture(self) -> None:
        """The tap follows what is wanted."""
        self.tap.follow(self.settings.source if self.running else "")

    def remember(self, tables: Any, captured: Any = None) -> None:
        """What was placed and how large the source was before OBS was closed: as `captured` of
        then, so that the product need not wait for the source's first picture."""
        rows = tables if isinstance(tables, list) else []
        self.placed = [placed for row in rows if (placed := Placed.from_json(row)) is not None]
        table = captured if isinstance(captured, dict) else {}
        sizes = [table.get("width"), table.get("height")]
        if all(isinstance(size, int) and 16 <= size <= 4096 for size in sizes):
            self._known = {key: table[key] for key in ("width", "height")}
            self._known["source"] = str(table.get("source", ""))

    def captured(self) -> dict[str, Any]:
        """The size of what was captured last, to be remembered."""
        return dict(self._known)

    def put(self, words: Words) -> str:
        """Into the present scene; what is to be said."""
        there = [placed for placed in self.placed if place.still_there(self._obs, placed)]
        self.placed = there
        self._shape()
        try:
            placed = place.put(self._obs, self.shown, self.settings.source, there)
        except place.AlreadyThere as error:
            return words("put_already", scene=str(error))
        except PlaceError as error:
            return str(error)
        self.placed = [*there, placed]
        return words("put_done", scene=placed.scene)

    def undo(self, words: Words) -> str:
        """Everything that was put, out again."""
        if not self.placed:
            return words("undo_none")
        for placed in self.placed:
            place.undo(self._obs, placed)
        self.placed = []
        self.raw = False
        return words("undo_done")

    def sentences(self, words: Words) -> list[str]:
        """How things are."""
        tap, product = self.tap.state, self.product.state
        phase = "starting" if self.running and product.phase == "off" else product.phase
        said = [words(f"state_{phase}", message=words.known(product.message))]
        if tap.phase == "waiting" and tap.message:
            said.append(words("tap_waiting", message=tap.message))
        elif tap.phase == "live":
            named = {"source": tap.source, "width": tap.width, "height": tap.height}
            said.append(words("tap_live", **named))
        if self.shown.hidden:
            said.append(words("panic_on"))
        if self.raw:
            said.append(words("raw_shown"))
        alerts = product.shown.get("alerts", []) if phase == "running" else []
        said += [words.known(str(alert.get("message", ""))) for alert in alerts]
        return said

    # ------------------------------------------------------------------ hotkeys

    def preset(self, number: int) -> None:
        """The look of that number, 1 to 9."""
        presets = self.product.state.presets
        if 0 < number <= len(presets):
            self.product.tell("look", {"preset": presets[number - 1][0]})

    def step_preset(self, by: int) -> None:
        names = [name for name, _ in self.product.state.presets]
        now = self.product.state.shown.get("look", {}).get("preset")
        if names:
            at = names.index(now) if now in names else -1
            self.product.tell("look", {"preset": names[(at + by) % len(names)]})

    def stronger(self, by: float) -> None:
        now = self.product.state.shown.get("look", {}).get("strength")
        if isinstance(now, int | float):
            self.product.tell("look", {"strength": round(min(1.0, max(0.0, now + by)), 2)})

    def toggle(self) -> None:
        """The card, or on again."""
        paused = bool(self.product.state.shown.get("paused"))
        self.shown.hide(not paused)
        self.product.tell("control", {"action": "resume" if paused else "pause"})

    def panic(self) -> None:
        """The card at once, here and in every sink, whatever else happens; again: on."""
        hidden = not self.shown.hidden
        self.shown.hide(hidden)
        self.show_raw(False)
        self.product.tell("control", {"action": "pause" if hidden else "resume"})

    def show_raw(self, pressed: bool) -> None:
        """Held: the original is visible in the scenes where it was exchanged. Nowhere else."""
        raw = pressed and self.settings.allow_raw and not self.shown.hidden
        if raw == self.raw:
            return
        self.raw = raw
        log.warning("the untouched source is %s", "shown" if raw else "hidden")
        for placed in self.placed:
            place.show(self._obs, placed, raw=raw)

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._keep()
            except Exception:  # noqa: BLE001 (the thread's top: it is said and tried again)
                log.exception("keeping things in step failed")

    def _keep(self) -> None:
        """The product is wanted in the shape of what is captured, and is told of new settings."""
        tap, settings = self.tap.state, self.settings
        if self.running and tap.source and tap.source != settings.source and tap.phase == "live":
            self.settings = settings = dataclasses.replace(settings, source=tap.source)
        self._shape()
        if not self.running:
            self.product.want(None)
            self._asked = None
            return
        if tap.width:
            self._known = {"source": tap.source, "width": tap.width, "height": tap.height}
        look = self._tell_look()
        if self._known.get("source") == settings.source:
            size = self._known["width"], self._known["height"]
            self.product.want(Wanted(look, *size, self._rate(), settings.camera))

    def _tell_look(self) -> str:
        """The page's when it changes, else the one that was shown last. Returns its preset."""
        asked = self.settings.preset, self.settings.strength
        if asked != self._asked or self._look is None:
            self._asked, self._look, self._to_tell = asked, asked, True
        state = self.product.state
        if state.phase in ("starting", "failed"):
            self._to_tell = True
        elif state.phase == "running" and self._to_tell:
            body = dict(zip(("preset", "strength"), self._look, strict=True))
            self.product.tell("look", {k: v for k, v in body.items() if v is not None})
            self._to_tell = False
        elif state.phase == "running":
            shown = state.shown.get("look", {})
            if shown.get("preset"):
                self._look = shown["preset"], shown.get("strength")
        preset: str = self._look[0]
        return preset

    def _shape(self) -> None:
        if self.tap.state.width:
            self.shown.shape(self.tap.state.width, self.tap.state.height)

    def _rate(self) -> int:
        """Of the canvas, 60 at most."""
        info = VideoInfo()
        with contextlib.suppress(ZeroDivisionError):
            if self._obs.obs_get_video_info(info):
                rate: int = round(info.fps_num / info.fps_den)
                return min(MOST_FPS, max(1, rate))
        return 30


def _ring(name: str) -> Path:
    return runtime_folder() / name
