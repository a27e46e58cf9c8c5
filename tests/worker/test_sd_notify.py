"""What systemd is told, over a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from brushcast_worker.sd_notify import Notifier, asked_by_systemd

pytestmark = pytest.mark.skipif(os.name != "posix", reason="UNIX sockets")


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and the address that it gives."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@brushcast-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listening.settimeout(5)
        yield listening, address


def test_each_word_is_one_datagram(systemd: tuple[socket.socket, str]) -> None:
    listening, address = systemd
    notifier = Notifier(address)
    notifier.ready("pocket on a CPU")
    notifier.status("2 streams")
    notifier.alive()
    notifier.stopping()
    heard = [listening.recv(4096).decode() for _ in range(4)]
    assert heard == [
        "READY=1\nSTATUS=pocket on a CPU", "STATUS=2 streams", "WATCHDOG=1", "STOPPING=1",
    ]  # fmt: skip


def test_a_systemd_that_does_not_read_holds_nobody_up(systemd: tuple[socket.socket, str]) -> None:
    notifier = Notifier(systemd[1])
    for _ in range(5000):
        notifier.status("x" * 1000)


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody"])
def test_nobody_there_is_no_error(address: str) -> None:
    Notifier(address).ready("x")


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, ("", 0)),
        ({"NOTIFY_SOCKET": "/a"}, ("/a", 0)),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "30000000"}, ("/a", 30)),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, ("/a", 0.5)),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, ("/a", 0)),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "soon"}, ("/a", 0)),
        ({"WATCHDOG_USEC": "30000000"}, ("", 0)),
    ],
)
def test_what_systemd_asks_of_this_process(
    environment: dict[str, str], asked: tuple[str, float]
) -> None:
    assert asked_by_systemd(environment, 7) == asked
