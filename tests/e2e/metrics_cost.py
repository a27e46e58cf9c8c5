"""What the telemetry costs: processor time of a minute of a stream with it and without.

    python -m tests.e2e.metrics_cost [--seconds 60]

Both runs do the same work on the same pictures, as fast as they can: 30 ticks a second through the
board and the playout, the panel's state four times a second. The second one has the telemetry as
well: the looks at pictures (in their thread), history, alerts, a scrape every 5 s and a panel that
asks for its charts once a second. Each is repeated and the least counts: what else the machine does
makes a run longer, never shorter. Processor time of all threads, divided by the stream's time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from brushcast.exposition import Exposition
from brushcast.frame import Pixels
from brushcast.playout import Styled
from brushcast.wire.messages import Header, Kind, WorkerStatus
from tests.plugin.test_picture_figures import board
from tests.plugin.test_telemetry import TICK, Run, camera, told

ROUNDS = 3
WIDTH, HEIGHT = 512, 288
SCRAPE_EVERY_S = 5
STATUS = WorkerStatus(
    step_ms=80, gpu_share=0.8, gpu_used_bytes=4, gpu_total_bytes=8, batch_share=0.9, cache_share=0.9
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="Of the stream.")
    seconds = parser.parse_args().seconds
    pictures = _pictures()
    bare = min(_cpu_s(lambda: _bare(pictures, seconds)) for _ in range(ROUNDS))
    full = min(_cpu_s(lambda: _full(pictures, seconds)) for _ in range(ROUNDS))
    result = {
        "stream_s": seconds,
        "without_cpu_s": round(bare, 3),
        "with_cpu_s": round(full, 3),
        "cost_of_a_core_percent": round(100 * (full - bare) / seconds, 3),
        "wanted_below_percent": 1.0,
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


def _cpu_s(work: Callable[[], None]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def _pictures() -> list[Pixels]:
    """A pan there and back."""
    large = board()
    steps = [*range(0, 300, 5), *range(300, 0, -5)]
    return [np.ascontiguousarray(large[100:388, x : x + WIDTH]) for x in steps]


def _turn(run: Run, pictures: list[Pixels], number: int) -> Header:
    """What both have: a picture comes and waits for its time."""
    run.now_ns += TICK
    run.scene.board.frame_in(run.now_ns)
    captured_ns = run.now_ns - 150_000_000
    picture = pictures[number % len(pictures)]
    run.playout.put(Styled(picture, number, captured_ns), run.now_ns)
    return Header(kind=Kind.RESULT, seq=number, captured_ns=captured_ns)


def _bare(pictures: list[Pixels], seconds: int) -> None:
    run = Run().ready()
    for number in range(30 * seconds):
        header = _turn(run, pictures, number)
        run.scene.board.styled(header, run.now_ns, reused=False)
        run.scene.board.shown(run.playout.pick(run.now_ns), run.playout)
        if number % 15 == 0:
            run.scene.board.status(STATUS, run.now_ns)
        if number % 8 == 0:
            run.scene.board.panel_state(run.link, run.scene.desk, run.now_ns)
        if number % 30 == 0:
            run.scene.board.camera_said(camera(seconds=10 + number / 30))


def _full(pictures: list[Pixels], seconds: int) -> None:
    run = Run().ready()
    telemetry = run.telemetry
    exposition = Exposition(telemetry.points)
    telemetry.start()
    for number in range(30 * seconds):
        header = _turn(run, pictures, number)
        telemetry.turned(run.now_ns)
        telemetry.styled(header, run.now_ns, reused=False)
        telemetry.shown(run.playout.pick(run.now_ns), run.now_ns)
        if number % 15 == 0:
            telemetry.status(told(STATUS), run.now_ns)
        if number % 8 == 0:
            telemetry.panel_state(run.link, run.scene.desk, run.now_ns)
        if number % 30 == 0:
            run.scene.board.camera_said(camera(seconds=10 + number / 30))
            json.dumps(telemetry.history(number // 30 - 1))
        _catch_up(run)
        if number % (30 * SCRAPE_EVERY_S) == 0:
            exposition.text()
    telemetry.stop()


def _catch_up(run: Run) -> None:
    """The stream runs faster than time here, and no look at pictures may replace another."""
    work = run.telemetry._probe._work
    while work._items:
        time.sleep(0.001)


if __name__ == "__main__":
    main()
