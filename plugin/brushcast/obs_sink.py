"""ObsSink: what OBS is to show, into the ring that the OBS script reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from brushcast.badge import Corner
from brushcast.errors import ConfigError, SinkError, SourceError
from brushcast.folders import runtime_folder
from brushcast.frame import Pixels, Size
from brushcast.lock_file import LockFile
from brushcast.obs_rings import OBS_OUT, obs_lock
from brushcast.playout import Kind
from brushcast.ring import Form, Ring
from brushcast.yuv import BT709, YuvConverter

KEEP_ALIVE_NS = 200_000_000  # an unchanged picture is written again so often: it is not stale
LOCK_PATIENCE_S = 3.0  # a run that has just been told to stop still closes its files
LOCK_POLL_S = 0.05


class ObsSink:
    """Implements `sink.Sink`. OBS gets I420 in BT.709 limited range, its own default, so that it
    need not convert.
    """

    title = "OBS"

    def __init__(
        self,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._lock: LockFile | None = None
        self._ring: Ring | None = None
        self._size = Size(2, 2)
        self._last: tuple[Pixels, Corner | None] | None = None  # as given
        self._last_ns = 0
        self._prepare(self._size)

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        """Make the ring; on return the first picture is in it. Raises SinkError, also when another
        run shows its picture in OBS."""
        try:
            folder = runtime_folder()
            self._take(folder)
            self._prepare(size)
            self._ring = Ring.create(size, folder / OBS_OUT, Form.I420)
        except (ConfigError, SourceError) as error:
            self.close()
            raise SinkError(f"sink obs: {error}") from None
        self._last = None
        self.write(first_HWC, 0, badge)

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        assert self._ring is not None, "open comes first"
        now_ns = self._clock_ns()
        if self._last is not None and self._last[0] is pixels_HWC and self._last[1] == badge:
            if now_ns - self._last_ns < KEEP_ALIVE_NS:
                return
        else:
            self._yuv.convert(pixels_HWC, self._planes, badge)
            self._last = pixels_HWC, badge
        self._ring.write(
            self._i420, Kind.LIVE, seq=tick, captured_ns=-1, now_ns=now_ns, size=self._size
        )
        self._last_ns = now_ns

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()  # first: Windows removes no file that is mapped
            self._ring.unlink()
            self._ring = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._last = None

    def _take(self, folder: Path) -> None:
        """One run is shown in OBS at a time."""
        if self._lock is not None:
            return
        lock = obs_lock(folder)
        ends_ns = self._clock_ns() + round(LOCK_PATIENCE_S * 1e9)
        try:
            while not lock.acquire():
                if self._clock_ns() >= ends_ns:
                    raise SinkError(
                        "sink obs: another run of Brushcast shows its picture in OBS already; "
                        "stop that one first"
                    )
                self._sleep(LOCK_POLL_S)
        except OSError as error:
            raise SinkError(f"sink obs: {lock.path}: {error.strerror or error}") from None
        self._lock = lock

    def _prepare(self, size: Size) -> None:
        """What a picture is converted in, kept: fresh memory costs as much as the work."""
        self._size = size
        self._yuv = YuvConverter(size, BT709)
        area, width = size.area_px, size.width
        self._i420: Pixels = np.empty(area * 3 // 2, np.uint8)
        luma, cb, cr = np.split(self._i420, [area, area * 5 // 4])
        self._planes = [
            luma.reshape(-1, width), cb.reshape(-1, width // 2), cr.reshape(-1, width // 2)
        ]  # fmt: skip
