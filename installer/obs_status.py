"""What a doctor says about OBS: is it there, which version, where is our script registered, and is
the Python right that it loads. Reads only."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from installer import obs_collection, obs_folders, obs_python
from installer.line import Line
from installer.obs_folders import ObsConfig
from installer.places import Places

_REGISTER = "python3 -m installer obs"
_KNOWN = f"{obs_folders.OLDEST} to {obs_folders.NEWEST}"
_PATIENCE_S = 10


def lines(script: Path, places: Places, environ: Mapping[str, str]) -> Iterator[Line]:
    """The lines about OBS; `script`: where ours is in this checkout."""
    program = find_program(places, environ)
    configs = obs_folders.find(places)
    if not configs:
        yield _never_ran(program)
        return
    config = configs[0]
    yield _obs(config, program)
    yield _script(config, script)
    python = obs_python.setting(config, places.platform)
    if python.state != "linked":
        is_good = python.state == "good"
        yield Line(
            verdict="ok" if is_good else "note",
            topic="OBS's Python",
            text=python.text,
            how="" if is_good else _REGISTER,
        )


def find_program(places: Places, environ: Mapping[str, str]) -> str:
    """Where OBS is installed; empty: not found."""
    home = places.home
    if places.platform == "win32":
        roots = [environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMW6432")]
        candidates = [Path(root, "obs-studio/bin/64bit/obs64.exe") for root in roots if root]
    elif places.platform == "darwin":
        candidates = [Path("/Applications/OBS.app"), home / "Applications" / "OBS.app"]
    else:
        if found := shutil.which("obs", path=environ.get("PATH")):
            return found
        flatpak = "flatpak/app/com.obsproject.Studio"
        candidates = [
            Path("/var/lib") / flatpak,
            places.data_root / flatpak,
            Path("/snap/obs-studio/current"),
        ]
    return next((str(path) for path in candidates if path.exists()), "")


def program_version(program: str) -> obs_folders.Version | None:
    """What the program says of itself (Linux); None: it does not."""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def _never_ran(program: str) -> Line:
    if not program:
        return Line(
            verdict="note",
            topic="OBS",
            text=f"not found; only needed to use Brushcast inside OBS (known: {_KNOWN})",
        )
    version = program_version(program) if Path(program).is_file() else None
    number = " {}.{}.{}".format(*version) if version else ""
    return Line(
        verdict="note",
        topic="OBS",
        text=f"OBS{number} in {program} has never run for this user",
        how=f"start and close it once, then {_REGISTER}",
    )


def _obs(config: ObsConfig, program: str) -> Line:
    where = f"{config.title}, {program or 'its program was not found'}, {config.folder}"
    major = config.version[0] if config.version else None
    if major is not None and not obs_folders.OLDEST <= major <= obs_folders.NEWEST:
        what = "too old" if major < obs_folders.OLDEST else "newer than what the script knows"
        return Line(verdict="note", topic="OBS", text=f"{where}: {what} ({_KNOWN})")
    if config.kind in ("flatpak", "snap"):
        text = f"{where}: in its sandbox the script cannot start Brushcast (docs/OBS.md)"
        return Line(verdict="note", topic="OBS", text=text)
    return Line(verdict="ok" if program else "note", topic="OBS", text=where)


def _script(config: ObsConfig, script: Path) -> Line:
    topic = "OBS script"
    current = obs_folders.current(config)
    registered: dict[str, list[str]] = {}
    for collection in obs_folders.collections(config):
        try:
            text = collection.path.read_bytes().decode("utf-8")
            if paths := obs_collection.ours(text):
                registered[collection.name] = paths
        except (OSError, ValueError):
            continue
    if not registered:
        return Line(
            verdict="note", topic=topic, text="in no scene collection of OBS", how=_REGISTER
        )
    wrong = {
        name: path for name, paths in registered.items() for path in paths if Path(path) != script
    }
    for name, path in wrong.items():
        what = "another checkout" if Path(path).is_file() else "a file that is gone"
        return Line(
            verdict="note",
            topic=topic,
            text=f'"{name}" has the script of {what}, {path}',
            how=f'{_REGISTER} --collection "{name}"',
        )
    names = ", ".join(f'"{name}"' for name in registered)
    if current and current.name not in registered:
        text = f'in the scene collection {names}, but not in the current one, "{current.name}"'
        return Line(verdict="note", topic=topic, text=text, how=_REGISTER)
    return Line(verdict="ok", topic=topic, text=f"in the scene collection {names}")
