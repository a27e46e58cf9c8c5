"""`python3 -m installer uninstall`: everything of Brushcast away again, listed and asked first.

Never follows a link out of our folders: a link is taken away, and what it points to stays.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from installer import desktop, obs, obs_folders, question
from installer.errors import SetupError, from_os_error
from installer.obs import Machine
from installer.places import Places

MARK = ".brushcast-bootstrap"
"""packaging/bootstrap.sh leaves it in a checkout that it has made."""
_SETUP_FILES = (".venv-setup.log", ".venv-setup.lock")
_RUN_FILES = ("run.json", "run.json.part", "obs-in", "obs-out", "obs-run.log")
_LEFT_RING = re.compile(r"brushcast-[a-z0-9_]{8}")
_GIT_PATIENCE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something to take away: a file, a link or a whole folder."""

    path: Path
    what: str
    keep: tuple[str, ...] = ()
    """Names in the folder that stay."""


def run(arguments: Sequence[str], root: Path, machine: Machine) -> int:
    """The command. 0: gone, or there was nothing; 1: it was declined. Raises SetupError."""
    parser = argparse.ArgumentParser(prog="python3 -m installer uninstall")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--keep-models", action="store_true", help="they were long in coming")
    options = parser.parse_args(list(arguments))
    require_stopped(machine.places)
    for folder in machine.places.runtime:
        if os.path.lexists(folder) and not _is_this_homes(folder, machine.places):
            machine.out.write(f"Left alone: {folder}, which is the account's and not this HOME's\n")
    wanted = targets(root, machine.places, keep_models=options.keep_models)
    changes = obs.removals(obs_folders.find(machine.places))
    if changes:
        obs.require_closed(machine)
    if not wanted and not changes:
        machine.out.write(f"Nothing of Brushcast is left but this folder: {root}\n")
        return 0
    machine.out.write("This goes away:\n")
    for change in changes:
        machine.out.write(f"  {'':>10}  {change.what}\n")
    for target in wanted:
        size = human(size_bytes(target))
        machine.out.write(f"  {size:>10}  {target.path}  ({target.what})\n")
    if not question.confirm(
        "All of it?", yes=options.yes, answers=machine.answers, out=machine.out
    ):
        machine.out.write("Nothing was changed.\n")
        return 1
    for copy in obs.apply(changes, machine) if changes else ():
        machine.out.write(f"The scene collection as it was: {copy}\n")
    require_stopped(machine.places)
    left = [sentence for target in wanted for sentence in take_away(target)]
    machine.out.write("".join(f"Left alone: {sentence}\n" for sentence in left))
    if root.exists():
        machine.out.write(f"Gone. What is left is this folder, which is yours: {root}\n")
    else:
        machine.out.write("Gone.\n")
    return 0


def targets(root: Path, places: Places, *, keep_models: bool) -> list[Target]:
    """What is there of ours, in the order in which it goes; the environment last."""
    return [target for target in _known(root, places, keep_models) if os.path.lexists(target.path)]


def _known(root: Path, places: Places, keep_models: bool) -> Iterator[Target]:
    for path in desktop.paths(places):
        yield Target(path=path, what="desktop entry")
    for folder in places.runtime:
        if not _is_this_homes(folder, places):
            continue
        if not places.runtime_is_chosen and _is_mine(folder):
            yield Target(path=folder, what="pictures of a run")
        elif _is_mine(folder):  # named by the user, so perhaps not ours alone
            for name in _RUN_FILES:
                yield Target(path=folder / name, what="pictures of a run")
        if places.runtime_is_chosen:
            continue
        for left in sorted(folder.parent.glob("brushcast-*")):
            if _LEFT_RING.fullmatch(left.name) and _is_ring_folder(left) and not users(left):
                yield Target(path=left, what="pictures of a run, used by nobody")
    yield Target(path=places.cache, what="caches")
    kept = ("models",) if keep_models else ()
    yield Target(path=places.data, what="models and data" if not kept else "data", keep=kept)
    if places.config != places.data:
        yield Target(path=places.config, what="settings, your presets, install.json")
    for name in (*_SETUP_FILES, ".venv"):
        yield Target(path=root / name, what="environment" if name == ".venv" else "set-up's log")
    if (root / MARK).is_file() and not _has_work(root):
        yield Target(path=root, what="the program itself, as bootstrap.sh put it there")


