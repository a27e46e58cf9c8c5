"""`python3 -m installer obs`: our script into OBS's scene collection, and out of it again.

Scripts belong to a scene collection. It is changed after a question, beside a copy of the old
file, and never while OBS runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from installer import (
    install_record,
    obs_collection,
    obs_folders,
    obs_ini,
    obs_python,
    obs_running,
    obs_status,
    places,
    question,
    safe_write,
)
from installer.errors import SetupError
from installer.line import render
from installer.obs_folders import Collection, ObsConfig
from installer.places import Places

SCRIPT = Path("obs_scripts") / obs_collection.SCRIPT_NAME
_CAVEATS: Mapping[str, str] = {
    "flatpak": "This OBS runs in Flatpak's sandbox: it can neither start Brushcast (.venv's Python "
    "is outside) nor share pictures with it in /dev/shm. 'flatpak override --user --device=shm "
    "com.obsproject.Studio' and 'brushcast run --source obs --sink obs' in a terminal may help; "
    "nobody has tried that yet. OBS from your distribution has no such wall, and Brushcast as a "
    "virtual camera works with any OBS.",
    "snap": "This OBS runs in Snap's sandbox: it can neither start Brushcast nor share pictures "
    "with it, so the script will say so and do nothing. OBS from your distribution has no such "
    "wall, and Brushcast as a virtual camera works with any OBS.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the command asks of the world around it."""

    places: Places
    environ: Mapping[str, str]
    answers: TextIO
    out: TextIO
    obs_runs: Callable[[], bool]
    now: Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file that gets another content, and what that means."""

    path: Path
    what: str
    before: bytes
    content: bytes


def here() -> Machine:
    """This machine, its terminal and its clock."""
    return Machine(
        places=places.find(),
        environ=os.environ,
        answers=sys.stdin,
        out=sys.stdout,
        obs_runs=obs_running.is_running,
        now=datetime.datetime.now,
    )


def run(arguments: Sequence[str], root: Path, machine: Machine) -> int:
    """The command. 0: done, or nothing to do; 1: it was declined. Raises SetupError, or NeedsAnswer
    where nobody can be asked."""
    parser = argparse.ArgumentParser(prog="python3 -m installer obs")
    parser.add_argument("--collection", metavar="NAME", help="another one than the current one")
    parser.add_argument("--config", metavar="FOLDER", type=Path, help="OBS's, where it is portable")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--remove", action="store_true", help="out of every collection")
    parser.add_argument("--status", action="store_true", help="only say what is registered where")
    parser.add_argument("--json", action="store_true", help="of --status: JSON")
    options = parser.parse_args(list(arguments))
    if options.status:
        lines = list(obs_status.lines(root / SCRIPT, machine.places, machine.environ))
        shown = json.dumps([asdict(line) for line in lines]) if options.json else render(lines)
        machine.out.write(shown + "\n")
        return 0
    found = obs_folders.find(machine.places, options.config)
    if options.remove:
        changes = removals(found)
        done = "Brushcast's script is in none of OBS's scene collections any more."
        if not changes:
            machine.out.write("Brushcast's script is in none of OBS's scene collections.\n")
            return 0
        return _carry_out(changes, machine, yes=options.yes, done=done)
    return _register(found, root, options, machine)


def removals(configs: Sequence[ObsConfig]) -> list[Change]:
    """What takes our script out of every collection. Files that nobody understands are left
    alone."""
    changes = []
    for config in configs:
        for collection in obs_folders.collections(config):
            try:
                text = _text(collection)
                without = obs_collection.without_script(text)
            except (SetupError, ValueError):
                continue
            if without != text:
                what = f"{_name(config, collection)}: loses the script brushcast_obs.py"
                changes.append(_change(collection.path, what, text, without))
    return changes


def apply(changes: Sequence[Change], machine: Machine) -> list[Path]:
    """Writes them, each beside a copy of what was there; the copies. Raises SetupError while OBS
    runs, OSError."""
    require_closed(machine)
    for change in changes:
        if change.path.read_bytes() != change.before:
            raise SetupError(f"{change.path} was changed meanwhile: run the same command again.")
    copies = []
    for change in changes:
        copies.append(safe_write.back_up(change.path, machine.now()))
        safe_write.replace(change.path, change.content)
    return copies


def require_closed(machine: Machine) -> None:
    """Raises SetupError while OBS runs."""
    if machine.obs_runs():
        raise SetupError(
            "OBS is running, and would write its own state over the change: close it, then run "
            "the same command again."
        )


def _register(
    found: Sequence[ObsConfig], root: Path, options: argparse.Namespace, machine: Machine
) -> int:
    script = root / SCRIPT
    if not script.is_file():
        raise SetupError(f"{script} is missing: this checkout is incomplete.")
    if not found:
        where = options.config or machine.places.config_root / "obs-studio"
        raise SetupError(
            f"No OBS has run here yet ({where} has no global.ini): install OBS 28 to 32, start it "
            "once, close it, and run the same command again."
        )
    config = found[0]
    if config.version and config.version[0] < obs_folders.OLDEST:
        raise SetupError(f"{config.title} is too old for Brushcast's script: wanted 28 to 32.")
    collection = _collection(config, options.collection)
    changes, remarks = _additions(config, collection, script, machine)
    if not install_record.command(machine.places):
        remarks.append("OBS cannot start Brushcast before 'python3 -m installer setup' has run.")
    remarks += [
        f"Left alone: {other.title} in {other.folder} (--config chooses it)." for other in found[1:]
    ]
    for remark in remarks:
        machine.out.write(f"Note: {remark}\n")
    if not changes:
        machine.out.write(f"{_name(config, collection)} has the script already: {script}\n")
        return 0
    done = (
        "At its next start OBS loads the script: Tools > Scripts > brushcast_obs.py. Other scene "
        "collections do not have it; --collection NAME adds it there."
    )
    return _carry_out(changes, machine, yes=options.yes, done=done)


def _additions(
    config: ObsConfig, collection: Collection, script: Path, machine: Machine
) -> tuple[list[Change], list[str]]:
    changes, remarks = [], []
    if config.kind in _CAVEATS:
        remarks.append(_CAVEATS[config.kind])
    if config.version and config.version[0] > obs_folders.NEWEST:
        remarks.append(f"{config.title} is newer than what the script knows: it may decline.")
    text = _text(collection)
    try:
        before = obs_collection.ours(text)
        after = obs_collection.with_script(text, script.as_posix())
    except obs_collection.NotACollection as error:
        raise SetupError(f"{collection.path} is no scene collection: {error}.") from None
    if after != text:
        what = f"gets the script {script}"
        if before:
            what = f"the script's place {before[0]} becomes {script}"
        what = f"{_name(config, collection)}: {what}"
        changes.append(_change(collection.path, what, text, after))
    python = obs_python.setting(config, machine.places.platform)
    if python.state in ("unset", "stale", "old"):
        folders = obs_python.candidates(machine.places, python.newest_minor, machine.environ)
        if folders:
            ini = config.settings.read_bytes().decode("utf-8", "surrogateescape")
            new = obs_ini.put(ini, obs_python.SECTION, obs_python.KEY, folders[0].as_posix())
            what = f"{config.title}: its Python becomes {folders[0]} ({python.text})"
            changes.append(_change(config.settings, what, ini, new))
        else:
            remarks.append(
                f"{python.text[0].upper()}{python.text[1:]}. None was found here: install 64-bit "
                f"Python 3.{python.newest_minor} from python.org and run the same command again."
            )
    return changes, remarks


def _carry_out(changes: Sequence[Change], machine: Machine, *, yes: bool, done: str) -> int:
    require_closed(machine)
    for change in changes:
        machine.out.write(f"{change.what}\n    in {change.path}\n")
    machine.out.write("A copy of each file is kept beside it.\n")
    if not question.confirm("Change that?", yes=yes, answers=machine.answers, out=machine.out):
        machine.out.write("Nothing was changed.\n")
        return 1
    for copy in apply(changes, machine):
        machine.out.write(f"The old file: {copy}\n")
    machine.out.write(f"{done}\n")
    return 0


def _change(path: Path, what: str, before: str, after: str) -> Change:
    old, new = (text.encode("utf-8", "surrogateescape") for text in (before, after))
    return Change(path=path, what=what, before=old, content=new)


def _collection(config: ObsConfig, name: str | None) -> Collection:
    found = obs_folders.collections(config)
    names = ", ".join(f'"{collection.name}"' for collection in found)
    if not found:
        raise SetupError(
            f"{config.title} has no scene collection yet ({config.scenes}): start it once, close "
            "it, and run the same command again."
        )
    if name is None:
        if chosen := obs_folders.current(config):
            return chosen
        raise SetupError(f"{config.title} does not say which is current: --collection {names}?")
    for collection in found:
        if name in (collection.name, collection.path.stem):
            return collection
    raise SetupError(f'{config.title} has no scene collection "{name}"; it has {names}.')


def _text(collection: Collection) -> str:
    try:
        return collection.path.read_bytes().decode("utf-8")
    except ValueError:
        raise SetupError(f"{collection.path} is no scene collection: it is no UTF-8.") from None


def _name(config: ObsConfig, collection: Collection) -> str:
    return f'{config.title}, scene collection "{collection.name}"'
