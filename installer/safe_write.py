"""Files that are replaced whole or not at all, and copies of what they were."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import stat
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Writes `content` beside `path` and gives it that name when it is on the disk. Behind a link
    the file is replaced, and not the link. An existing file keeps its mode and owner. Raises
    OSError; what was there is then untouched."""
    path = Path(os.path.realpath(path))
    draft = path.with_name(path.name + ".brushcast-part")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(draft, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(stat.S_IMODE(old.st_mode) if old else mode)
        if old and hasattr(os, "chown"):
            with contextlib.suppress(OSError):  # root at work on a user's file
                os.chown(draft, old.st_uid, old.st_gid)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def back_up(path: Path, now: datetime.datetime) -> Path:
    """A copy beside the file, NAME.brushcast-backup-YYYYmmdd-HHMMSS; its path. Never over another
    one. Raises OSError."""
    real = Path(os.path.realpath(path))
    copy = real.with_name(f"{real.name}.brushcast-backup-{now:%Y%m%d-%H%M%S}")
    number = 1
    while copy.exists():
        number += 1
        copy = copy.with_name(f"{real.name}.brushcast-backup-{now:%Y%m%d-%H%M%S}-{number}")
    shutil.copy2(real, copy)
    return copy
