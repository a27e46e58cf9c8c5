"""ObsSource: what OBS captures, from the ring that the OBS script writes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from brushcast.errors import SourceError
from brushcast.frame import Frame, Pixels, Size
from brushcast.obs_rings import STALE_NS
from brushcast.ring import Form, Ring, RingPicture

log = logging.getLogger(__name__)

POLL_S = 0.002  # the ring has no bell; this is the delay that it costs, on average half of it
SEEK_S = 0.05  # while there is no ring, or nothing comes
SEEK_NS = 50_000_000


class ObsSource:
    """Opening it never fails: the script may make the ring, and make it anew, at any time.

    title, size, rate_fps: as of every source; size is the wanted one until a picture came.
    """

    title = "OBS"
    waits_for = "Waiting for OBS: choose a source in Tools > Scripts > Brushcast and start it."

    def __init__(
        self,
        path: Path,
        wanted_size: Size,
        rate_fps: float,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """path: of the ring. rate_fps: what is expected; the pictures' own rate is OBS's."""
        self.size = wanted_size
        self.rate_fps = rate_fps
        self._path = path
        self._clock_ns = clock_ns
        self._ring: Ring | None = None
        self._number = 0  # of the picture that was read last from this ring
        self._attach_ns = 0  # when the ring is looked for next
        self._trouble = ""  # why what is there is no ring
        self._last_ns = clock_ns()  # when a picture came, or waiting began
        self._seq = 0
        self._bgra_HWC: Pixels = np.empty((0, 0, 4), np.uint8)

    def read(self, stop: threading.Event) -> Frame | None:
        """The newest picture, once, as soon as it is there; one that is older than 1 s never.

        Before the first picture it waits as long as need be. Raises SourceError when no picture has
        come for 1 s after one, or what is in the ring's place has been no ring for as long.
        """
        while not stop.is_set():
            now_ns = self._clock_ns()
            picture = self._newest(now_ns)
            if picture is not None:
                self._last_ns = now_ns
                return self._frame(picture, now_ns)
            silent_ns = now_ns - self._last_ns
            if silent_ns > STALE_NS and (self._seq or self._trouble):
                raise SourceError(f"OBS sends no picture: {self._reason(silent_ns)}")
            quiet = self._ring is None or silent_ns > STALE_NS
            stop.wait(SEEK_S if quiet else POLL_S)
        return None

    def close(self) -> None:
        """Let go of the ring, which is the script's."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _newest(self, now_ns: int) -> RingPicture | None:
        if now_ns >= self._attach_ns:
            self._attach_ns = now_ns + SEEK_NS
            if now_ns - self._last_ns >= SEEK_NS or self._ring is None:
                self._attach()
        if self._ring is None:
            return None
        if self._ring.written < self._number:
            self._number = 0  # its count began anew
        picture = self._ring.newest(self._number, self._scratch)
        if picture is None:
            return None
        self._number = picture.number
        # What a dead OBS left is old; what an earlier start of the machine left may be of tomorrow.
        return picture if abs(now_ns - picture.written_ns) < STALE_NS else None

    def _attach(self) -> None:
        """Find the ring, or another one in its place."""
        if self._ring is not None:
            if not self._ring.replaced():
                return
            self.close()
        self._number = 0
        try:
            self._ring = Ring.attach(self._path, Form.BGRA)
            self._trouble = ""
        except SourceError as error:
            there = self._path.exists()
            self._trouble = str(error) if there else ""
            log.debug("%s", error)

    def _scratch(self, shape: tuple[int, ...]) -> Pixels:
        """One picture's worth of memory, used again for every picture."""
        if self._bgra_HWC.shape != shape:
            self._bgra_HWC = np.empty(shape, np.uint8)
        return self._bgra_HWC

    def _frame(self, picture: RingPicture, now_ns: int) -> Frame:
        # Sizes are even everywhere in here; OBS's may be odd.
        width, height = max(2, picture.width // 2 * 2), max(2, picture.height // 2 * 2)
        bgra_HWC = picture.pixels_HWC[:height, :width]
        if bgra_HWC.shape[:2] != (height, width):
            raise SourceError(
                f"OBS sends no picture: wanted at least 2x2 pixels, "
                f"saw {picture.width}x{picture.height}"
            )
        pixels_HWC = np.asarray(cv2.cvtColor(bgra_HWC, cv2.COLOR_BGRA2RGB), np.uint8)
        self.size = Size(width, height)
        frame = Frame(pixels_HWC, self._seq, min(picture.captured_ns, now_ns))
        self._seq += 1
        return frame

    def _reason(self, silent_ns: int) -> str:
        if self._trouble:
            return self._trouble
        if self._ring is None:
            return "it closed its side (the source was stopped, or OBS ended)"
        return f"the last one came {silent_ns / 1e9:.0f} s ago"
