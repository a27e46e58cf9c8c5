"""Source: where the pictures come from: a camera, a file at its own rate, OBS, a test card.

`open_source` opens one; a `SourceThread` reads it and opens it anew when it is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np

from brushcast.card import load_asset
from brushcast.clip import Clip, ClipPicture
from brushcast.errors import BrushcastError, SourceError
from brushcast.folders import runtime_folder
from brushcast.frame import Frame, Pixels, Size, fit
from brushcast.obs_rings import OBS_IN
from brushcast.obs_source import ObsSource
from brushcast.webcam import CameraSource, camera_candidates

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
DEFAULT_SIZE = Size(1280, 720)
DEFAULT_RATE_FPS = 30.0
BUNDLED_CLIP = "clip.mp4"
TESTCARD = "testcard-1280x720.png"

FILE_TIMER_SLACK_NS = 50_000_000  # woken up so late: the picture still counts as captured in time
FILE_BEHIND_NS = 500_000_000  # the machine cannot keep up: the clock starts anew instead of racing
REOPEN_FIRST_S, REOPEN_MOST_S = 0.5, 4.0
SILENT_AFTER_S = 2.0
JOIN_S = 2.0


class Source(Protocol):
    """An open source. One thread reads and closes it.

    title: for people, without a path. size: of its frames. rate_fps: how many come per second.
    """

    title: str
    size: Size
    rate_fps: float

    def read(self, stop: threading.Event) -> Frame | None:
        """Wait for the next picture, at the source's real rate. None once `stop` is set. Raises
        SourceError when it is lost.

        `seq` rises by one per frame from 0; `captured_ns` is this host's monotonic clock.
        """
        ...

    def close(self) -> None:
        """Never raises; may be called twice."""
        ...


@runtime_checkable
class PatientSource(Source, Protocol):
    """A source that opens before there is anything to read, and waits for it in `read`.

    waits_for: one sentence for the user, shown until the first picture.
    """

    waits_for: str


def open_source(
    spec: str, wanted_size: Size = DEFAULT_SIZE, rate_fps: float = DEFAULT_RATE_FPS
) -> Source:
    """Open `camera`, `camera:N`, `camera:/dev/videoN`, `file:PATH`, `obs`, `testcard` or `auto` (a
    camera, else the bundled clip).

    wanted_size, rate_fps: asked of a camera and drawn by the test card; a file keeps its own.
    Raises SourceError; for `obs` also ConfigError, when the runtime folder is not ours.
    """
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return FileSource(Path(rest).expanduser())
    if kind == "camera":
        return CameraSource(rest or "0", wanted_size, rate_fps)
    if spec == "testcard":
        return TestcardSource(wanted_size, rate_fps)
    if spec == "auto":
        return _open_auto(wanted_size, rate_fps)
    if spec == "obs":
        return ObsSource(runtime_folder() / OBS_IN, wanted_size, rate_fps)
    raise SourceError(f"source {spec!r:.200}: wanted auto, camera:N, file:PATH, testcard or obs")


def _open_auto(wanted_size: Size, rate_fps: float) -> Source:
    for which in camera_candidates():
        try:
            return CameraSource(which, wanted_size, rate_fps)
        except SourceError as error:
            log.debug("%s", error)
    clip = Path(str(resources.files("brushcast").joinpath("assets", BUNDLED_CLIP)))
    if clip.is_file():
        return FileSource(clip, title="bundled clip")
    return TestcardSource(wanted_size, rate_fps)


class FileSource:
    """A video file in a loop, paced by its own time stamps."""

    def __init__(
        self,
        path: Path,
        *,
        title: str | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """title: default the file's name. Raises SourceError."""
        self._clip = Clip(path)
        self.title = title or path.name
        self.size = self._clip.info.size
        self.rate_fps = float(self._clip.info.rate)
        self._clock_ns = clock_ns
        self._pictures = self._clip.pictures()
        self._seq = 0
        self._start_ns: int | None = None  # when time 0 of this round is
        self._end_ns = 0  # of the picture before, counted from _start_ns
        self._first_s = Fraction(0)  # the time stamp of this round's first picture

    def read(self, stop: threading.Event) -> Frame | None:
        picture = self._next()
        offset_ns = round((picture.time_s - self._first_s) * NS_PER_S)
        now_ns = self._clock_ns()
        if self._start_ns is None:
            self._start_ns = now_ns - offset_ns
        due_ns = self._start_ns + offset_ns
        if now_ns - due_ns > FILE_BEHIND_NS:
            self._start_ns += now_ns - due_ns
            due_ns = now_ns
        while now_ns < due_ns:
            if stop.wait((due_ns - now_ns) / NS_PER_S):
                return None
            now_ns = self._clock_ns()
        if stop.is_set():
            return None
        self._end_ns = offset_ns + round(picture.duration_s * NS_PER_S)
        captured_ns = due_ns if now_ns - due_ns <= FILE_TIMER_SLACK_NS else now_ns
        frame = Frame(picture.pixels_HWC, self._seq, captured_ns)
        self._seq += 1
        return frame

    def _next(self) -> ClipPicture:
        picture = next(self._pictures, None)
        if picture is None:
            self._pictures = self._clip.pictures()
            picture = next(self._pictures, None)
            if picture is None:
                raise SourceError(f"{self._clip.path}: no picture could be decoded any more")
            if self._start_ns is not None:
                self._start_ns += self._end_ns
            self._first_s = picture.time_s
        elif self._start_ns is None:
            self._first_s = picture.time_s
        return picture

    def close(self) -> None:
        self._clip.close()


