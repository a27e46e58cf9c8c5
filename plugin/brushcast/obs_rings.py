"""OBS's rings: what the runtime folder holds beside run.json.

`obs-in`: what OBS captures, BGRA, written by the OBS script, read by the bridge. `obs-out`: what
OBS is to show, I420, written by the camera process, read by the script. Who holds the lock is the
run that OBS shows.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from brushcast.lock_file import LockFile

OBS_IN = "obs-in"
OBS_OUT = "obs-out"
STALE_NS = 1_000_000_000  # a picture that is older is none: on both sides


def obs_lock(folder: Path) -> LockFile:
    """Held by the one who writes obs-out."""
    return LockFile(folder / f"{OBS_OUT}.lock")


def remove_obs_rings(folder: Path) -> None:
    """At a run's end: a child that was killed leaves its ring behind. The script makes obs-in again
    when it wants to. Rings that another run uses stay. Never raises.
    """
    lock = obs_lock(folder)
    try:
        if not lock.acquire():
            return
    except OSError:
        return  # no folder, no rings
    for name in (OBS_IN, OBS_OUT, f"{OBS_OUT}.part"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    lock.release()
