"""Probe: the camera process with a sink that writes down what every other sink would show.

`python -m tests.faults.probe` stands in for `brushcast camera-process`: all of it is the product's
own code but the sink `null`, whose every picture becomes a line of BRUSHCAST_TEST_LOG: the oracle's
log (`oracle`). A line is written whole or not at all, also by a process that is shot.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from brushcast import camera
from brushcast.badge import Corner
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind
from brushcast.process import stolen_s
from brushcast.sink import Sink, SinkSpec, make_sink
from brushcast.sink_thread import OutputPicture
from tests.faults.watermark import leak, number_of

LOG_VARIABLE = "BRUSHCAST_TEST_LOG"
LOOKED_AT = Size(320, 180)  # of a picture: ten pixels a cell, a quarter of the work


class ProbeSink:
    """Implements `brushcast.sink.Sink`. now: what the camera process shows at this moment."""

    title = "probe"

    def __init__(self, path: Path, now: Callable[[], tuple[Kind, OutputPicture]]) -> None:
        self._path = path
        self._now = now
        self._handle: int | None = None
        self._last: Pixels | None = None
        self._found: dict[str, Any] = {}

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        try:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None
        self.write(first_HWC, 0, badge)

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        at_ns = monotonic_ns()
        assert self._handle is not None, "open comes first"
        if pixels_HWC is not self._last:  # the same array is the same picture, as for every sink
            size = (LOOKED_AT.width, LOOKED_AT.height)
            small = np.asarray(cv2.resize(pixels_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
            self._found = {
                "leak": round(leak(small), 4), "number": number_of(small),
                "contrast": round(float(small.std()), 1),
            }  # fmt: skip
            self._last = pixels_HWC
        kind, output = self._now()
        line = {
            "at_ns": at_ns, "process": os.getpid(), "tick": tick, "kind": int(kind),
            "captured_ns": output.captured_ns, "badge": badge is not None, **self._found,
            "waited_ns": _waited_ns(), "stolen_s": stolen_s(),
        }  # fmt: skip
        os.write(self._handle, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _waited_ns() -> int:
    """How long the thread that keeps the pace and this one stood in the run queue so far."""
    waited_ns = 0
    for thread in (os.getpid(), threading.get_native_id()):
        try:
            words = Path(f"/proc/self/task/{thread}/schedstat").read_text(encoding="ascii").split()
            waited_ns += int(words[1])
        except (OSError, ValueError, IndexError):
            return 0
    return waited_ns


def main() -> None:
    """As `brushcast camera-process`."""
    log = Path(os.environ[LOG_VARIABLE])
    cameras: list[Any] = []

    class Watched(camera._Camera):
        def __init__(self, *given: Any) -> None:
            cameras.append(self)
            super().__init__(*given)

    def now() -> tuple[Kind, OutputPicture]:
        return cameras[-1]._kind, cameras[-1]._output

    def make(spec: SinkSpec, **options: Any) -> Sink:
        return ProbeSink(log, now) if spec.kind == "null" else make_sink(spec, **options)

    with patch.object(camera, "_Camera", Watched), patch.object(camera, "make_sink", make):
        camera.main()


if __name__ == "__main__":
    main()