class TestcardSource:
    """A still test card with a moving disc and a frame counter, drawn at the wanted size and
    rate.
    """

    title = "test card"

    def __init__(
        self,
        size: Size = DEFAULT_SIZE,
        rate_fps: float = DEFAULT_RATE_FPS,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.size = size
        self.rate_fps = rate_fps
        self._clock_ns = clock_ns
        self._background = _testcard(size)
        self._seq = 0
        self._start_ns: int | None = None

    def read(self, stop: threading.Event) -> Frame | None:
        now_ns = self._clock_ns()
        if self._start_ns is None:
            self._start_ns = now_ns
        due_ns = self._start_ns + round(self._seq * NS_PER_S / self.rate_fps)
        if now_ns - due_ns > FILE_BEHIND_NS:
            self._start_ns += now_ns - due_ns
            due_ns = now_ns
        pixels = self._draw(self._seq)
        while (now_ns := self._clock_ns()) < due_ns:
            if stop.wait((due_ns - now_ns) / NS_PER_S):
                return None
        if stop.is_set():
            return None
        frame = Frame(pixels, self._seq, due_ns)
        self._seq += 1
        return frame

    def close(self) -> None:
        """Nothing is held."""

    def _draw(self, seq: int) -> Pixels:
        pixels = self._background.copy()
        width, height = self.size.width, self.size.height
        angle = 2 * np.pi * seq / (4 * self.rate_fps)  # one turn in four seconds
        centre = (
            round(width * (0.5 + 0.32 * np.cos(angle))),
            round(height * (0.5 + 0.32 * np.sin(angle))),
        )
        radius = max(1, height // 12)
        cv2.circle(pixels, centre, radius, (232, 90, 40), -1, cv2.LINE_AA)
        cv2.circle(pixels, centre, radius, (250, 245, 235), max(1, height // 180), cv2.LINE_AA)
        scale, thick = height / 720, max(1, height // 360)
        at = (round(width * 0.03), round(height * 0.95))
        font = cv2.FONT_HERSHEY_DUPLEX
        for colour, extra in (((0, 0, 0), 3), ((255, 255, 255), 0)):
            cv2.putText(pixels, f"{seq:06d}", at, font, scale, colour, thick + extra, cv2.LINE_AA)
        return pixels


def _testcard(size: Size) -> Pixels:
    image = load_asset(TESTCARD)
    if image is not None:
        return np.array(fit(np.ascontiguousarray(image[:, :, 2::-1]), size, "crop"))
    bars = [(i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8)]
    row = np.repeat(np.array(bars, np.uint8) * 180 + 20, size.width // 8 + 1, axis=0)[: size.width]
    return np.ascontiguousarray(np.broadcast_to(row, (size.height, size.width, 3)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What a SourceThread is doing. message: one sentence when `failed`, or `opening` and waiting
    for something that the user can do; else empty.
    """

    phase: Literal["opening", "live", "failed"]
    title: str
    size: Size | None = None
    rate_fps: float | None = None
    message: str = ""


class SourceThread:
    """Reads an open source in a thread of its own and opens it anew, for ever, when it is lost.

    deliver: called in that thread with each Frame; `seq` goes on rising over re-openings. Start,
    status and stop are for any thread.
    """

    def __init__(
        self, source: Source, reopen: Callable[[], Source], deliver: Callable[[Frame], None]
    ) -> None:
        self._source: Source | None = source
        self._reopen = reopen
        self._deliver = deliver
        self._stop = threading.Event()
        self._seq = 0
        self._last_ns = time.monotonic_ns()
        message = source.waits_for if isinstance(source, PatientSource) else ""
        self._status = SourceStatus(phase="opening", title=source.title, message=message)
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end and wait. A driver that never answers is left behind after 2 s."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
            if self._thread.is_alive():
                log.warning("the source does not answer and is left behind")

    @property
    def status(self) -> SourceStatus:
        """A source that is silent for 2 s counts as failed until it gives pictures again."""
        status = self._status
        silent_s = (time.monotonic_ns() - self._last_ns) / NS_PER_S
        slow_s = 3 / status.rate_fps if status.rate_fps else 0.0
        if status.phase == "live" and silent_s > max(SILENT_AFTER_S, slow_s):
            message = f"no picture for {silent_s:.0f} s"
            return SourceStatus(phase="failed", title=status.title, message=message)
        return status

    def _run(self) -> None:
        patience_s = REOPEN_FIRST_S
        while not self._stop.is_set():
            seq_before = self._seq
            try:
                if self._source is None:
                    self._source = self._reopen()
                self._read_all(self._source)
            except BrushcastError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 (the thread's top: reported, and tried again)
                log.exception("the source failed unexpectedly")
                self._fail(f"{type(error).__name__}: {error}")
            if self._source is not None:
                self._source.close()
                self._source = None
            if self._seq > seq_before:
                patience_s = REOPEN_FIRST_S
            if not self._stop.wait(patience_s):
                patience_s = min(2 * patience_s, REOPEN_MOST_S)

    def _read_all(self, source: Source) -> None:
        while (frame := source.read(self._stop)) is not None:
            self._last_ns = time.monotonic_ns()
            if self._status.phase != "live" or self._status.size != source.size:
                self._status = SourceStatus(
                    phase="live", title=source.title, size=source.size, rate_fps=source.rate_fps
                )
            self._deliver(Frame(frame.pixels_HWC, self._seq, frame.captured_ns))
            self._seq += 1

    def _fail(self, message: str) -> None:
        if self._status.message != message:
            log.warning("source: %s", message)
        self._status = SourceStatus(phase="failed", title=self._status.title, message=message)
