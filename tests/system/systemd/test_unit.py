"""The worker's unit as a real systemd runs it: confined, ready when it can paint, started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import children_of

ROOT = Path(__file__).parents[3]
UNIT = "brushcast-worker.service"
SYSTEMD = Path("/lib/systemd/systemd")
SPACES = "--pid --fork --mount --cgroup --ipc --uts --mount-proc --propagation private".split()
UP_S, READY_S, WATCHDOG_S = 20.0, 120.0, 60.0


class Systemd:
    """One that runs the unit alone."""

    def __init__(self, log: Path) -> None:
        site = Path(sysconfig.get_paths()["purelib"])
        begin = [str(Path(__file__).parent / "begin.sh"), str(ROOT / "packaging/systemd" / UNIT)]
        begin += [str(ROOT), sys.base_prefix, str(site)]
        self.log = log
        with log.open("wb") as written:
            self.process = subprocess.Popen(
                ["unshare", *SPACES, "bash", *begin], stdout=written, stderr=subprocess.STDOUT
            )
        self.first = 0  # the process id of systemd, seen from here

    def up(self) -> str:
        """Why it does not come up here, or ""."""
        ends_s = time.monotonic() + UP_S
        while time.monotonic() < ends_s and self.process.poll() is None:
            for pid, command in children_of(self.process.pid):
                self.first = pid
                if "systemd" in command and self.tell("list-units", patience_s=2):
                    return ""
            time.sleep(0.2)
        self.end()
        return self.log.read_text(errors="replace")[-500:] or "no answer"

    def inside(self, *command: str, patience_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command in its namespaces."""
        enter = ["nsenter", "-t", str(self.first), "-m", "-p", *command]
        try:
            return subprocess.run(enter, capture_output=True, text=True, timeout=patience_s)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(enter, 1, "", "")

    def tell(self, *words: str, patience_s: float = 30.0) -> str:
        """systemctl's answer; empty: none."""
        done = self.inside("systemctl", "--no-pager", *words, patience_s=patience_s)
        return done.stdout if done.returncode == 0 else ""

    def says(self, name: str) -> str:
        """A property of the unit."""
        return self.tell("show", "--value", "-p", name, UNIT).strip()

    def until(self, what: Callable[[], bool], patience_s: float) -> None:
        ends_s = time.monotonic() + patience_s
        while not what():
            assert time.monotonic() < ends_s, self.words()
            time.sleep(0.3)

    def words(self) -> str:
        """What the unit is and what the worker wrote, for whoever reads a failure."""
        return self.tell("status", UNIT) + self.inside("cat", "/run/worker.err").stdout[-2000:]

    def ready(self) -> bool:
        return self.says("ActiveState") == "active" and "pocket on" in self.says("StatusText")

    def end(self) -> None:
        if self.first:
            try:
                os.kill(self.first, signal.SIGKILL)  # the first process of its namespace
            except ProcessLookupError:
                pass
        self.process.kill()
        self.process.wait()


def why_not() -> str:
    """What this machine lacks, or ""."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "wants root on Linux"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        return "wants systemd"
    tried = subprocess.run(["unshare", *SPACES, "true"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    if reason := why_not():
        pytest.skip(f"no systemd of our own: {reason}")
    one = Systemd(tmp_path_factory.mktemp("systemd") / "log")
    if reason := one.up():
        pytest.skip(f"systemd does not come up here: {reason}")
    yield one
    one.end()


@pytest.mark.system
@pytest.mark.slow
def test_the_unit_is_ready_confined_and_started_again(systemd: Systemd) -> None:
    started = systemd.inside("systemctl", "start", UNIT, patience_s=READY_S)
    assert started.returncode == 0, started.stderr + systemd.words()
    assert systemd.ready(), "READY=1 comes when it can paint, and not before"
    first = systemd.says("MainPID")

    status = systemd.inside("cat", f"/proc/{first}/status").stdout
    table = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert table["Uid"].split()[0] != "0"
    assert (table["NoNewPrivs"], table["Seccomp"]) == ("1", "2")
    assert int(table["CapBnd"], 16) == 0
    for folder in ("/var/lib/brushcast", "/var/cache/brushcast", "/run/brushcast"):
        assert systemd.inside("stat", "-c", "%a %U", folder).stdout.split() == ["700", "brushcast"]
    seen = systemd.inside("nsenter", "-t", first, "-m", "sh", "-c", "touch /etc/x; ls -A /root")
    assert "Read-only file system" in seen.stderr
    assert not seen.stdout, "no home folder"

    systemd.inside("kill", "-KILL", first)
    systemd.until(lambda: systemd.says("MainPID") not in (first, "0") and systemd.ready(), READY_S)
    second = systemd.says("MainPID")
    systemd.inside("kill", "-STOP", second)  # no sign of life
    systemd.until(
        lambda: systemd.says("MainPID") not in (second, "0") and systemd.ready(),
        WATCHDOG_S + READY_S,
    )
    assert systemd.says("NRestarts") == "2"

    begun_s = time.monotonic()
    systemd.tell("stop", UNIT)
    assert time.monotonic() - begun_s < 10
    assert (systemd.says("Result"), systemd.says("ExecMainStatus")) == ("success", "0")
