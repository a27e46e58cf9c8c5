"""Faults of the worker: shot, stopped, hung, slow, without memory, with pictures that are none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.oracle import Verdict
from tests.faults.processes import cpu_with_children_s, started_ns
from tests.faults.rig import SOURCE, Rig
from tests.faults.rows import Check, Made, Row, Scale, Scene, count, holds, ms, said, seen_checks

NOTICED_MS, NOTICED_IDLE_MS = 1000.0, 4000.0  # design.md, "Promises"
RESTYLED_MS = 3000.0
KILL_EVERY_S = 1.5
SHOTS = 5
SLOWER = 3.0
BREAKER = 5
BREAKER_CPU = 0.1  # of a core

NOTHING = "nothing"
SHOT = "worker SIGKILL, a spare stands by"
SHOT_OFTEN = "worker SIGKILL again and again, whatever it is doing"
STOPPED = "worker SIGSTOP"
STOPPED_IDLE = "worker SIGSTOP while no picture comes"
LOOP, SLOW, MEMORY = "endless loop in the model", "model 3 times slower", "out of memory"
RAISES, NAN, CONSTANT = "exception in the model", "NaN from the model", "one colour from the model"
CRASHES = "crashes in a row"
END = "the end of the run"


def play_shots(home: Path, scale: Scale) -> Iterator[Made]:
    """With the embedded model: what is promised of its restart."""
    with Rig(home, engine="pocket") as rig:
        yield NOTHING, lambda: _nothing(rig, scale)
        yield SHOT, lambda: _shot(rig)
        yield STOPPED, lambda: _stopped(rig)
        yield STOPPED_IDLE, lambda: _stopped_idle(rig)
        yield SHOT_OFTEN, lambda: _shot_often(rig, scale)
        yield END, rig.end


def _nothing(rig: Rig, scale: Scale) -> Row:
    rig.settle()
    with rig.watch() as seen:
        time.sleep(scale.watch_s)
    return Row(
        fault=NOTHING, promise="a picture at every tick", checks=seen_checks(seen()), verdict=seen()
    )


def _shot(rig: Rig) -> Row:
    noticed_ms, back_ms = [], []
    with rig.watch() as seen:
        for _ in range(SHOTS):
            rig.spare()
            shot_ns = rig.kill("worker")
            noticed_ms.append(rig.noticed(shot_ns))
            back_ms.append(rig.live_since(shot_ns))
            time.sleep(1.0)
    return Row(
        fault=f"{SHOT}, x{SHOTS}",
        promise="noticed, restarted, styled again; held meanwhile",
        checks=(
            *seen_checks(seen()),
            ms("noticed", max(noticed_ms), NOTICED_MS),
            ms("styled again", max(back_ms), RESTYLED_MS),
        ),
        verdict=seen(),
    )


def _shot_often(rig: Rig, scale: Scale) -> Row:
    """Also while it loads, and more often than good output can forgive: then the panel's Retry."""
    retries = 0
    with rig.watch() as seen:
        for _ in range(scale.kills):
            rig.until(lambda: "worker" in rig.pids() or _failed(rig), 30, "a worker, or none again")
            if "worker" not in rig.pids():
                retries += 1
                rig.retry()
            os.kill(rig.pid("worker"), signal.SIGKILL)
            time.sleep(KILL_EVERY_S)
        rig.retry()
        back_ms = rig.live()
        workers = sum(role in ("worker", "spare") for role in rig.pids())
    return Row(
        fault=f"{SHOT_OFTEN}, x{scale.kills}",
        promise="a picture at every tick; the breaker and Retry; painted again in the end",
        checks=(
            *seen_checks(seen()),
            Check(figure="workers in the end", value=workers, bar=2),
            said("painted again after the last", back_ms, "ms"),
            said("Retry was needed", retries, "times"),
        ),
        verdict=seen(),
    )


def _failed(rig: Rig) -> bool:
    return rig.state().get("state") == "FAILED"


def _stopped(rig: Rig) -> Row:
    rig.spare()
    pid = rig.pid("worker")
    with rig.watch() as seen:
        stopped_ns = rig.kill("worker", signal.SIGSTOP)
        noticed_ms = rig.noticed(stopped_ns)
        gone_ns = rig.restarted(pid)
        back_ms = rig.live_since(gone_ns)
        time.sleep(0.5)
    return _hung(STOPPED, seen(), noticed_ms, back_ms, (gone_ns - stopped_ns) / 1e6)


def _hung(fault: str, seen: Verdict, noticed_ms: float, back_ms: float, shot_ms: float) -> Row:
    return Row(
        fault=fault,
        promise="noticed by its missing pictures, replaced, styled again after the restart",
        checks=(
            *seen_checks(seen),
            ms("noticed", noticed_ms, NOTICED_MS),
            ms("styled again", back_ms, RESTYLED_MS),
            said("replaced after", shot_ms, "ms"),
        ),
        verdict=seen,
    )


def _stopped_idle(rig: Rig) -> Row:
    rig.spare()
    rig.obs.plays(None)
    rig.until(lambda: rig.state().get("source", {}).get("state") == "failed", 20, "a silent source")
    with rig.watch() as seen:
        stopped_ns = rig.kill("worker", signal.SIGSTOP)
        noticed_ms = rig.noticed(stopped_ns)
        rig.obs.plays(SOURCE)
        rig.live()
    return Row(
        fault=STOPPED_IDLE,
        promise="noticed by its missing answers",
        checks=(*seen_checks(seen()), ms("noticed", noticed_ms, NOTICED_IDLE_MS)),
        verdict=seen(),
    )


