"""Process: what a process that must keep its pace asks of the system. All of it is optional:
refused, nothing is said.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import Any

SWITCH_S = 0.001  # the default of 5 ms is a sixth of an output period
NICENESS = -10  # below audio servers (-11), above everything ordinary
REAL_TIME = 1  # the least: below audio servers (rtkit gives them 5 and more)
ENCODER_NICENESS = -5
_ABOVE_NORMAL = 0x8000  # Windows: ABOVE_NORMAL_PRIORITY_CLASS
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MMAP_THRESHOLD_BYTES = 32 * 2**20  # glibc takes no more
_TRIM_THRESHOLD_BYTES = 256 * 2**20


def raise_priority() -> bool:
    """Prefer the calling thread (Linux; threads that it starts inherit it) or process. False: not
    allowed.

    Real time where the system lets us: with niceness alone the pacing thread stood in the queue for
    up to 166 ms while the spare worker loaded (measured, two cores).
    """
    if os.name == "nt":
        kernel: Any = ctypes.CDLL("kernel32")
        return bool(kernel.SetPriorityClass(kernel.GetCurrentProcess(), _ABOVE_NORMAL))
    if os.getsid(0) == os.getpid():
        weigh_session(os.getpid(), NICENESS)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    except OSError:
        return False
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME))
    return True


def step_back() -> None:
    """After `raise_priority`: let the other threads of this process go first, still before ordinary
    work (Linux only: elsewhere it would be the process). For encoding.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, 0, ENCODER_NICENESS)


def weigh_session(pid: int, niceness: int) -> bool:
    """Give the session that this process leads its place among the other sessions (Linux with
    autogroups, as distributions for desktops have them). False: no such thing, or not allowed.

    Every child of the supervisor leads a session of its own, and the niceness of a thread counts
    within its session only: without this a worker of niceness 5 takes as much as the camera
    process.
    """
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")
    except OSError:
        return False
    return True


def stolen_s() -> float:
    """How long this machine's processors were taken away since it started: by the host of a virtual
    machine. A gap in the output that comes with it is none of ours. 0 where nobody counts it.
    """
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = file.readline().split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed (Linux, glibc). True: done.

    A fresh 1280x720 picture otherwise costs 675 page faults, 1.8 ms in a virtual machine: more than
    scaling it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt: Any = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES))


def avoid_pauses() -> None:
    """Short turns for threads that hold the interpreter, and no garbage collection of what is there
    by now.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
