"""The OBS script's two rings without OBS: a writer of what is captured, a reader of what is shown.

What is captured carries a secret (`tests.faults.watermark`) that must never be in obs-out, and a
number. The preset is ink, which leaves a third of it.
"""

import collections
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from brushcast.errors import SourceError
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind
from brushcast.ring import Form, Ring
from brushcast.run_file import RunFile, read_run_file
from tests.faults.processes import children_of
from tests.faults.watermark import leak_of_planes, source_picture

OUTPUT = Size(640, 360)
REMEMBERED = 20_000  # pictures: eleven minutes


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of obs-out at 160x90, and how much of the secret is in it."""

    written_ns: int
    y_HW: Pixels
    leak: float


class FakeObs:
    """Writes obs-in in one thread while it `plays`, reads obs-out in another while it `watches`.

    made_ns: when the source picture of a number was made; the newest `REMEMBERED` of them. seen:
    what came out, the newest of it.
    """

    def __init__(self, folder: Path, rate_fps: float = 30.0, first: int = 0) -> None:
        """first: the number before the first picture's, to tell two sources apart."""
        self.folder, self.rate_fps = folder, rate_fps
        self._first = first
        folder.mkdir(mode=0o700, exist_ok=True)
        self.seen: collections.deque[Seen] = collections.deque(maxlen=REMEMBERED)
        self.made_ns: dict[int, int] = {}
        self.watches = True
        self._size: Size | None = None  # of what is captured; None: OBS is silent
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def plays(self, size: Size | None) -> None:
        """Capture a source of this size from now on, in a new ring; or none."""
        self._size = size

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        ring: Ring | None = None
        size: Size | None = None
        index = self._first
        while not self._stop.wait(1 / self.rate_fps):
            wanted = self._size
            if wanted != size:
                size = wanted
                if ring is not None:
                    ring.close()
                ring = (
                    None if size is None else Ring.create(size, self.folder / "obs-in", Form.BGRA)
                )
            if ring is None or size is None:
                continue
            index += 1
            rgb_HWC = source_picture(index, size)
            now_ns = time.monotonic_ns()
            self.made_ns[index] = now_ns
            self.made_ns.pop(index - REMEMBERED, None)
            ring.write(
                np.asarray(cv2.cvtColor(rgb_HWC, cv2.COLOR_RGB2BGRA), np.uint8), Kind.LIVE,
                seq=index, captured_ns=now_ns, now_ns=now_ns,
            )  # fmt: skip
        if ring is not None:
            ring.close()

    def _read(self) -> None:
        ring: Ring | None = None
        number = 0
        while not self._stop.wait(0.005):
            if not self.watches:
                if ring is not None:
                    ring.close()
                    ring = None
                continue
            if ring is None or ring.replaced():
                if ring is not None:
                    ring.close()
                try:
                    ring, number = Ring.attach(self.folder / "obs-out", Form.I420), 0
                except SourceError:
                    ring = None
                    continue
            picture = ring.newest(number)
            if picture is not None:
                number = picture.number
                assert (picture.width, picture.height) == (OUTPUT.width, OUTPUT.height)
                self.seen.append(_look_at(picture.pixels_HWC, picture.written_ns))
        if ring is not None:
            ring.close()


def _look_at(flat: Pixels, written_ns: int) -> Seen:
    area, width = OUTPUT.area_px, OUTPUT.width
    luma, _, cr = np.split(flat, [area, area * 5 // 4])
    luma_HW, cr_HW = luma.reshape(-1, width), cr.reshape(-1, width // 2)
    return Seen(written_ns, luma_HW[::4, ::4].copy(), leak_of_planes(luma_HW, cr_HW))


class ObsRun:
    """`brushcast run` as the OBS script starts it. main: the module that is `brushcast`;
    environment: what it finds beside ours."""

    def __init__(
        self,
        home: Path,
        folder: Path,
        *options: str,
        main: str = "brushcast",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.report_file = home / "report.json"
        self._words = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        everything = {
            **os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home),
            "BRUSHCAST_RUNTIME_DIR": str(folder), **(environment or {}),
        }  # fmt: skip
        command = [sys.executable, "-m", main, "run", "--source", "obs", "--sink", "obs"]
        command += ["--panel", "127.0.0.1:0", "--preset", "ink", "--lifeline"]
        command += ["--output-size", str(OUTPUT), "--report", str(self.report_file), *options]
        self.process = subprocess.Popen(  # files: a pipe that nobody reads stops who writes
            command, env=everything, text=True,
            stdin=subprocess.PIPE, stdout=self._words[0], stderr=self._words[1],
        )  # fmt: skip

    def found(self) -> RunFile | None:
        return read_run_file(self.folder)

    def state(self) -> dict[str, Any]:
        """GET /api/v1/state, with what run.json says."""
        return self.ask("state")

    def ask(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        run = self.found()
        assert run is not None
        request = urllib.request.Request(
            f"{run.url}/api/v1/{what}",
            headers={"Authorization": f"Bearer {run.token}", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def until(self, what: Callable[[], bool], patience_s: float = 90) -> None:
        ends = time.monotonic() + patience_s
        while not what():
            assert self.process.poll() is None, self.words()
            assert time.monotonic() < ends, f"waited in vain: {self.found() and self.state()}"
            time.sleep(0.05)

    def words(self) -> tuple[str, str]:
        """What it said so far on standard output and on standard error."""
        # pread: the place in the file is shared with who writes it.
        said = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in self._words]
        return said[0].decode(errors="replace"), said[1].decode(errors="replace")

    def hang_up(self, patience_s: float = 40) -> tuple[int, str, str]:
        """The end of OBS: nobody holds the other end of its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.ended(patience_s)

    def ended(self, patience_s: float = 40) -> tuple[int, str, str]:
        """By itself: exit code, output, errors."""
        self.process.wait(patience_s)
        words = self.words()
        self.kill()
        return self.process.returncode, *words

    def child(self, kind: str) -> int:
        """The process id of our oldest child whose command line holds `kind`: later ones wait."""
        return next(pid for pid, command in children_of(self.process.pid) if kind in command)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for file in self._words:
            file.close()
