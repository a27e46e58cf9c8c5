"""Two machines in one: a worker and a streaming PC, each with a home of its own, that meet at an
address of this machine which is not loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def own_address() -> str | None:
    """An address of this machine beyond loopback; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # no packet is sent
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Machine:
    """A home, and what is run in it; all that it ever printed is kept."""

    def __init__(self, home: Path, **variables: str) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.printed: list[str] = []
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),  # as product.Product has it
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
            "BRUSHCAST_RUNTIME_DIR": str(home / "run"),
            **variables,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`python -m ARGUMENTS`."""
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, given: str = "", patience_s: float = 60) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        process = self.start(*arguments)
        out, err = process.communicate(given, timeout=patience_s)
        self.printed += [out, err]
        return process.returncode, out, err


def pair_machines(there: Machine, here: Machine, address: str, port: int) -> str:
    """As two people would; the secret of the line that was used."""
    waiting = there.start(
        "brushcast_worker", "pair", "--json", "--address", address, "--port", str(port),
        "--bind", f"tcp://{address}:0",
    )  # fmt: skip
    assert waiting.stdout is not None
    line = str(json.loads(waiting.stdout.readline())["line"])
    code, _, err = here.run("brushcast", "pair", "--name", "studio", given=line + "\n")
    assert code == 0, err
    out, err = waiting.communicate(timeout=60)
    there.printed += [out, err]
    assert waiting.returncode == 0, err
    return line.rpartition("/")[2]


class Serving:
    """`brushcast-worker serve` with the embedded model, from its first event on."""

    def __init__(self, machine: Machine, bind: str, *arguments: str) -> None:
        self.machine = machine
        self.process = machine.start(
            "brushcast_worker", *arguments, "serve", "--supervised", "--engine", "pocket",
            "--device", "cpu", "--bind", bind,
        )  # fmt: skip
        self.lines: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(stream,))
            for stream in (self.process.stderr, self.process.stdout)
        ]
        self._readers[0].start()
        while True:
            line = self.process.stdout.readline()
            self.lines.append(line)
            event: dict[str, Any] = json.loads(line or '{"event": "ended"}')
            assert event["event"] in ("listening", "ready"), self.lines
            if event["event"] == "ready":
                break
        self._readers[1].start()

    def _read(self, stream: Any) -> None:
        self.lines += stream

    def close(self) -> None:
        """Ends with its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            for reader in self._readers:
                reader.join()
            self.process.stdout.close()  # type: ignore[union-attr]
            self.process.stderr.close()  # type: ignore[union-attr]
            self.machine.printed += self.lines
