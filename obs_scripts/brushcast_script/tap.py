"""Tap: the chosen source alone, out of OBS and into shared memory.

The source goes into a private scene of its own, that into a view with its own video of the source's
shape, and that into an output which this script registers. Its raw callback runs on OBS's video
thread and copies the picture into the ring: no Python ever runs on the graphics thread, and there
is no loop, as the program's own picture is never taken.
"""

from __future__ import annotations

import ctypes as c
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brushcast_script import libobs
from brushcast_script.libobs import KEPT, Libobs
from brushcast_script.ring import RingError, RingWriter

log = logging.getLogger(__name__)

OUTPUT_ID = b"brushcast_tap"
MOST_PX = 1280 * 720
EVERY_S = 0.25
SILENT_S = 2.0
COSTS = 300  # pictures whose cost is kept
_NOT_TAPPED = (b"brushcast_picture",)  # our own picture: a loop


@dataclass(frozen=True)
class TapState:
    """phase: `off`, `waiting` (message says for what) or `live`. source: its present name."""

    phase: str = "off"
    message: str = ""
    source: str = ""
    width: int = 0
    height: int = 0


def tap_size(width: int, height: int) -> tuple[int, int]:
    """In the source's shape, no larger than 1280x720 has pixels, both sides even."""
    scale = min(1.0, math.sqrt(MOST_PX / (width * height)))
    return max(16, 2 * round(width * scale / 2)), max(16, 2 * round(height * scale / 2))


class Tap:
    """One capture at a time, kept up by a thread of its own: sources come, go, change their size
    and their names. Everything else is for any thread."""

    def __init__(self, obs: Libobs, path: Callable[[], Path]) -> None:
        """path: of the ring."""
        self._obs, self._path = obs, path
        self._wanted = ""
        self._capture: _Capture | None = None
        self._lock = threading.Lock()  # one thread at a time opens and closes
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.state = TapState()
        _register(obs)
        self._thread = threading.Thread(target=self._run, name="brushcast tap", daemon=True)
        self._thread.start()

    def follow(self, name: str) -> None:
        """Capture the source of that name from now on; "": none."""
        if name != self._wanted:
            self._wanted = name
            self._wake.set()

    def let_go(self) -> None:
        """At once, until `follow` is called anew: OBS is about to take its sources away."""
        self._wanted = ""
        self._close()
        self.state = TapState()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5)
        self.let_go()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._keep()
            except Exception as error:  # noqa: BLE001 (the thread's top: it is said and tried again)
                log.exception("the capture failed")
                self._close()
                self.state = TapState("waiting", f"{type(error).__name__}: {error}", self._wanted)
            self._wake.wait(EVERY_S)
            self._wake.clear()

    def _keep(self) -> None:
        with self._lock:
            capture, wanted = self._capture, self._wanted
            if capture is not None:
                name = capture.name()
                if name is None:
                    self._end(f"the source {capture.called!r} was deleted")
                    return
                if name != capture.called and wanted == capture.called:
                    self._wanted = wanted = capture.called = name  # renamed: followed
                capture.renew_ring()
                if wanted != name or capture.outdated():
                    self._end("")
                    capture = None
            if not wanted:
                self.state = TapState()
                return
            if capture is None:
                self.state = self._begin(wanted)
                return
            silent = time.monotonic_ns() - capture.last_ns > SILENT_S * 1e9
            self.state = TapState(
                "waiting" if silent else "live",
                "OBS sends no picture" if silent else "",
                wanted,
                capture.ring.width,
                capture.ring.height,
            )

    def _begin(self, wanted: str) -> TapState:
        source = self._obs.obs_get_source_by_name(wanted.encode())
        if not source:
            return TapState("waiting", f"there is no source {wanted!r}", wanted)
        try:
            if self._obs.obs_source_get_unversioned_id(source) in _NOT_TAPPED:
                return TapState("waiting", "Brushcast's own picture cannot be restyled", wanted)
            width = self._obs.obs_source_get_width(source)
            height = self._obs.obs_source_get_height(source)
            if not width or not height:
                return TapState("waiting", f"the source {wanted!r} has no picture yet", wanted)
            self._capture = _Capture(self._obs, source, wanted, (width, height), self._path())
        except RingError as error:
            return TapState("waiting", str(error), wanted)
        finally:
            self._obs.obs_source_release(source)
        ring = self._capture.ring
        return TapState("live", "", wanted, ring.width, ring.height)

    def _end(self, message: str) -> None:
        if self._capture is not None:
            self._capture.close()
            self._capture = None
        self.state = TapState("waiting", message, self._wanted)

    def _close(self) -> None:
        with self._lock:
            self._end("")


