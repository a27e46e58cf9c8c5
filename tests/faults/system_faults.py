"""Faults of the machine: a full disk, a clock that jumps, a port that is taken."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.clock import MovedClock
from tests.faults.rig import Rig
from tests.faults.rows import Made, Row, Scale, Scene, count, holds, ms, said, seen_checks

DISK_BYTES = 4 * 2**20
HOUR_S = 3600
TOLD_MS = 10_000.0

DISK, FIRST_START = "disk full while recording", "disk full at the first start"
CLOCK, PORT = "wall clock moved by an hour, there and back", "port of the panel in use"


def play(home: Path, scale: Scale) -> Iterator[Made]:
    yield PORT, lambda: _port(home / "port")
    with _small_disk(home / "disk") as why_not:
        for fault, make in (
            (FIRST_START, lambda: _first_start(home / "disk")),
            (DISK, lambda: _recording(home / "two", home / "disk")),
        ):
            left_out = partial(Row, fault=fault, promise="", skipped=why_not)
            yield fault, left_out if why_not else make
    yield CLOCK, lambda: _clock(home / "three", scale)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[str]:
    """A file system of a few MB at `folder`; why there is none, or ""."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={DISK_BYTES},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode:
        yield f"no file system may be mounted: {mounted.stderr.strip()}"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> None:
    """To the last byte."""
    handle = os.open(folder / "filling", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for length in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(handle, bytes(length))
    finally:
        os.close(handle)


def _run(home: Path, *options: str) -> tuple[int, str, float]:
    """`brushcast run` with these options: exit code, standard error, ms."""
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home),
        "BRUSHCAST_RUNTIME_DIR": str(home.parent / "run"),
    }  # fmt: skip
    command = [sys.executable, "-m", "brushcast", "run", "--source", "testcard", "--sink", "null"]
    begun_s = time.monotonic()
    done = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr, 1000 * (time.monotonic() - begun_s)


def lines_of(errors: str) -> int:
    """Of standard error, the log (which begins with a date) left out."""
    return sum(not line[:1].isdigit() for line in errors.strip().splitlines())


def _port(home: Path) -> Row:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, errors, took_ms = _run(home, "--panel", address, "--for", "40")
    return Row(
        fault=PORT,
        promise="one line that names it, exit code 2",
        checks=(
            count("exit code", code, 2),
            count("lines", lines_of(errors), 1),
            holds("names the port", address.partition(":")[2] in errors and "in use" in errors),
            ms("told after", took_ms, TOLD_MS),
        ),
        note=errors.strip()[-200:],
    )


def _first_start(disk: Path) -> Row:
    """The settings cannot be written: said in one line, and nothing half written is left, so that
    the next start finds nothing wrong."""
    home = disk / "home"
    home.mkdir(exist_ok=True)
    (home / "brushcast").mkdir(exist_ok=True)
    _fill(disk)
    code, errors, _ = _run(home, "--panel", "127.0.0.1:0", "--for", "1")
    (disk / "filling").unlink()
    again, later, _ = _run(home, "--panel", "127.0.0.1:0", "--for", "1")
    return Row(
        fault=FIRST_START,
        promise="one line; nothing half written: the next start is as good as new",
        checks=(
            count("exit code", code, 2),
            count("lines", lines_of(errors), 1),
            count("exit code with room again", again, 0),
        ),
        note=(errors + later).strip()[-200:],
    )


def _recording(home: Path, disk: Path) -> Row:
    """The recording fails, the other sinks go on, the settings are what they were."""
    token = disk / "home" / "brushcast" / "panel-token"
    before = token.read_bytes()
    film = disk / "film.mp4"
    environment = {"XDG_CONFIG_HOME": str(disk / "home")}
    with Rig(home, "--sink", f"file:{film}", environment=environment) as rig:
        rig.settle(2)
        with rig.watch() as seen:
            _fill(disk)
            rig.until(lambda: _film_state(rig) == "failed", 60, "the recording to fail")
            told = next(sink["message"] for sink in rig.state()["sinks"] if sink["kind"] == "file")
            rig.run.ask("control", {"action": "notice_seen"})
            time.sleep(2.0)
            rig.live()
    return Row(
        fault=DISK,
        promise="the recording fails with a sentence, other sinks go on, settings old or new",
        checks=(
            *seen_checks(seen()),
            holds("the panel says why", "space" in told),
            holds("the settings are whole", token.read_bytes() == before),
            said("recorded", film.stat().st_size / 1e6, "MB"),
        ),
        verdict=seen(),
        note=told,
    )


def _film_state(rig: Rig) -> str:
    sinks = rig.state().get("sinks", [])
    return next((str(sink["state"]) for sink in sinks if sink["kind"] == "file"), "")


def _clock(home: Path, scale: Scale) -> Row:
    home.mkdir()
    try:
        clock = MovedClock(home)
    except OSError as error:
        return Row(fault=CLOCK, promise="nothing happens", skipped=str(error))
    with Rig(home, environment=clock.environment) as rig:
        rig.settle(2)
        lost = len(rig.lost_ns())
        with rig.watch() as seen:
            for offset_s in (HOUR_S, -HOUR_S, 0):
                clock.move(offset_s)
                time.sleep(max(3.0, scale.watch_s / 2))
            rig.live()
        live = seen().shown.get("live", 0) / seen().pictures
        return Row(
            fault=CLOCK,
            promise="nothing happens",
            checks=(
                *seen_checks(seen()),
                count("connections lost", len(rig.lost_ns()) - lost, 0),
                said("live", 100 * live, "% of the time"),
            ),
            verdict=seen(),
        )


SCENE = Scene(name="system", faults=(PORT, FIRST_START, DISK, CLOCK), play=play)
