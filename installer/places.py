"""Where Brushcast keeps things on this system: the same folders as platformdirs names, found
without it. Only names: nothing is made here."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APP = "brushcast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of ours, and the roots of the desktop's own."""

    platform: str
    """sys.platform: linux, darwin, win32."""
    home: Path
    config: Path
    data: Path
    """Models; on macOS and Windows the same folder as `config`."""
    cache: Path
    runtime: tuple[Path, ...]
    """Where pictures and run.json may be, the likeliest first. Unless it was chosen, it is the
    account's, and not this home's: a temporary HOME shares it with the real one."""
    config_root: Path
    """Where every program keeps its configuration: OBS's folder is in it."""
    data_root: Path
    runtime_is_chosen: bool = False
    """BRUSHCAST_RUNTIME_DIR named it."""


def find(
    platform: str = sys.platform,
    environ: Mapping[str, str] | None = None,
    shared_memory: Path = Path("/dev/shm"),
    temporary: Path | None = None,
) -> Places:
    """The places of the user whom the environment describes."""
    temporary = temporary or Path(tempfile.gettempdir())
    environment = os.environ if environ is None else environ
    home = Path(environment.get("USERPROFILE" if platform == "win32" else "HOME") or Path.home())

    def named(variable: str, otherwise: Path) -> Path:
        value = environment.get(variable, "")
        return Path(value) if value.strip() else otherwise

    if platform == "win32":
        local = named("LOCALAPPDATA", home / "AppData" / "Local")
        roaming = named("APPDATA", home / "AppData" / "Roaming")
        config, data, cache = local / APP, local / APP, local / APP / "Cache"
        config_root, data_root = roaming, roaming
        runtime = [local / APP / "run"]
    elif platform == "darwin":
        support = home / "Library" / "Application Support"
        config, data, cache = support / APP, support / APP, home / "Library" / "Caches" / APP
        config_root, data_root = support, support
        runtime = [temporary / f"{APP}-{os.getuid()}"]
    else:
        config_root = named("XDG_CONFIG_HOME", home / ".config")
        data_root = named("XDG_DATA_HOME", home / ".local" / "share")
        config, data = config_root / APP, data_root / APP
        cache = named("XDG_CACHE_HOME", home / ".cache") / APP
        user = f"{APP}-{os.getuid()}"
        runtime = [shared_memory / user, temporary / user]
    if chosen := environment.get("BRUSHCAST_RUNTIME_DIR", "").strip():
        runtime = [Path(chosen)]
    return Places(
        platform=platform,
        home=home,
        config=config,
        data=data,
        cache=cache,
        runtime=tuple(runtime),
        config_root=config_root,
        data_root=data_root,
        runtime_is_chosen=bool(chosen),
    )
