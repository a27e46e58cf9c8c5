"""Product: Brushcast itself, beside OBS: found or started, asked how it is, and told what to do.

It is a child whose standard input stays open as long as OBS lives: however OBS ends, so does it. A
reload of the script or another scene collection leaves it running for the next one who loads us;
where nobody comes it ends by itself, as nobody speaks to it any more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brushcast_script.folders import FolderError, installed_command, read_json
from brushcast_script.libobs import KEPT

log = logging.getLogger(__name__)

EVERY_S = 0.3
ANSWER_S = 1.5
START_S = 60.0  # the first start compiles Python files and loads weights
PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # after each run that painted nothing
END_S = 8.0
CLOSE_S = 10.0  # the child's end and answers, that are waited for
LOG_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class ProductState:
    """phase: `off`, `starting`, `running` or `failed`. message: one sentence for people. shown: the
    product's own state (docs/API.md), {} while there is none."""

    phase: str = "off"
    message: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""

    @property
    def presets(self) -> list[tuple[str, str]]:
        """Names and titles."""
        found = self.shown.get("presets")
        rows = found if isinstance(found, list) else []
        return [(str(row.get("name")), str(row.get("title"))) for row in rows]


@dataclass(frozen=True)
class Wanted:
    """How the product is to be started."""

    preset: str
    width: int
    height: int
    rate_fps: int = 30
    camera: bool = False