class _Capture:
    """Private scene, view, output and ring of one source at one size."""

    def __init__(
        self, obs: Libobs, source: int, called: str, native: tuple[int, int], path: Path
    ) -> None:
        """native: the source's size. Raises RingError: also where OBS refuses."""
        self._obs, self.called, self._native = obs, called, native
        width, height = tap_size(*native)
        self._path = path
        self.ring = RingWriter(path, width, height)
        self._writing = threading.Lock()  # the ring is not exchanged under a picture
        self._cost_ns: deque[int] = deque(maxlen=COSTS)
        self.last_ns = time.monotonic_ns()
        self._video = _video_info(obs)
        self._canvas = _canvas(self._video)
        self._scene = obs.obs_scene_create_private(b"Brushcast capture")
        self._source = obs.obs_source_get_ref(source)
        obs.obs_source_inc_active(source)  # hidden in the scene, a film would stop and be cleared
        item = obs.obs_scene_add(self._scene, source)
        self._view = obs.obs_view_create()
        obs.obs_view_set_source(self._view, 0, obs.obs_scene_get_source(self._scene))
        self._output = obs.obs_output_create(OUTPUT_ID, b"Brushcast capture", None, None)
        video = self._own_video(width, height) if obs.views_have_sizes else self._canvas_video()
        bounds = libobs.Vec2(*((width, height) if obs.views_have_sizes else self._canvas[2:]))
        obs.obs_sceneitem_set_bounds_type(item, libobs.BOUNDS_STRETCH)
        obs.obs_sceneitem_set_bounds(item, c.byref(bounds))
        KEPT["tap"].now = self
        started = False
        if video and self._output:
            obs.obs_output_set_media(self._output, video, obs.obs_get_audio())
            started = obs.obs_output_start(self._output)
        if not started:
            self.close()
            raise RingError("OBS does not start the capture; its log says why")

    def _own_video(self, width: int, height: int) -> int | None:
        """Drawn in the ring's size and format."""
        wanted = libobs.VideoInfo.from_buffer_copy(self._video)
        wanted.base_width = wanted.output_width = width
        wanted.base_height = wanted.output_height = height
        wanted.output_format = libobs.BGRA
        video: int | None = self._obs.obs_view_add2(self._view, c.byref(wanted))
        return video

    def _canvas_video(self) -> int | None:
        """OBS 28: drawn in the canvas's shape, and brought back by OBS's video thread."""
        video: int | None = self._obs.obs_view_add(self._view)
        wanted = libobs.ScaleInfo(
            libobs.BGRA, self.ring.width, self.ring.height, libobs.RANGE_FULL, libobs.CS_709
        )
        self._obs.obs_output_set_video_conversion(self._output, c.byref(wanted))
        return video

    def name(self) -> str | None:
        """The source's present name; None once it is deleted."""
        if self._obs.obs_source_removed(self._source):
            return None
        name: bytes | None = self._obs.obs_source_get_name(self._source)
        return name.decode(errors="replace") if name else None

    def outdated(self) -> bool:
        """Whether the source, the canvas or its rate changed, or OBS has ended the output."""
        width = self._obs.obs_source_get_width(self._source)
        height = self._obs.obs_source_get_height(self._source)
        changed = width > 0 and height > 0 and (width, height) != self._native
        if changed or _canvas(_video_info(self._obs)) != self._canvas:
            return True
        return not self._obs.obs_output_active(self._output)

    def renew_ring(self) -> None:
        """A new one where somebody took it away: a product that ended. Raises RingError."""
        if self.ring.replaced():
            width, height = self.ring.width, self.ring.height
            with self._writing:
                self.ring.close()
                self.ring = RingWriter(self._path, width, height)

    def picture(self, frame: libobs.VideoData) -> None:
        """On OBS's video thread."""
        begun_ns = time.monotonic_ns()
        with self._writing:
            self.ring.write(frame.data[0], frame.linesize[0], begun_ns)
        self.last_ns = begun_ns
        self._cost_ns.append(time.monotonic_ns() - begun_ns)

    def close(self) -> None:
        obs = self._obs
        if self._output:
            obs.obs_output_force_stop(self._output)
            obs.obs_output_release(self._output)  # waits until no picture is on its way
            self._output = None
        if KEPT["tap"].now is self:
            KEPT["tap"].now = None
        obs.obs_view_set_source(self._view, 0, None)
        obs.obs_view_remove(self._view)
        obs.obs_view_destroy(self._view)
        obs.obs_scene_release(self._scene)
        obs.obs_source_dec_active(self._source)
        obs.obs_source_release(self._source)
        self._say_cost()
        self.ring.close()

    def _say_cost(self) -> None:
        """What the last pictures cost OBS's video thread, each."""
        cost_ms = sorted(ns / 1e6 for ns in self._cost_ns)
        if cost_ms:
            p50, p95 = (cost_ms[len(cost_ms) * share // 100] for share in (50, 95))
            size = f"{self.ring.width}x{self.ring.height}"
            log.info("captured at %s: %.2f ms p50, %.2f ms p95 a picture", size, p50, p95)


def _video_info(obs: Libobs) -> libobs.VideoInfo:
    found = libobs.VideoInfo()
    if not obs.obs_get_video_info(c.byref(found)):
        raise RingError("OBS has no video yet")
    return found


def _canvas(info: libobs.VideoInfo) -> tuple[int, ...]:
    return info.fps_num, info.fps_den, info.base_width, info.base_height


class _Registered:
    """The output's kind, once for OBS's life. now: the capture that its pictures are for."""

    def __init__(self, obs: Libobs) -> None:
        self.now: _Capture | None = None
        self._obs, self._output = obs, 0
        self._name = c.create_string_buffer(b"Brushcast capture")
        self._callbacks: list[Any] = [
            libobs.GetName(lambda _: c.addressof(self._name)),
            libobs.Create(self._create),
            libobs.Start(self._start),
            libobs.Stop(self._stop),
            libobs.RawVideo(self._raw),
        ]
        pointers = [c.cast(callback, c.c_void_p).value for callback in self._callbacks]
        pointers.insert(2, obs.address_of_bfree)  # to destroy: as for sources
        self._info = libobs.OutputInfo(OUTPUT_ID, libobs.OUTPUT_VIDEO, *pointers)
        obs.obs_register_output_s(c.byref(self._info), libobs.OUTPUT_INFO_BYTES)

    def _create(self, settings: int, output: int) -> int:
        self._output = output
        made: int = self._obs.bmalloc(8)
        return made

    def _start(self, _: int) -> bool:
        if not self._obs.obs_output_can_begin_data_capture(self._output, 0):
            return False
        return bool(self._obs.obs_output_begin_data_capture(self._output, 0))

    def _stop(self, _: int, when_ns: int) -> None:
        self._obs.obs_output_end_data_capture(self._output)

    def _raw(self, _: int, frame: Any) -> None:
        capture = self.now
        if capture is not None:
            capture.picture(frame.contents)


def _register(obs: Libobs) -> None:
    if "tap" not in KEPT:
        KEPT["tap"] = _Registered(obs)
