"""Rig: the whole product between a source that numbers its pictures and a sink that reads them.

The source is OBS's ring (`tests.e2e.obs_rig.FakeObs`), the sinks OBS's ring and the probe; every
child is a process as always. What happens is read in the probe's log, the panel's API and /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from brushcast.frame import Size
from tests.e2e.obs_rig import FakeObs, ObsRun
from tests.faults.bridge_tap import COLLECTS_VARIABLE, LOST_VARIABLE
from tests.faults.faulty_worker import (
    ECHO_CHUNK,
    ENGINE_VARIABLE,
    FAULT_VARIABLE,
    STEPS_VARIABLE,
)
from tests.faults.oracle import (
    LEAK_MOST,
    LEAK_MOST_ECHO,
    LIVE_LOCAL_MS,
    LIVE_REMOTE_MS,
    Log,
    Seen,
    Steps,
    Verdict,
    judge,
    live_again_ns,
)
from tests.faults.probe import LOG_VARIABLE
from tests.faults.processes import children_of, cpu_s, is_there
from tests.faults.rows import Row, count

ROOT = Path(__file__).parents[2]
SOURCE = Size(640, 360)
RATE_FPS = 30.0
PATIENCE_S = 90.0
KEPT = 40_000  # pictures of the log in memory
ROLES = {
    "tests.faults.faulty_worker": "worker", "tests.faults.probe": "camera",
    "tests.faults.bridge_tap": "bridge",
}  # fmt: skip
WAITING = {"worker": "spare", "camera": "next camera"}


class Rig:
    """One run of the product, entered and left. engine: `pocket`, or `echo` (see faulty_worker).
    options: of `brushcast run`, beside those of the rig. first: the number before the source's
    first picture. environment: of the product, beside what the rig needs. steps: the log of an
    engine that is not of this product's own worker.
    """

    def __init__(
        self,
        home: Path,
        *options: str,
        engine: str = "echo",
        remote: bool = False,
        first: int = 0,
        environment: Mapping[str, str] | None = None,
        steps: Path | None = None,
    ) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.engine, self.remote = home, engine, remote
        self._order = home / "order"
        self._log = Log(home / "probe.jsonl")
        self.seen: list[Seen] = []
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self._environment = {
            "PYTHONPATH": path, ENGINE_VARIABLE: engine, FAULT_VARIABLE: str(self._order),
            LOG_VARIABLE: str(home / "probe.jsonl"), LOST_VARIABLE: str(home / "lost.jsonl"),
            COLLECTS_VARIABLE: str(home / "collects"),
        }  # fmt: skip
        self._options, self._first = options, first
        self._environment.update(environment or {})
        steps = steps or home / "steps"
        self._environment[STEPS_VARIABLE] = str(steps)
        self._steps = Steps(steps, home / "collects", chunk_frames=ECHO_CHUNK, rate_fps=RATE_FPS)
        self.streams = 1  # of the worker: each waits for the others' steps

    def __enter__(self) -> Rig:
        self.obs = FakeObs(self.home / "run", RATE_FPS, self._first)
        try:
            self.obs.plays(SOURCE)
            self.run = ObsRun(
                self.home, self.obs.folder, "--sink", "null", *self._options,
                main="tests.faults.probed", environment=self._environment,
            )  # fmt: skip
        except BaseException:
            self.obs.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.run.process.poll() is None:
                with contextlib.suppress(Exception):
                    self.run.hang_up()
            self.run.kill()
        finally:
            self.obs.close()

    # ------------------------------------------------------------------ what is done to it

    def order(self, words: str) -> None:
        """What the engine is to do: see faulty_worker; "" for nothing."""
        partial = self._order.with_suffix(".part")
        partial.write_text(words)
        partial.rename(self._order)

    def order_was_taken(self) -> bool:
        """An order for once is being carried out, or was."""
        return not self._order.exists()

    def pid(self, role: str, patience_s: float = PATIENCE_S) -> int:
        """Of the `worker` (the one that serves), `spare`, `bridge`, `camera` or `next camera`;
        waits for it."""
        ends_s = time.monotonic() + patience_s
        while time.monotonic() < ends_s:
            found = self.pids()
            if role in found:
                return found[role]
            time.sleep(0.02)
        raise AssertionError(f"no {role} among {self.pids()}: {self.run.words()[1][-2000:]}")

    def pids(self) -> dict[str, int]:
        """Our processes by role, the supervisor too. Of two the older one serves."""
        found = {"supervisor": self.run.process.pid}
        for pid, command in children_of(self.run.process.pid):
            role = next((name for part, name in ROLES.items() if part in command), None)
            if role in WAITING and role in found:
                role = WAITING[role]
            if role is not None:
                found[role] = pid
        return found

    def kill(self, role: str, signal_number: int = 9) -> int:
        """Send a signal; when, in monotonic ns."""
        pid = self.pid(role)
        now_ns = time.monotonic_ns()
        os.kill(pid, signal_number)
        return now_ns

    def retry(self) -> None:
        self.run.ask("control", {"action": "retry"})

    # ------------------------------------------------------------------ what is seen of it

    def read(self) -> list[Seen]:
        """All that the log had since the beginning, or the newest `KEPT` of it."""
        self.seen += self._log.new()
        del self.seen[:-KEPT]
        return self.seen

    def until(
        self, what: Callable[[], bool], patience_s: float = PATIENCE_S, why: str = ""
    ) -> float:
        """Waits; how long it took, in seconds. Raises AssertionError when the patience is over or
        the product has ended."""
        begun_s = time.monotonic()
        while not what():
            if self.run.process.poll() is not None:
                raise AssertionError(f"the product ended: {self.run.words()}")
            if time.monotonic() - begun_s > patience_s:
                raise AssertionError(f"waited {patience_s:.0f} s in vain for {why or what}")
            time.sleep(0.01)
        return time.monotonic() - begun_s

    def live_since(self, since_ns: int, patience_s: float = PATIENCE_S) -> float:
        """Until a picture made after that moment is shown live: ms from it to the sink."""

        def shown() -> bool:
            return live_again_ns(self.read(), since_ns) is not None

        self.until(shown, patience_s, "a live picture")
        found_ns = live_again_ns(self.seen, since_ns)
        assert found_ns is not None
        return (found_ns - since_ns) / 1e6

    def live(self, patience_s: float = PATIENCE_S) -> float:
        """Until it is live now; ms."""
        return self.live_since(time.monotonic_ns(), patience_s)

    def spare(self) -> None:
        """Until a spare worker stands by, warm: its processor time no longer grows."""
        pid = self.pid("spare")
        before = -1.0
        while (now := cpu_s(pid)) is not None and now - before > 0.02:
            before = now
            time.sleep(0.4)

    def state(self) -> dict[str, Any]:
        """The panel's state; {} while the bridge is not there."""
        with contextlib.suppress(OSError, AssertionError, ValueError):
            return self.run.state()
        return {}

    def lost_ns(self) -> list[int]:
        """When the bridge lost a worker, or gave it up, so far."""
        try:
            lines = (self.home / "lost.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(json.loads(line)["at_ns"]) for line in lines if line.endswith("}")]

    def noticed(self, since_ns: int, patience_s: float = 30) -> float:
        """Until the bridge knows that the worker is lost: ms since then."""
        self.until(
            lambda: any(at_ns >= since_ns for at_ns in self.lost_ns()), patience_s,
            "the bridge to lose the worker",
        )  # fmt: skip
        return (next(at_ns for at_ns in self.lost_ns() if at_ns >= since_ns) - since_ns) / 1e6

    @contextlib.contextmanager
    def watch(self) -> Iterator[Callable[[], Verdict]]:
        """What the audience sees within the block; the verdict is there after it."""
        before = len(self.read())
        mark = self.seen[-1] if before else None
        found: list[Verdict] = []
        yield lambda: found[0]
        stretch = self.read()
        start = stretch.index(mark) if mark is not None else 0
        found.append(self.judged(stretch[start:]))

    def own_delay_ms(self, at_ns: int) -> float:
        """The engine's own delay at that time. With several streams a chunk waits for the other
        streams' steps."""
        return self.streams * self._steps.own_delay_ms(at_ns)

    def judged(self, stretch: list[Seen]) -> Verdict:
        self._steps.read()
        echo = self.engine == "echo"
        most_ms = LIVE_REMOTE_MS if self.remote else LIVE_LOCAL_MS
        return judge(
            stretch,
            made_ns=self.obs.made_ns.get,
            live_most_ms=lambda one: most_ms + self.own_delay_ms(one.at_ns),
            leak_most=LEAK_MOST_ECHO if echo else LEAK_MOST,
        )

    def settle(self, seconds: float = 4.0) -> None:
        """Until it is live and has been for a while."""
        self.live()
        time.sleep(seconds)

    def restarted(self, pid: int, patience_s: float = 30) -> int:
        """Until that process is gone; when, in monotonic ns."""
        self.until(lambda: not is_there(pid), patience_s, f"the end of process {pid}")
        return time.monotonic_ns()

    def raw_in_obs(self) -> int:
        """Pictures of OBS's own ring with the secret in them."""
        most = LEAK_MOST_ECHO if self.engine == "echo" else LEAK_MOST
        return sum(seen.leak > most for seen in list(self.obs.seen))

    def end(self) -> Row:
        """The run is over: what it leaves behind."""
        children = [pid for role, pid in self.pids().items() if role != "supervisor"]
        code, _, errors = self.run.hang_up()
        time.sleep(0.5)
        left = sum(is_there(pid) for pid in children)
        return Row(
            fault="the end of the run",
            promise="exit code 0, no process and no file of the exchange is left",
            checks=(
                count("exit code", code, 0),
                count("processes left", left, 0),
                count("files left", len(os.listdir(self.obs.folder)), 0),
                count("raw in OBS's ring", self.raw_in_obs(), 0),
            ),
            note="" if code == 0 else errors[-300:],
        )

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.report_file.read_text())
        return found
