"""The bridge process, which also writes down when it lost a worker.

`python -m tests.faults.bridge_tap` stands in for `brushcast bridge-process`. The panel tells the
same, but four times a second only: too coarse for a promise of one second.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from unittest.mock import patch

from brushcast import bridge
from brushcast.board import Board
from brushcast.wire.link import Lost

LOST_VARIABLE = "BRUSHCAST_TEST_LOST"


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

    with patch.object(Board, "lost", lost):
        bridge.main()


if __name__ == "__main__":
    main()
