"""PresetWatch: the presets of the user's folder as they are now, not as they were at the start."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from brushcast.errors import PresetError
from brushcast.presets import Preset, load_presets, read_preset

log = logging.getLogger(__name__)

EVERY_NS = 1_000_000_000

_Stamp = tuple[int, int, int]  # a file's inode, its time of change and its length


class PresetWatch:
    """Looks at the folder at most once a second, and reads only what has changed. One thread.

    A file that is no preset is one line of the log, again only when it has changed; the others are
    there all the same.
    """

    def __init__(self, folder: Path | None) -> None:
        """folder: may be missing, and come later. None: the built-in presets alone."""
        self._folder = folder
        self._built_in = load_presets(None)
        self._stamps: dict[Path, _Stamp] = {}
        self._read: dict[Path, Preset] = {}  # those that could be read
        self._next_ns: int | None = None
        self._look()

    @property
    def presets(self) -> dict[str, Preset]:
        """All by name: the built-in ones, then the user's, which replace those of the same name."""
        own = [self._read[path] for path in sorted(self._read)]
        return {**self._built_in, **{preset.name: preset for preset in own}}

    def changed(self, now_ns: int) -> dict[str, Preset] | None:
        """The presets, if a look is due and something in the folder has changed since the last."""
        if self._next_ns is None:
            self._next_ns = now_ns + EVERY_NS
        if now_ns < self._next_ns:
            return None
        self._next_ns = now_ns + EVERY_NS
        return self.presets if self._look() else None

    def _look(self) -> bool:
        stamps = _stamps(self._folder) if self._folder is not None else {}
        if stamps == self._stamps:
            return False
        before, self._stamps = self._stamps, stamps
        self._read = {path: preset for path, preset in self._read.items() if path in stamps}
        for path, stamp in stamps.items():
            if before.get(path) == stamp:
                continue
            self._read.pop(path, None)
            try:
                self._read[path] = read_preset(path)
            except PresetError as error:
                log.warning("left out: %s", error)
        return True


def _stamps(folder: Path) -> dict[Path, _Stamp]:
    """Of the presets' files in it; none where it cannot be read."""
    found: dict[Path, _Stamp] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".toml") and entry.is_file():  # reading a pipe would hang
                    found[Path(entry.path)] = _stamp(Path(entry.path))
    except OSError as error:
        log.debug("presets in %s: %s", folder, error)
    return found


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()  # a DirEntry's own is not up to date on Windows
    except OSError:
        return (0, 0, 0)  # it has just gone
    return (found.st_ino, found.st_mtime_ns, found.st_size)
