"""sd_notify: tells systemd how the worker is, where systemd started it.

The protocol is one datagram of NAME=VALUE lines to a UNIX socket whose path is in NOTIFY_SOCKET
(sd_notify(3)); a path that begins with @ is in the abstract namespace (unix(7)). Nothing of it may
ever hold the worker up: what cannot be sent at once is not sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


def asked_by_systemd(environment: Mapping[str, str], pid: int) -> tuple[str, float]:
    """(where to tell, within how many seconds a sign of life is wanted) for this process; "" and 0:
    nobody asks."""
    address = environment.get("NOTIFY_SOCKET", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    for_us = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    watched = bool(address) and for_us and microseconds.isdigit()
    return address, int(microseconds) / 1e6 if watched else 0.0


class Notifier:
    """Any thread may call. Never raises, never waits."""

    def __init__(self, address: str) -> None:
        """address: a socket's path, "@name" or "" for nobody."""
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Loaded, warm and listening."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """One line for people, in `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        """A sign of life, for WatchdogSec."""
        self._send("WATCHDOG=1")

    def _send(self, lines: str) -> None:
        if not self._address or os.name != "posix":
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto(lines.encode(), self._address)
        except OSError as error:
            log.debug("systemd was not told: %s", error)