def play_engine(home: Path, scale: Scale) -> Iterator[Made]:
    """With the echo engine: ages are read from the pictures."""
    with Rig(home, engine="echo") as rig:
        smaller = "one retry with a smaller picture in the same process"
        anew = "the stream starts anew in the same process"
        yield LOOP, lambda: _once_loop(rig)
        yield SLOW, lambda: _slow(rig, scale)
        yield MEMORY, lambda: _once(rig, "memory", MEMORY, smaller)
        yield RAISES, lambda: _once(rig, "raise", RAISES, anew)
        yield NAN, lambda: _bad_pictures(rig, "nan", NAN, scale)
        yield CONSTANT, lambda: _bad_pictures(rig, "constant", CONSTANT, scale)
        yield CRASHES, lambda: _crashes(rig, scale)
        yield END, rig.end


def _once_loop(rig: Rig) -> Row:
    rig.settle()
    rig.spare()
    pid = rig.pid("worker")
    with rig.watch() as seen:
        rig.order("once loop")
        rig.until(rig.order_was_taken, 20, "the loop to begin")
        begun_ns = time.monotonic_ns()
        noticed_ms = rig.noticed(begun_ns)
        gone_ns = rig.restarted(pid)
        back_ms = rig.live_since(gone_ns)
        time.sleep(0.5)
    return _hung(LOOP, seen(), noticed_ms, back_ms, (gone_ns - begun_ns) / 1e6)


def _slow(rig: Rig, scale: Scale) -> Row:
    rig.settle(2)
    before, pid = len(rig.lost_ns()), rig.pid("worker")
    with rig.watch() as seen:
        rig.order(f"slow {SLOWER}")
        time.sleep(2 * scale.watch_s)
        shown = rig.live()
    rig.order("")
    rig.live()
    return Row(
        fault=SLOW,
        promise="fewer pictures, never older ones; it is not taken for dead",
        checks=(
            *seen_checks(seen()),
            count("taken for dead", len(rig.lost_ns()) - before, 0),
            holds("the same process", rig.pid("worker") == pid),
            said("to the next live picture", shown, "ms"),
        ),
        verdict=seen(),
    )


def _once(rig: Rig, order: str, fault: str, promise: str) -> Row:
    rig.settle(2)
    pid = rig.pid("worker")
    with rig.watch() as seen:
        rig.order(f"once {order}")
        rig.until(rig.order_was_taken, 20, order)
        back_ms = rig.live_since(time.monotonic_ns())
        time.sleep(1.0)
    return Row(
        fault=fault,
        promise=promise,
        checks=(
            *seen_checks(seen()),
            ms("styled again", back_ms, RESTYLED_MS),
            holds("the same process", rig.pid("worker") == pid),
        ),
        verdict=seen(),
    )


def _bad_pictures(rig: Rig, kind: str, fault: str, scale: Scale) -> Row:
    rig.settle(2)
    with rig.watch() as seen:
        rig.order(kind)
        time.sleep(scale.watch_s)
        rig.order("")
        well_ns = time.monotonic_ns()
        back_ms = rig.live_since(well_ns)
        began_ns = started_ns(rig.pid("worker")) or well_ns
        time.sleep(0.5)
    return Row(
        fault=fault,
        promise="none is shown; styled again once the model is well",
        checks=(
            *seen_checks(seen()),
            count("blank pictures shown", seen().blank, 0),
            ms("styled again", back_ms - max(0, began_ns - well_ns) / 1e6, RESTYLED_MS),
            said("since the model is well", back_ms, "ms"),
        ),
        verdict=seen(),
    )


def _crashes(rig: Rig, scale: Scale) -> Row:
    """The breaker opens after five; Retry lets it try again. What the restarts cost is counted
    while it is open: the supervisor's own processor time and its ended children's."""
    crashes, open_share = 0, []
    with rig.watch() as seen:
        rig.order("crash")
        while crashes < scale.crashes:
            rig.until(lambda: rig.state().get("state") == "FAILED", 120, "the breaker")
            crashes += BREAKER
            time.sleep(0.5)  # a spare that still loaded is shot, and what it used is counted
            begun_s, used_s = time.monotonic(), _restart_cpu_s(rig)
            time.sleep(3.0)
            open_share.append((_restart_cpu_s(rig) - used_s) / (time.monotonic() - begun_s))
            if crashes < scale.crashes:
                rig.retry()
                rig.until(lambda: rig.state().get("state") != "FAILED", 10, "Retry")
        cause = str(rig.state().get("message", ""))
        rig.order("")
        rig.retry()
        back_ms = rig.live()
    return Row(
        fault=f"{CRASHES}, x{crashes}",
        promise="the breaker opens after five; the card, the cause on the panel, Retry",
        checks=(
            *seen_checks(seen()),
            Check(
                figure="processor while open", value=100 * max(open_share), bar=100 * BREAKER_CPU,
                unit="% of a core",
            ),
            holds("the panel says why", cause.startswith("The worker keeps failing")),
            said("painted again after Retry", back_ms, "ms"),
        ),
        verdict=seen(),
    )  # fmt: skip


def _restart_cpu_s(rig: Rig) -> float:
    """Of the supervisor, of what it has waited for, and of workers that live."""
    pids = rig.pids()
    others_s = sum(cpu_with_children_s(pids[role]) for role in ("bridge", "camera") if role in pids)
    return cpu_with_children_s(pids["supervisor"]) - others_s


SHOTS_SCENE = Scene(
    name="worker", faults=(NOTHING, SHOT, STOPPED, STOPPED_IDLE, SHOT_OFTEN, END), play=play_shots
)
ENGINE_SCENE = Scene(
    name="engine",
    faults=(LOOP, SLOW, MEMORY, RAISES, NAN, CONSTANT, CRASHES, END),
    play=play_engine,
)
