"""Clock: moves the wall clock of a process and its children, and of nobody else.

A library of twenty lines, built where there is a C compiler, stands before libc's three functions
that tell it; the offset is read from a file at each call. The monotonic clock is left alone, as by
a user who sets the clock. (libfaketime 0.9.10 was tried: it makes CPython's time.sleep fail, which
sleeps until a monotonic time.)
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

OFFSET_VARIABLE = "BRUSHCAST_TEST_CLOCK"
_SOURCE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset_s(void) {
    char text[32] = {0};
    const char *path = getenv("BRUSHCAST_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    long got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset_s();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


class MovedClock:
    """environment: of the process whose clock it is; built in `folder`. Raises OSError where there
    is no compiler, CalledProcessError where it fails."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise OSError("wants a C compiler")
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SOURCE)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        self._offset = folder / "offset"
        self.move(0)
        self.environment = {"LD_PRELOAD": str(library), OFFSET_VARIABLE: str(self._offset)}

    def move(self, offset_s: int) -> None:
        """So far from the true time, from now on."""
        partial = self._offset.with_suffix(".part")
        partial.write_text(str(offset_s))
        partial.rename(self._offset)
