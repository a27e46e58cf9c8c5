"""Faults of the other parts: bridge, camera process, supervisor, the source, OBS, size."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from brushcast.frame import Size
from tests.faults.processes import is_there
from tests.faults.rig import SOURCE, Rig
from tests.faults.rows import Made, Row, Scale, Scene, count, holds, ms, said, seen_checks

BACK_MS = 3000.0  # design.md: of a worker's restart; a bridge is held to the same
SIZE_MS = 3000.0
ORPHANS_S = 5.0
OTHER_SIZE = Size(480, 270)
SHOTS = 2

BRIDGE, CAMERA = "bridge SIGKILL", "camera process SIGKILL"
OBS = "OBS closed and opened again"
UNPLUGGED = "camera unplugged for 4 s"
SIZES = "size of the source changes"
SUPERVISOR = "supervisor SIGKILL"
END = "the end of the run"


def play(home: Path, scale: Scale) -> Iterator[Made]:
    with Rig(home / "one") as rig:
        yield BRIDGE, lambda: _bridge(rig)
        yield CAMERA, lambda: _camera(rig)
        yield SIZES, lambda: _sizes(rig)
        yield UNPLUGGED, lambda: _unplugged(rig)
        yield OBS, lambda: _obs(rig)
        yield END, rig.end
    with Rig(home / "two") as other:
        yield SUPERVISOR, lambda: _supervisor(other)


def _bridge(rig: Rig) -> Row:
    rig.settle()
    back_ms = []
    with rig.watch() as seen:
        for _ in range(SHOTS):
            shot_ns = rig.kill("bridge")
            back_ms.append(rig.live_since(shot_ns))
            time.sleep(2.0)
    return Row(
        fault=f"{BRIDGE}, x{SHOTS}",
        promise="the camera process carries on: held, the card, painted again",
        checks=(*seen_checks(seen()), ms("painted again", max(back_ms), BACK_MS)),
        verdict=seen(),
    )


def _camera(rig: Rig) -> Row:
    """It keeps the pace: while it is gone nothing is written at all. The one that waits goes on."""
    rig.settle(2)
    back_ms = []
    with rig.watch() as seen:
        for _ in range(SHOTS):
            rig.pid("next camera")
            time.sleep(2.0)  # it loads its code
            shot_ns = rig.kill("camera")
            back_ms.append(rig.live_since(shot_ns))
        time.sleep(2.0)
    return Row(
        fault=f"{CAMERA}, x{SHOTS}",
        promise="another one that waited goes on",
        checks=(*seen_checks(seen()), ms("painted again", max(back_ms), BACK_MS)),
        verdict=seen(),
    )


def _sizes(rig: Rig) -> Row:
    rig.settle(2)
    back_ms = []
    with rig.watch() as seen:
        for size in (OTHER_SIZE, SOURCE):
            rig.obs.plays(size)
            back_ms.append(rig.live_since(time.monotonic_ns()))
            time.sleep(1.0)
    return Row(
        fault=SIZES,
        promise="followed without a gap",
        checks=(*seen_checks(seen()), ms("painted again", max(back_ms), SIZE_MS)),
        verdict=seen(),
    )


def _unplugged(rig: Rig) -> Row:
    rig.settle(2)
    with rig.watch() as seen:
        rig.obs.plays(None)
        rig.until(
            lambda: rig.state().get("source", {}).get("state") == "failed", 20, "a failed source"
        )
        told = str(rig.state().get("source", {}).get("message", ""))
        time.sleep(3.0)
        back_ns = time.monotonic_ns()
        rig.obs.plays(SOURCE)
        back_ms = rig.live_since(back_ns)
        time.sleep(0.5)
    return Row(
        fault=UNPLUGGED,
        promise="held, the card, one sentence on the panel; painted again when it is back",
        checks=(
            *seen_checks(seen()),
            holds("the panel says why", bool(told)),
            ms("painted again", back_ms, BACK_MS),
        ),
        verdict=seen(),
    )


def _obs(rig: Rig) -> Row:
    """OBS ends: its ring goes, nobody reads the other one; both again later."""
    rig.settle(2)
    with rig.watch() as seen:
        rig.obs.watches = False
        rig.obs.plays(None)
        time.sleep(3.0)
        shown = len(rig.obs.seen)
        back_ns = time.monotonic_ns()
        rig.obs.watches = True
        rig.obs.plays(SOURCE)
        back_ms = rig.live_since(back_ns)
        rig.until(lambda: len(rig.obs.seen) != shown, 10, "pictures in OBS")
        time.sleep(0.5)
    return Row(
        fault=OBS,
        promise="other sinks go on; painted again when it is back",
        checks=(
            *seen_checks(seen()),
            ms("painted again", back_ms, BACK_MS),
            count("raw in OBS's ring", rig.raw_in_obs(), 0),
        ),
        verdict=seen(),
    )


def _supervisor(rig: Rig) -> Row:
    rig.live()
    children = [pid for role, pid in rig.pids().items() if role != "supervisor"]
    shot_s = time.monotonic()
    os.kill(rig.run.process.pid, signal.SIGKILL)
    rig.run.process.wait()
    while any(map(is_there, children)) and time.monotonic() - shot_s < 4 * ORPHANS_S:
        time.sleep(0.02)
    took_s = time.monotonic() - shot_s
    left = [pid for pid in children if is_there(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    rig.read()
    return Row(
        fault=SUPERVISOR,
        promise="every child ends with it",
        checks=(
            count("processes left", len(left), 0),
            ms("the last one ended after", 1000 * took_s, 1000 * ORPHANS_S),
            said("children", len(children)),
            count("raw in OBS's ring", rig.raw_in_obs(), 0),
        ),
    )


SCENE = Scene(
    name="processes",
    faults=(BRIDGE, CAMERA, SIZES, UNPLUGGED, OBS, END, SUPERVISOR),
    play=play,
)
