"""Namespaces: a real network in the kernel between two relays, whose packets can be dropped.

    product ─ loopback ─ relay ══ veth, 10.213.0.1 to .2 ══ relay ─ loopback ─ worker

Both namespaces hold nothing but their end of the veth; product and worker stay where they are.
Linux with `ip` and `iptables`, as root; `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from tests.faults.relay import Relay

_NEAR, _FAR = "10.213.0.1", "10.213.0.2"
_CLONE_NEWNET = 0x40000000  # setns(2)


def why_not() -> str:
    """Why there is no such network here, or ""."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "wants root on Linux"
    for tool in ("ip", "iptables"):
        if shutil.which(tool) is None:
            return f"wants {tool}"
    name = f"bc-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespace: {tried.stderr.strip()}"
    dropped = subprocess.run(
        ["ip", "netns", "exec", name, "iptables", "-A", "INPUT", "-j", "DROP"],
        capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(["ip", "netns", "del", name], check=True)
    return f"no iptables there: {dropped.stderr.strip()}" if dropped.returncode else ""


class Network:
    """The two relays and the veth between them; clients connect to 127.0.0.1:`port`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._names = [f"bc-{end}-{os.getpid()}" for end in ("near", "far")]
        self._veths = [f"bcv{end}{os.getpid() % 100000}" for end in "nf"]
        self._target = target
        self._stack = contextlib.ExitStack()
        self.port = 0

    def __enter__(self) -> Network:
        with contextlib.ExitStack() as stack:
            near, far = self._names
            for name in self._names:
                _run("ip", "netns", "add", name)
                stack.callback(_run, "ip", "netns", "del", name)  # its veth goes with it
            _run(
                "ip", "link", "add", self._veths[0], "netns", near,
                "type", "veth", "peer", "name", self._veths[1], "netns", far,
            )  # fmt: skip
            for name, veth, address in zip(self._names, self._veths, (_NEAR, _FAR), strict=True):
                _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", veth)
                _run("ip", "-n", name, "link", "set", veth, "up")
            there = Relay(self._target, host=_FAR, listening=lambda: _socket_in(far))
            stack.enter_context(there)
            here = Relay((_FAR, there.port), going_on=lambda: _socket_in(near))
            stack.enter_context(here)
            self.port = here.port
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def drop(self, share: float) -> None:
        """So many of the packets that come to either end are dropped from now on: 0 none, 1 all."""
        for name in self._names:
            _run("ip", "netns", "exec", name, "iptables", "-F", "INPUT")
            rule = ["iptables", "-A", "INPUT"]
            if 0 < share < 1:
                rule += ["-m", "statistic", "--mode", "random", "--probability", str(share)]
            if share:
                _run("ip", "netns", "exec", name, *rule, "-j", "DROP")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def _socket_in(namespace: str) -> socket.socket:
    """A TCP socket of that namespace: it stays there, whoever uses it."""
    made: list[socket.socket] = []

    def make() -> None:
        """On a thread of its own, which is in that namespace until it ends."""
        handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns to {namespace}")
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        finally:
            os.close(handle)

    _in_thread(make)
    return made[0]


def _in_thread(make: Callable[[], None]) -> None:
    thread = threading.Thread(target=make, name="namespace")
    thread.start()
    thread.join()
