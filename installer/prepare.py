"""Brings the environment to what is wanted: nothing where the stamp agrees, the missing steps
otherwise."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from installer import hardware, stamp, torch_build
from installer.errors import SetupError, from_os_error
from installer.pip import NotFetched, Pip
from installer.progress import Progress
from installer.stamp import Kind, Stamp
from installer.torch_build import Asked, TorchBuild
from installer.venv import Venv

# Imported once in a fresh process before the stamp is written; this also writes the bytecode
# that pip did not.
_IMPORTS = "numpy, cv2, av, zmq, msgpack, click, rich.progress, aiohttp.web, platformdirs"
_CHECK_TIMEOUT_S = 300
# Space that a set-up still needs where most of the environment stands already.
_TOP_UP_BYTES = 300 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the environment shall be. `asked` None: as it was asked for the last time."""

    kind: Kind
    asked: Asked | None = None
    check: bool = False
    """True: import everything, even where the stamp agrees."""
    fresh: bool = False
    """True: make it anew in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The environment can be used."""

    venv: Venv
    device: str
    """The line that says what will be used and why."""


def ensure(root: Path, wanted: Wanted, progress: Progress) -> Ready:
    """Makes, completes or repairs the environment of the repository at `root`. Raises
    SetupError."""
    venv = Venv(folder=root / ".venv")
    wish, why = _wish(root, venv, wanted)
    if not why:
        return _ready(venv)
    log_path = root / ".venv-setup.log"
    try:
        with (
            _alone(root / ".venv-setup.lock", progress),
            log_path.open("w", encoding="utf-8") as log,
        ):
            wish, why = _wish(root, venv, wanted)  # another set-up may have done it meanwhile
            if why:
                _Setup(
                    root=root, venv=venv, wish=wish, log=log, log_path=log_path, progress=progress
                ).run(why)
    except OSError as error:
        raise from_os_error(error, "setting up") from error
    return _ready(venv)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    kind: Kind
    asked: Asked
    fresh: bool


def _wish(root: Path, venv: Venv, wanted: Wanted) -> tuple[_Wish, str]:
    """What to set up, and why that is needed; empty: the environment is as wanted."""
    old = stamp.read(venv)
    kind: Kind = "dev" if old and old.kind == "dev" else wanted.kind
    asked = wanted.asked or _remembered(old)
    wish = _Wish(kind=kind, asked=asked, fresh=wanted.fresh)
    if wanted.fresh:
        return wish, "a fresh one was asked for"
    if old is None:
        return wish, "it is half-made" if os.path.lexists(venv.folder) else "there is none"
    if old.kind != kind or old.lock != stamp.lock_hash(root, kind):
        return wish, "the locked dependencies have changed"
    if old.project != stamp.project_hash(root) or old.root != str(root):
        return wish, "the project has changed"
    if old.asked != asked or old.hardware != hardware.signature():
        return wish, "the device has changed"
    return wish, stamp.lacks(venv, old) or ("a check was asked for" if wanted.check else "")


def _remembered(old: Stamp | None) -> Asked:
    return next((choice for choice in torch_build.ASKED if old and choice == old.asked), "auto")