def take_away(target: Target) -> list[str]:
    """Removes it; sentences about what was left on purpose. Raises SetupError."""
    path = target.path
    try:
        if path.is_symlink():
            where = os.readlink(path)
            path.unlink()
            return [f"{where}, which {path} pointed to"]
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return []
        links = [f"{os.readlink(link)}, which {link} pointed to" for link in _links(target)]
        if any((path / name).exists() for name in target.keep):
            for entry in path.iterdir():
                if entry.name not in target.keep:
                    take_away(Target(path=entry, what=target.what))
            return [*links, *(str(path / name) for name in target.keep)]
        shutil.rmtree(path)
    except OSError as error:
        raise from_os_error(error, f"removing {path}") from error
    return links if target.what != "environment" else []


def size_bytes(target: Target) -> int:
    """What it takes on the disk, links not followed."""
    return sum(_size(path) for path in _walk(target))


def human(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def require_stopped(places: Places) -> None:
    """Raises SetupError while Brushcast runs: it would write its files anew."""
    for folder in places.runtime:
        try:
            pid = json.loads((folder / "run.json").read_text(encoding="utf-8"))["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(pid, int) and pid > 0 and _is_alive(pid, places.platform):
            raise SetupError(
                f"Brushcast is running (process {pid}): stop it first, in its terminal or in OBS."
            )
    if places.platform != "linux":
        return
    for folder in places.runtime:
        rings = [path for path in folder.parent.glob("brushcast-*") if _is_ring_folder(path)]
        for used in (folder, *rings):
            if _is_this_homes(folder, places) and (found := users(used)):
                raise SetupError(
                    f"Brushcast is running: process {min(found)} uses {used}; stop it first."
                )


def users(folder: Path, proc: Path = Path("/proc")) -> set[int]:
    """Processes that have mapped a file of the folder (Linux). Where /proc cannot be read, this one
    is named: unknown is not unused."""
    found = set()
    try:
        processes = [entry for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return {os.getpid()}
    for process in processes:
        try:
            maps = (process / "maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        if f" {folder}/" in maps:
            found.add(int(process.name))
    return found


def _is_this_homes(folder: Path, places: Places) -> bool:
    """Shared memory belongs to the account. With another HOME than the account's (a test, a
    sandbox) what is there may be the work of a run of the real home."""
    if places.runtime_is_chosen or folder.is_relative_to(places.home):
        return True
    if places.platform == "win32":
        return True  # it is among the user's own folders there
    account = str(importlib.import_module("pwd").getpwuid(os.getuid()).pw_dir)
    return os.path.realpath(account) == os.path.realpath(places.home)


def _is_alive(pid: int, platform: str) -> bool:
    if platform == "win32":
        command = ["tasklist", "/FI", f"PID eq {pid}", "/NH", "/FO", "CSV"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return False
        return f'"{pid}"' in done.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return False  # another user's, so not ours
    try:
        # The number may have gone to another program meanwhile.
        return b"brushcast" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _is_mine(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return mine and stat.S_ISDIR(status.st_mode)


def _is_ring_folder(folder: Path) -> bool:
    return _is_mine(folder) and [entry.name for entry in folder.iterdir()] == ["ring"]


def _has_work(root: Path) -> bool:
    """True where the checkout holds changes or files that git does not know: they are the
    user's."""
    if not (root / ".git").exists():
        return False
    command = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return True
    return done.returncode != 0 or bool(done.stdout.strip())


def _walk(target: Target) -> Iterator[Path]:
    yield target.path
    if target.path.is_symlink() or not target.path.is_dir():
        return
    for folder, folders, files in os.walk(target.path):
        if folder == str(target.path):
            folders[:] = [name for name in folders if name not in target.keep]
        yield from (Path(folder, name) for name in (*folders, *files))


def _links(target: Target) -> list[Path]:
    return [path for path in _walk(target) if path.is_symlink()]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
