"""The bridge process, which also writes down when it lost a worker, and how many pictures the
worker said that it collects for a chunk.

`python -m tests.faults.bridge_tap` stands in for `brushcast bridge-process`. The panel tells the
same, but four times a second only: too coarse for a promise of one second.

BRUSHCAST_TEST_LEAK=0.3 puts the bug in by hand that must never be: so much of the source's picture
in every painted one. With it the suite must be red (test_short).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from brushcast import bridge_process, codec
from brushcast.board import Board
from brushcast.frame import Pixels
from brushcast.pace import Pace
from brushcast.wire.link import Lost

LOST_VARIABLE = "BRUSHCAST_TEST_LOST"
COLLECTS_VARIABLE = "BRUSHCAST_TEST_COLLECTS"
LEAK_VARIABLE = "BRUSHCAST_TEST_LEAK"


def main() -> None:
    """As `brushcast bridge-process`."""
    path = Path(os.environ[LOST_VARIABLE])
    real = Board.lost

    def lost(board: Board, event: Lost, now_ns: int) -> None:
        if event.was_ready:
            with open(path, "a", encoding="utf-8") as file:
                line = {"at_ns": time.monotonic_ns(), "hung": event.hung, "reason": event.reason}
                file.write(json.dumps(line) + "\n")
        real(board, event, now_ns)

    takes, collects = Pace.worker_takes, Path(os.environ[COLLECTS_VARIABLE])
    told: list[int] = []

    def worker_takes(pace: Pace, *given: int) -> None:
        takes(pace, *given)
        if told != [pace.chunk_frames]:
            told[:] = [pace.chunk_frames]
            with open(collects, "a", encoding="ascii") as file:
                file.write(f"{time.monotonic_ns()} {pace.chunk_frames}\n")

    share = float(os.environ.get(LEAK_VARIABLE, 0))
    encode, decode = _leaking(share) if share else (codec.encode, codec.decode)
    with (
        patch.object(Board, "lost", lost),
        patch.object(Pace, "worker_takes", worker_takes),
        patch.object(codec, "encode", encode),
        patch.object(codec, "decode", decode),
    ):
        bridge_process.main()


def _leaking(share: float) -> tuple[Callable[..., Any], Callable[..., Pixels]]:
    """The codec's two functions, with the last source picture in each painted one."""
    encode, decode = codec.encode, codec.decode
    sent: list[Pixels] = []

    def keep(pixels_HWC: Pixels, *given: Any) -> Any:
        sent[:] = [pixels_HWC]
        return encode(pixels_HWC, *given)

    def mix(*given: Any) -> Pixels:
        painted_HWC = decode(*given)
        mixed = cv2.addWeighted(sent[0], share, painted_HWC, 1 - share, 0)
        return np.asarray(mixed, np.uint8)

    return keep, mix


if __name__ == "__main__":
    main()