def _ready(venv: Venv) -> Ready:
    now = stamp.read(venv)
    assert now is not None
    return Ready(venv=venv, device=now.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    root: Path
    venv: Venv
    wish: _Wish
    log: TextIO
    log_path: Path
    progress: Progress

    def run(self, why: str) -> None:
        build = torch_build.choose(hardware.probe(), self.wish.asked)
        problem = self._problem()
        self._require_space(build, anew=bool(problem))
        is_first = not os.path.lexists(self.venv.folder)
        if is_first:
            self.progress.say(
                "Setting up Brushcast in .venv; this happens once and takes a minute or two."
            )
        else:
            self.progress.say(
                f"{'Making .venv anew' if problem else 'Completing .venv'}: {problem or why}."
            )
        stamp.erase(self.venv)
        found = self._make(build, anew=bool(problem))
        if isinstance(found, str) and not problem:
            self.progress.say(f"Making .venv anew: {found}.")
            found = self._make(build, anew=True)
        if isinstance(found, str):
            raise SetupError(
                f"The environment was set up and still does not work: {found} (see "
                f"{self.log_path})."
            )
        self._stamp(build, _device_line(build, found))

    def _problem(self) -> str:
        """Why the environment must be made anew; empty: what is there can be completed."""
        if self.wish.fresh:
            return "a fresh one was asked for"
        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        theirs = self.venv.python_version()
        if stamp.read(self.venv) is None and theirs not in ("", ours):
            # Perhaps it is half-made because that Python was the wrong one.
            return f"it is half-made with Python {theirs}, and this is {ours}"
        return self.venv.problem()

    def _make(self, build: TorchBuild, *, anew: bool) -> dict[str, bool] | str:
        """All steps; what the check found, or what is wrong with the result."""
        if anew:
            self.progress.begin("Environment")
            self.venv.remove()
            self.venv.create(self.log)
            self.progress.end("made")
        pip = Pip(
            python=self.venv.python, log=self.log, log_path=self.log_path, progress=self.progress
        )
        self._install_lock(pip)
        if build.requirement:
            self._install_torch(pip, build)
        self.progress.begin("Brushcast")
        pip.install("brushcast", ["--no-deps", "--no-build-isolation", "-e", str(self.root)])
        self.progress.update(0.5, "importing everything once", at_once=True)
        found = self._check(build)
        self.progress.end("checked" if isinstance(found, dict) else "damaged")
        return found

    def _install_lock(self, pip: Pip) -> None:
        lock = stamp.lock_file(self.root, self.wish.kind)
        count = len(
            re.findall(r"^[A-Za-z0-9][^=\n]*==", lock.read_text(encoding="utf-8"), re.MULTILINE)
        )
        self.progress.begin("Packages")
        pip.install(
            "the packages", ["--require-hashes", "--no-deps", "-r", str(lock)], expected=count
        )
        self.progress.end(f"{count} locked")

    def _install_torch(self, pip: Pip, build: TorchBuild) -> None:
        self.progress.begin("PyTorch")
        installed = self.venv.installed_version("torch")
        if installed != build.version:
            if installed:
                pip.uninstall("torch")
            arguments = [] if build.with_dependencies else ["--no-deps"]
            if build.index:
                arguments += ["--extra-index-url", build.index]
            try:
                pip.install(f"PyTorch {build.version}", [*arguments, build.requirement])
            except NotFetched as error:
                raise _without_fallback(error, build) from error
        self.progress.end(build.version)

    def _check(self, build: TorchBuild) -> dict[str, bool] | str:
        """Imports what was installed, in a fresh process: what torch can use, or what is wrong."""
        code = f"import json, {_IMPORTS}; found = {{}}\n"
        if build.requirement:
            code += (
                "import torch, safetensors.torch\n"
                "found = dict(cuda=torch.cuda.is_available(), "
                "mps=torch.backends.mps.is_available())\n"
            )
        code += "print(json.dumps(found))"
        environment = {
            k: v
            for k, v in os.environ.items()
            if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME")
        }
        try:
            done = subprocess.run(
                [str(self.venv.python), "-c", code],
                capture_output=True,
                text=True,
                timeout=_CHECK_TIMEOUT_S,
                check=False,
                env=environment,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"the check of its packages did not end ({type(error).__name__})"
        self.log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return f"a package cannot be imported ({last[0]})"
        found: dict[str, bool] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def _require_space(self, build: TorchBuild, *, anew: bool) -> None:
        is_standing = not anew and self.venv.installed_version("torch") == build.version
        needed = _TOP_UP_BYTES if is_standing else build.disk_bytes
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise SetupError(
                f"The disk is too full: the set-up needs {needed / 2**30:.1f} GiB in "
                f"{self.root} and "
                f"{free / 2**30:.1f} GiB are free."
            )

    def _stamp(self, build: TorchBuild, device: str) -> None:
        done = Stamp(
            kind=self.wish.kind,
            asked=self.wish.asked,
            root=str(self.root),
            lock=stamp.lock_hash(self.root, self.wish.kind),
            project=stamp.project_hash(self.root),
            hardware=hardware.signature(),
            python=stamp.python_trace(self.venv),
            torch=build.version,
            device=device,
            tree=stamp.tree(self.venv),
        )
        stamp.write(self.venv, done)


def _device_line(build: TorchBuild, found: dict[str, bool]) -> str:
    """The one line; honest where the GPU build was installed and torch cannot use the GPU after
    all."""
    if build.backend == "none":
        return "Device: none on this machine, because no local worker was asked for."
    if build.backend in ("cuda", "mps") and not found.get(build.backend):
        return (
            f"Device: CPU, because PyTorch {build.version} cannot use the {build.device} "
            "that was found."
        )
    return f"Device: {build.device}, because {build.why} (PyTorch {build.version})."


def _without_fallback(error: NotFetched, build: TorchBuild) -> SetupError:
    """Without a GPU, PyPI's own build would bring gigabytes for nothing: never taken instead."""
    if build.backend != "cpu" or not build.index:
        return error
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return SetupError(
        f"The CPU build of PyTorch ({build.version} for Python {python}) is neither at "
        f"{build.index} nor in pip's find-links, and the CUDA build is not taken instead: "
        "it would fetch gigabytes that this machine cannot use."
    )


@contextlib.contextmanager
def _alone(path: Path, progress: Progress) -> Iterator[None]:
    """One set-up at a time in a repository; a second one waits for the first."""
    with path.open("a", encoding="utf-8") as handle:
        if not _try_lock(handle, wait=False):
            progress.say("Another set-up is at work here; waiting for it.")
            _try_lock(handle, wait=True)
        yield  # closing the file gives the lock back


def _try_lock(handle: IO[str], *, wait: bool) -> bool:
    if sys.platform == "win32":
        windows = importlib.import_module("msvcrt")
        while True:
            try:
                windows.locking(handle.fileno(), windows.LK_LOCK if wait else windows.LK_NBLCK, 1)
            except OSError:
                if wait:
                    continue  # LK_LOCK itself gives up after ten seconds
                return False
            return True
    posix = importlib.import_module("fcntl")
    try:
        posix.flock(handle, posix.LOCK_EX if wait else posix.LOCK_EX | posix.LOCK_NB)
    except BlockingIOError:
        return False
    return True
