"""One boot of the guest for all tests of this folder, with a worker on this side for `live`.

BRUSHCAST_VCAM_VISIT names the folder of an earlier boot, for who works on the tests themselves.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.system.vcam.guest import run_in_guest, why_not

BOOT_S = 540


@pytest.fixture(scope="session")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the guest has left: NAME.json of every scene."""
    if earlier := os.environ.get("BRUSHCAST_VCAM_VISIT"):
        return Path(earlier)
    if reason := why_not():
        pytest.skip(reason)
    pytest.importorskip("torch", reason="the light install has no worker")
    folder, stop = tmp_path_factory.mktemp("guest"), threading.Event()
    with worker() as endpoint:
        arguments = (folder / "out", endpoint, stop)
        carrier = threading.Thread(target=carry, args=arguments, name="carrier")
        carrier.start()
        try:
            out = run_in_guest("tests.system.vcam.visit", folder, BOOT_S)
        finally:
            stop.set()
            carrier.join()
    return out


class Scenes:
    """What was seen in each scene."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        assert "error" not in found, found["error"]
        return found


@pytest.fixture(scope="session")
def scenes(visit: Path) -> Scenes:
    return Scenes(visit)


@contextlib.contextmanager
def worker() -> Iterator[str]:
    """A worker of this machine; its endpoint."""
    command = [sys.executable, "-m", "brushcast_worker", "serve", "--supervised"]
    command += ["--bind", "tcp://127.0.0.1:0", "--device", "cpu"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            events = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [event["event"] for event in events] == ["listening", "ready"], events
            yield events[0]["endpoint"]
        finally:
            process.terminate()


def carry(out: Path, endpoint: str, stop: threading.Event) -> None:
    """The near end of the guest's connections: to the worker and back, until `stop`."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    connections: dict[Path, tuple[socket.socket, BinaryIO, BinaryIO]] = {}
    while not stop.wait(0.005):
        for file in out.glob("*.up"):
            down = file.with_suffix(".down")
            if file not in connections and down.exists():
                connection = socket.create_connection((host, int(port)))
                connections[file] = (connection, file.open("rb", 0), down.open("ab", 0))
        for file, (connection, up, down_stream) in connections.items():
            if file.with_suffix(".end").exists():
                connection.close()
                continue
            while data := up.read(65536):
                connection.sendall(data)
            with contextlib.suppress(BlockingIOError):
                down_stream.write(connection.recv(65536, socket.MSG_DONTWAIT))
    for opened in connections.values():
        for part in opened:
            part.close()
