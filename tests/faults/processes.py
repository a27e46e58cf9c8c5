"""What /proc says of a process. Linux; elsewhere everything is unknown."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Weight:
    """What a process holds. rss_bytes: its own memory, without what it maps of files (rings)."""

    rss_bytes: int
    handles: int
    threads: int


def children_of(pid: int) -> list[tuple[int, str]]:
    """(process id, command line) of each, oldest first. The numbers themselves wrap."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        fields = _stat(int(entry.name))
        if fields is None or int(fields[1]) != pid or fields[0] == "Z":
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found.append((int(fields[19]), int(entry.name), command))
    return [(child, command) for _, child, command in sorted(found)]


def is_there(pid: int) -> bool:
    """Running or stopped: not gone, and no zombie."""
    fields = _stat(pid)
    return fields is not None and fields[0] != "Z"


def started_ns(pid: int) -> int | None:
    """When it began, monotonic, to a hundredth of a second; None: it is gone."""
    fields = _stat(pid)
    if fields is None:
        return None
    slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return int(fields[19]) * 1_000_000_000 // _TICKS - slept_ns


def cpu_s(pid: int) -> float | None:
    """The processor time that it has used; None: it is gone."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_with_children_s(pid: int) -> float:
    """Of a process, of its children, and of those that it has waited for."""
    fields = _stat(pid)
    if fields is None:
        return 0.0
    own_s = sum(int(field) for field in fields[11:15]) / _TICKS
    return own_s + sum(cpu_with_children_s(child) for child, _ in children_of(pid))


def weight_of(pid: int) -> Weight | None:
    """None: it is gone."""
    try:
        lines = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
        table = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
        handles = len(os.listdir(_PROC / str(pid) / "fd"))
        return Weight(int(table["RssAnon"].split()[0]) * 1024, handles, int(table["Threads"]))
    except (OSError, KeyError, ValueError):
        return None


def _stat(pid: int) -> list[str] | None:
    """The fields from the state on (proc(5): number 3)."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