class Product:
    """Owned by the script; a thread of its own starts, asks and tells. The rest is for any
    thread and never waits."""

    def __init__(self, runtime: Callable[[], Path]) -> None:
        """runtime: the folder where both meet; may raise FolderError."""
        self._runtime = runtime
        self._wanted: Wanted | None = None
        self._decided = False  # until then a child from before is left as it is
        self._orders: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(maxsize=100)
        self._child, self._started_with, self._started_s = _adopted()
        self._heard_s = time.monotonic()  # when a child was started, or answered last
        self._failures = 0
        self._not_before_s = 0.0
        self._painted = False  # this run has shown painted pictures
        self._connection: http.client.HTTPConnection | None = None
        self._address: tuple[str, int, str] | None = None
        self._stop = threading.Event()
        self.state = ProductState()
        self._thread = threading.Thread(target=self._run, name="brushcast product", daemon=True)
        self._thread.start()

    def want(self, wanted: Wanted | None) -> None:
        """Keep it running so; None: not at all."""
        self._wanted, self._decided = wanted, True

    def try_again(self) -> None:
        """Forget what failed."""
        self._failures, self._not_before_s = 0, 0.0

    def tell(self, path: str, body: dict[str, Any]) -> None:
        """`look`, `control` or `sinks/ID` of the API, soon. What cannot be told is lost, and said
        in the log."""
        with contextlib.suppress(queue.Full):
            self._orders.put_nowait((path, body))

    def close(self) -> None:
        """Leave the child to whoever loads the script next, if one is wanted; else wait for its
        end."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._keep()
            except FolderError as error:
                self.state = ProductState("failed", str(error))
            except Exception as error:  # noqa: BLE001 (the thread's top: it is said and tried again)
                log.exception("keeping the product up failed")
                self.state = ProductState("failed", f"{type(error).__name__}: {error}")
            self._obey()
        if self._decided and self._wanted is None:
            self._end()
        child, started_with, started_s = self._child, self._started_with, self._started_s
        self._let_go()
        if child is not None:
            KEPT["child"] = child, started_with, started_s

    def _keep(self) -> None:
        wanted = self._wanted
        if not self._decided:
            return
        if wanted is None:
            self._end()
            self.state = ProductState()
            return
        if self._child is None and self._found():
            return
        if self._child is not None and self._started_with != wanted and self._other(wanted):
            self._end()
        if self._child is None:
            self._start(wanted)
        elif self._child.poll() is not None:
            self._died()
        elif self._found():
            self._heard_s = time.monotonic()
            self._say_something()
            if self.state.shown.get("state") == "LIVE":
                self._failures, self._painted = 0, True
        elif time.monotonic() - self._heard_s > START_S:
            self._end()
            self._failed(f"it did not answer for {START_S:.0f} s")

    def _say_something(self) -> None:
        """A run that hears nothing from us for half a minute ends: nobody would show it."""
        assert self._child is not None
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.write(b"\n")

    def _other(self, wanted: Wanted) -> bool:
        """Whether a running child cannot become what is wanted: a preset can."""
        before = self._started_with
        if before is None:
            return True
        return (before.width, before.height, before.rate_fps, before.camera) != (
            *(wanted.width, wanted.height, wanted.rate_fps),
            wanted.camera,
        )

    def _found(self) -> bool:
        """Whether a run of ours answers; its state is taken."""
        table = read_json(self._runtime() / "run.json")
        if table is None or table.get("format") != 1 or table.get("source") != "obs":
            return False
        child = self._child
        if child is not None and table.get("pid") != child.pid and not _child_of(table, child):
            return False
        url, token = str(table.get("url", "")), str(table.get("token", ""))
        try:
            parts = urlsplit(url)
            address = (parts.hostname or "", parts.port or 0, token)
        except ValueError:
            return False
        if address[0] not in ("127.0.0.1", "localhost", "::1"):
            return False
        self._address = address
        shown = self._ask("GET", "state")
        if shown is None:
            return False
        message = " ".join(filter(None, (str(shown.get(k, "")) for k in ("message", "advice"))))
        self.state = ProductState("running", message, shown, f"{url}/?token={token}")
        return True

    def _start(self, wanted: Wanted) -> None:
        if time.monotonic() < self._not_before_s:
            return
        if self._failures > len(PATIENCE_S):
            return  # `failed` stands until somebody says try again
        command = [*installed_command(), "run", "--source", "obs", "--sink", "obs"]
        command += ["--sink", "camera"] if wanted.camera else []
        command += ["--panel", "127.0.0.1:0", "--preset", wanted.preset, "--lifeline"]
        command += ["--output-size", f"{wanted.width}x{wanted.height}"]
        command += ["--fps", str(wanted.rate_fps)]
        runtime = self._runtime()
        with contextlib.suppress(OSError):
            (runtime / "run.json").unlink()  # of a run that is no more
        self.state = ProductState("starting", "")
        try:
            with _log_file(runtime) as errors:
                self._child = subprocess.Popen(
                    command,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=_environment(),
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            self._failed(f"{command[0]}: {error.strerror or error}")
            return
        self._started_with = wanted
        self._started_s = self._heard_s = time.monotonic()

    def _died(self) -> None:
        assert self._child is not None
        code = self._child.returncode
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        self._let_go()
        words = _last_words(self._runtime() / "obs-run.log") or f"exit code {code}"
        self._failed(words)

    def _failed(self, message: str) -> None:
        if self._painted:  # it can: nothing is gained by waiting
            self._painted = False
        else:
            patience_s = PATIENCE_S[min(self._failures, len(PATIENCE_S) - 1)]
            self._not_before_s = time.monotonic() + patience_s
            self._failures += 1
        self.state = ProductState("failed", message)
        log.warning("the product ended: %s", message)

    def _end(self) -> None:
        """Its standard input ends, and with it the run; what does not go is killed."""
        child = self._child
        self._let_go()
        if child is None:
            return
        with contextlib.suppress(OSError):
            assert child.stdin is not None
            child.stdin.close()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            log.warning("the product did not end and is killed")
            child.kill()
            child.wait(2)

    def _let_go(self) -> None:
        self._child, self._started_with, self._address = None, None, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------------ the API

    def _obey(self) -> None:
        """Orders as they come, for as long as a turn lasts."""
        until_s = time.monotonic() + EVERY_S
        while (left_s := until_s - time.monotonic()) > 0 and not self._stop.is_set():
            try:
                path, body = self._orders.get(timeout=min(left_s, 0.1))
            except queue.Empty:
                continue
            answer = self._ask("POST", path, body)
            if answer is None:
                log.warning("%s was not heard by the product", path)
            elif "state" in answer:
                self.state = ProductState("running", self.state.message, answer, self.state.url)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """An answer of the API, once tried anew where a kept connection was cut; None without."""
        if self._address is None:
            return None
        host, port, token = self._address
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        for _ in range(2):
            kept = self._connection
            if kept is None or (kept.host, kept.port) != (host, port):
                kept = self._connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
            try:
                kept.request(method, f"/api/v1/{path}", text, headers)
                answer = kept.getresponse()
                table = json.loads(answer.read(1 << 20))
            except (OSError, http.client.HTTPException, ValueError):
                kept.close()
                self._connection = None
                continue
            if answer.status != 200:
                log.warning("the product refused %s: %s", path, table)
                return None
            return table if isinstance(table, dict) else None
        return None


_Kept = tuple["subprocess.Popen[bytes] | None", "Wanted | None", float]


def _adopted() -> _Kept:
    """The child of the script before a reload."""
    kept: _Kept = KEPT.pop("child", (None, None, 0.0))
    return kept


def _child_of(table: Mapping[str, Any], child: subprocess.Popen[bytes]) -> bool:
    """Whether the run's process is a child of ours: a virtual environment's python on Windows is
    a launcher of the real one."""
    return sys.platform == "win32" and child.poll() is None


def _environment() -> dict[str, str]:
    """Without what OBS sets for the Python inside it."""
    taken = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if name not in taken}


def _log_file(runtime: Path) -> Any:
    """What the product says; begun anew once it is large."""
    path = runtime / "obs-run.log"
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_MOST_BYTES:
            path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(handle, "ab")


def _last_words(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    words = [line.strip() for line in lines if line.strip()]
    return words[-1][:300] if words else ""
