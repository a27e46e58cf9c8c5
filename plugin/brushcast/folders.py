"""Where Brushcast keeps things: settings, models that were fetched, what can be made again, and
what lives as long as a run.

Only names, and nothing is made here, except the runtime folder. platformdirs knows each system's
places.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from brushcast.errors import ConfigError

APP = "brushcast"
RUNTIME_VARIABLE = "BRUSHCAST_RUNTIME_DIR"
_SHARED_MEMORY = Path("/dev/shm")


def user_folder() -> Path:
    """Where a user's own settings are."""
    return Path(platformdirs.user_config_dir(APP, appauthor=False))


def user_presets_folder() -> Path:
    """Where a user's own presets are."""
    return user_folder() / "presets"


def keys_folder() -> Path:
    """Where the keys for workers on other machines are, and those of a worker for its bridges."""
    return user_folder() / "keys"


def models_folder() -> Path:
    """Where `brushcast models fetch` puts weights. They are gigabytes: not among what a system
    cleans up by itself."""
    return Path(platformdirs.user_data_dir(APP, appauthor=False)) / "models"


def obs_audio_record() -> Path:
    """The file that remembers which of OBS's sound offsets are ours. Among the settings, not in a
    runtime folder: OBS keeps an offset over a restart of the machine, so we remember it as long."""
    return user_folder() / "obs-audio.json"


def compiled_folder() -> Path:
    """Where a GPU's worker keeps what it compiled, so that the next start need not."""
    return Path(platformdirs.user_cache_dir(APP, appauthor=False)) / "compiled"


def prompts_folder() -> Path:
    """Where embeddings of prompts are kept, so that the text encoder need not run again."""
    return Path(platformdirs.user_cache_dir(APP, appauthor=False)) / "prompts"


def runtime_folder() -> Path:
    """The folder in which the parts of a run and the OBS script meet: run.json and the rings of
    OBS. Made (0700) where it is missing.

    The environment's BRUSHCAST_RUNTIME_DIR, else in shared memory, else among temporary files; the
    OBS script looks in the same places. Raises ConfigError for a folder that somebody else could
    write to: whoever can replace a ring sees the camera, or puts a picture on the air.
    """
    path = _runtime_place()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(path)  # not what a link points to
    except OSError as error:
        raise ConfigError(f"runtime folder {path}: {error.strerror or error}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"runtime folder {path}: is a link, wanted a folder of your own")
    if os.name == "posix":
        if found.st_uid != os.getuid():
            raise ConfigError(
                f"runtime folder {path}: belongs to user {found.st_uid}, "
                f"wanted a folder of your own (user {os.getuid()})"
            )
        if found.st_mode & 0o022:
            raise ConfigError(
                f"runtime folder {path}: has mode {stat.S_IMODE(found.st_mode):04o}, "
                "wanted one that nobody else can write to (0700)"
            )
    return path


def _runtime_place() -> Path:
    if chosen := os.environ.get(RUNTIME_VARIABLE):
        return Path(chosen)
    if os.name == "nt":
        return Path(platformdirs.user_data_dir(APP, appauthor=False)) / "run"
    own = f"{APP}-{os.getuid()}"
    if os.access(_SHARED_MEMORY, os.W_OK):
        return _SHARED_MEMORY / own
    return Path(tempfile.gettempdir()) / own
