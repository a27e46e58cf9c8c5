"""Runs the environment's pip, shows how far it is, and turns its failures into one sentence."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from installer.errors import SetupError
from installer.progress import Progress

# An index that cannot be reached must cost seconds: pip's own defaults are 5 retries of 15 s each.
_PATIENCE = ("--retries", "2", "--timeout", "15")
_TICK_S = 0.25
_TAIL_LINES = 400
# Of a phase's time, measured here: fetching takes about six tenths, unpacking the rest.
_FETCHED_SHARE = 0.6

_DISK_FULL = r"No space left on device|Disk quota exceeded|\[Errno 28\]|WinError 112"
_NO_CONNECTION = (
    r"connection broken by|Connection to \S+ timed out|ReadTimeoutError|ConnectTimeoutError"
    r"|NewConnectionError|ConnectionError"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """`python -m pip` of one environment. `log` gets everything it prints; `log_path` is named
    in sentences."""

    python: Path
    log: TextIO
    log_path: Path
    progress: Progress

    def install(self, what: str, arguments: Sequence[str], *, expected: int = 0) -> None:
        """Installs; bytecode is left to the first import. `what` names the phase in the
        sentence of a SetupError;
        `expected` is the number of packages, for the bar."""
        # The bar of raw progress exists since pip 24.1, which the lock brings; an older pip
        # gets none.
        bar = "off" if expected else "raw"
        options = [
            "--no-compile",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            bar,
            *_PATIENCE,
        ]
        self._run(what, ["install", *options, *arguments], expected)

    def uninstall(self, package: str) -> None:
        self._run(package, ["uninstall", "--yes", package], 0)

    def _run(self, what: str, arguments: list[str], expected: int) -> None:
        command = [str(self.python), "-m", "pip", *arguments]
        self.log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        )
        assert process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(
            target=_read, args=(process.stdout, lines), name="pip-output", daemon=True
        )
        reader.start()
        tail: list[str] = []
        meter = _Meter(expected)
        try:
            while True:
                try:
                    line = lines.get(timeout=_TICK_S)
                except queue.Empty:
                    self.progress.update(meter.share, meter.what)
                    continue
                if line is None:
                    break
                meter.feed(line)
                self.progress.update(meter.share, meter.what)
                if not line.startswith("Progress "):
                    self.log.write(line)
                    tail = [*tail[-_TAIL_LINES:], line]
        finally:
            if process.poll() is None and not _exited(process):
                process.terminate()
            code = process.wait()
            reader.join()
            process.stdout.close()
        self.log.flush()
        if code != 0:
            raise failure("".join(tail), what, self.log_path)


class NotFetched(SetupError):
    """What was asked for could not be had: no network, or no such build."""


def failure(output: str, what: str, log_path: Path) -> SetupError:
    """Why pip failed to install `what`, in one sentence, from what it printed."""
    again = "run the same command again"
    if re.search(_DISK_FULL, output):
        return SetupError(f"The disk is full ({what}): free some space and {again}.")
    if "DO NOT MATCH THE HASHES" in output:
        return SetupError(
            f"A download did not match its recorded hash and was not installed ({what}): "
            f"{again}, or see {log_path}."
        )
    if re.search(r"(?i)certificate.verify.failed", output):
        return NotFetched(
            f"The package index's certificate was not accepted ({what}; a proxy?): "
            f"set PIP_CERT and {again}."
        )
    if re.search(_NO_CONNECTION, output):
        hosts = re.findall(r"host='([^']+)'", output)
        host = hosts[-1] if hosts else "the Python package index"
        return NotFetched(
            f"No network: {host} cannot be reached; check the connection or the proxy and {again}."
        )
    if not_found := re.search(r"No matching distribution found for (\S+)", output):
        return NotFetched(
            f"The package index has no {not_found[1]} for this Python and this machine; "
            f"see {log_path}."
        )
    if re.search(r"Permission denied|WinError (5|32)\b", output):
        return SetupError(
            f"Files of the environment cannot be written ({what}): "
            f"close what uses them, or see whose they are in {log_path}."
        )
    return SetupError(f"pip could not install {what}; what it said is in {log_path}.")


class _Meter:
    """How far pip is, read from its lines."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._seen = 0
        self.share: float | None = None
        self.what = ""

    def feed(self, line: str) -> None:
        raw = re.match(r"Progress (\d+) of (\d+)", line)
        name = re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line)
        if raw and int(raw[2]):
            self.share = _FETCHED_SHARE * int(raw[1]) / int(raw[2])
            self.what = f"{int(raw[1]) // 10**6} of {int(raw[2]) // 10**6} MB"
        elif name:
            self._seen += 1
            self.what = re.split(r"[=<>\[;]|-\d", Path(name[1]).name)[0]
            if self._expected:
                self.share = _FETCHED_SHARE * self._seen / self._expected
        elif line.startswith("Installing collected packages"):
            self.share, self.what = _FETCHED_SHARE, "unpacking"


def _read(stream: TextIO, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _exited(process: subprocess.Popen[str]) -> bool:
    """After its output has ended, a process is given a moment to exit by itself."""
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return True
