"""Where OBS keeps its configuration, and what it says there. Reads only.

To OBS 30 everything is in global.ini. From 31 the user's settings are in user.ini, and global.ini
may name other folders for them and for the scene collections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from installer import obs_collection, obs_ini
from installer.places import Places

Kind = Literal["system", "flatpak", "snap", "chosen"]
Version = tuple[int, int, int]

_FLATPAK = ".var/app/com.obsproject.Studio/config/obs-studio"
_SNAP = "snap/obs-studio/current/.config/obs-studio"
OLDEST, NEWEST = 28, 32
"""Major versions that the script knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A scene collection: the name that OBS shows, and its file."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ObsConfig:
    """One OBS of the user."""

    kind: Kind
    folder: Path
    version: Version | None
    """That ran last with this configuration; None: it does not say."""
    settings: Path
    """The ini file with the user's settings."""
    scenes: Path

    @property
    def title(self) -> str:
        """For people: "OBS 30.2.3 (Flatpak)"."""
        number = "OBS" if self.version is None else "OBS {}.{}.{}".format(*self.version)
        kinds = {"flatpak": " (Flatpak)", "snap": " (Snap)"}
        return number + kinds.get(self.kind, "")


def find(places: Places, chosen: Path | None = None) -> list[ObsConfig]:
    """Every OBS that has run for this user, the one that was used last first; `chosen`: that
    folder alone."""
    if chosen is not None:
        return [_read("chosen", chosen)] if (chosen / "global.ini").is_file() else []
    folders: list[tuple[Kind, Path]] = [("system", places.config_root / "obs-studio")]
    if places.platform not in ("win32", "darwin"):
        folders += [("flatpak", places.home / _FLATPAK), ("snap", places.home / _SNAP)]
    found = [_read(kind, folder) for kind, folder in folders if (folder / "global.ini").is_file()]
    return sorted(found, key=_last_use_s, reverse=True)


def collections(config: ObsConfig) -> list[Collection]:
    """The scene collections by name. One whose file cannot be understood goes by the file's
    name."""
    found = []
    for path in sorted(config.scenes.glob("*.json")):
        try:
            title = obs_collection.name(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            title = ""
        found.append(Collection(name=title or path.stem, path=path))
    return sorted(found, key=lambda collection: collection.name.casefold())


def current(config: ObsConfig) -> Collection | None:
    """The collection that OBS opens at its next start; None: it does not say, or there is none."""
    found = collections(config)
    text = read_ini(config.settings)
    name = obs_ini.get(text, "Basic", "SceneCollection")
    stem = obs_ini.get(text, "Basic", "SceneCollectionFile").removesuffix(".json")
    by_name = [collection for collection in found if collection.name == name]
    by_file = [collection for collection in found if collection.path.stem == stem]
    # From 31 the name decides, before that the file.
    order = by_name + by_file if config.settings.name == "user.ini" else by_file + by_name
    if order:
        return order[0]
    return found[0] if len(found) == 1 else None


def read_ini(path: Path) -> str:
    """An ini file's text; empty: there is none that can be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def _read(kind: Kind, folder: Path) -> ObsConfig:
    text = read_ini(folder / "global.ini")
    version = parse_version(obs_ini.get(text, "General", "LastVersion"))
    settings, scenes = folder / "global.ini", folder / "basic" / "scenes"
    # Without a version, user.ini's being there says that it is a newer one.
    if version >= (31, 0, 0) if version else (folder / "user.ini").is_file():
        settings = _moved(text, "Configuration", folder) / "user.ini"
        scenes = _moved(text, "SceneCollections", folder) / "basic" / "scenes"
    return ObsConfig(kind=kind, folder=folder, version=version, settings=settings, scenes=scenes)


def _moved(text: str, what: str, folder: Path) -> Path:
    """[Locations] names the folder above "obs-studio"; where that is gone OBS takes its own."""
    place = obs_ini.get(text, "Locations", what)
    return Path(place) / "obs-studio" if place and Path(place).is_dir() else folder


def parse_version(number: str) -> Version | None:
    """LastVersion: major, minor and patch in one number of 8, 8 and 16 bits."""
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) < 2**32:
        return None
    value = int(number)
    return (value >> 24, value >> 16 & 0xFF, value & 0xFFFF)


def _last_use_s(config: ObsConfig) -> float:
    try:
        return config.settings.stat().st_mtime
    except OSError:
        return 0.0
