"""Lock file: what only one process of this machine may do at a time.

The system lets go of it however its holder ends; the file itself means nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class LockFile:
    """One holder among all that were made for this path, in any process. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take it now, without waiting. False: somebody else holds it. Raises OSError where there
        can be no such file.
        """
        while self._handle is None:
            handle = os.open(self.path, _FLAGS, 0o600)
            try:
                _lock(handle)
            except OSError:  # POSIX: BlockingIOError; Windows: PermissionError
                os.close(handle)
                return False
            if _is_at(handle, self.path):
                self._handle = handle
            else:  # its holder removed it after we opened it: a lock on nothing
                os.close(handle)
        return True

    def release(self) -> None:
        """Let go, and remove the file. Never raises; may be called twice, and without `acquire`."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if os.name != "nt":  # while it is held: nobody else can have made it his own
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(handle)
        if os.name == "nt":  # an open file cannot be removed there: his, if he was quicker
            with contextlib.suppress(OSError):
                self.path.unlink()


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    mine = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
