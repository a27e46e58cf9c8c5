"""The one exception of the installer, and how an operating system's error becomes its sentence."""

from __future__ import annotations

import errno

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_WINDOWS_DISK_FULL = 112


class SetupError(Exception):
    """Set-up cannot go on. The message is one complete sentence for the user; nothing else is
    printed."""


def from_os_error(error: OSError, doing: str) -> SetupError:
    """The sentence for an OSError met while `doing` (a phrase like "writing the log")."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _DISK_FULL or getattr(error, "winerror", None) == _WINDOWS_DISK_FULL:
        return SetupError(
            f"The disk is full{where}: free some space and run the same command again."
        )
    reason = error.strerror or str(error)
    return SetupError(f"Set-up failed while {doing}: {reason}{where}.")
