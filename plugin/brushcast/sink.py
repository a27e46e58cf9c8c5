"""Sink: where the finished pictures go: a virtual camera, OBS, a file, nowhere.

A sink knows nothing of rings, cards or clocks; the camera process gives each one a thread of its
own.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from brushcast.badge import Corner
from brushcast.camera_sink import CameraSink
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.obs_sink import ObsSink
from brushcast.provenance import Origin
from brushcast.recording import Recording, check_target

SinkKind = Literal["auto", "camera", "file", "null", "obs", "preview"]


class Sink(Protocol):
    """What every sink guarantees. One thread calls it, in the order open, write..., close.

    title: for people, without a folder.
    """

    title: str

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        """On return the first picture has really been written: others can connect. Raises
        SinkError; nothing is left open then.
        """
        ...

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        """Show a picture, brought to the size that was opened, now; the very same array as before
        with the same badge is the same picture. tick: output periods since `open` (its picture was
        0); it rises, and leaves out what the caller had to drop. badge: where "AI" is laid on it.
        Raises SinkError; then only `close` may follow.
        """
        ...

    def close(self) -> None:
        """Let go of everything. Never raises; may be called twice, and without `open`."""
        ...


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A parsed sink. target: the file's path or the camera's device; "" for any device and for the
    others.
    """

    kind: SinkKind
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}" if self.target else self.kind

    @property
    def id(self) -> str:
        """`[a-z0-9_-]{1,64}`, for the panel."""
        tail = re.sub(r"[^a-z0-9]+", "-", Path(self.target).name.lower()).strip("-")
        return f"{self.kind}-{tail}"[:64].rstrip("-") if tail else self.kind


def parse_sink(spec: str) -> SinkSpec:
    """`auto`, `camera`, `camera:DEVICE`, `file:PATH`, `null`, `obs`, `preview`. Raises SinkError,
    also for a file that can never be written (unknown ending, a folder, an unwritable folder)."""
    kind, _, target = spec.partition(":")
    if spec in ("auto", "null", "obs", "preview", "camera"):
        return SinkSpec(spec)  # type: ignore[arg-type]  # one of SinkKind, just compared
    if kind == "camera" and target:
        path = f"/dev/video{target}" if target.isdigit() else target
        return SinkSpec("camera", path if sys.platform.startswith("linux") else target)
    if kind == "file" and target:
        path = str(Path(target).expanduser())
        check_target(Path(path))
        return SinkSpec("file", path)
    raise SinkError(
        f"sink {spec!r:.200}: wanted auto, camera[:DEVICE], file:PATH, null, obs or preview"
    )


def make_sink(spec: SinkSpec, *, keep_existing: bool = False, origin: Origin | None = None) -> Sink:
    """An unopened sink. keep_existing: a file that is there already is kept and NAME-2, NAME-3, ...
    written instead. origin: what files say made their pictures.
    """
    if spec.kind == "file":
        return FileSink(Path(spec.target), keep_existing=keep_existing, origin=origin)
    if spec.kind in ("camera", "auto"):
        return CameraSink(spec.target or None)
    if spec.kind == "obs":
        return ObsSink()
    return NullSink("preview in the panel" if spec.kind == "preview" else "null")


class NullSink:
    """Takes every picture and forgets it; the panel's preview reads the ring, so `preview` is this
    too.
    """

    def __init__(self, title: str = "null") -> None:
        self.title = title
        self.pictures = 0

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        self.pictures = 1

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        self.pictures += 1

    def close(self) -> None:
        """Nothing is held."""


class FileSink:
    """A recording in real time, playable at any moment (see `recording`)."""

    def __init__(
        self, path: Path, *, keep_existing: bool = False, origin: Origin | None = None
    ) -> None:
        self.path = path
        self._origin = origin
        self.title = path.name
        self._keep_existing = keep_existing
        self._recording: Recording | None = None
        self._rate = Fraction(30)

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        self._rate = Fraction(rate_fps).limit_denominator(1001)
        path = free_path(self.path) if self._keep_existing else self.path
        self._keep_existing = True  # switched off and on again, it continues in another file
        self._recording = Recording(path, size, self._rate, live=True, origin=self._origin)
        self.title = path.name
        try:
            self.write(first_HWC, 0, badge)
        except SinkError:
            self.close()
            raise

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        assert self._recording is not None, "open comes first"
        self._recording.write(pixels_HWC, tick / self._rate, badge)

    def close(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None


def free_path(path: Path) -> Path:
    """`path`, or NAME-2, NAME-3, ... beside it when it is taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
