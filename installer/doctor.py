"""`python3 -m installer doctor`: a short honest table of this machine. Changes nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from installer import hardware, obs_status, places, stamp, system_packages, torch_build
from installer.errors import SetupError
from installer.line import Line
from installer.obs import SCRIPT
from installer.venv import Venv

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 20


def examine(root: Path) -> Iterator[Line]:
    """The lines, top-down in the order in which set-up needs the things."""
    venv = Venv(folder=root / ".venv")
    done = stamp.read(venv)
    yield Line(verdict="ok", topic="Python", text=f"{platform.python_version()} ({sys.executable})")
    yield _venv_module()
    yield _environment(root, venv, done)
    yield _device(done)
    yield _disk(root, done)
    yield Line(verdict="ok", topic="ffmpeg", text="not needed: PyAV brings its own libraries")
    yield _camera()
    yield _virtual_camera()
    yield from obs_status.lines(root / SCRIPT, places.find(), os.environ)
    yield _test_programs()


def _venv_module() -> Line:
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return Line(verdict="ok", topic="venv module", text="present")
    return Line(
        verdict="BAD", topic="venv module", text="missing (Debian: apt-get install python3-venv)"
    )


def _environment(root: Path, venv: Venv, done: stamp.Stamp | None) -> Line:
    if not os.path.lexists(venv.folder):
        return Line(verdict="note", topic="environment", text="none yet: the first run makes it")
    if done is None:
        return Line(
            verdict="note", topic="environment", text="half-made: the next run completes it"
        )
    lacks = stamp.lacks(venv, done)
    if lacks:
        return Line(verdict="note", topic="environment", text=f"{lacks}: the next run repairs it")
    is_current = done.lock == stamp.lock_hash(
        root, done.kind
    ) and done.project == stamp.project_hash(root)
    text = f".venv, PyTorch {done.torch or 'none'}" + (
        ", with the test tools" if done.kind == "dev" else ""
    )
    if not is_current:
        return Line(
            verdict="note", topic="environment", text=f"{text}: the next run brings it up to date"
        )
    return Line(verdict="ok", topic="environment", text=text)


def _device(done: stamp.Stamp | None) -> Line:
    if done:
        return Line(verdict="ok", topic="device", text=done.device.removeprefix("Device: "))
    try:
        build = torch_build.choose(hardware.probe())
    except SetupError as error:
        return Line(verdict="BAD", topic="device", text=str(error))
    return Line(
        verdict="ok",
        topic="device",
        text=f"{build.device}, because {build.why} (will be set up with {build.requirement})",
    )


def _disk(root: Path, done: stamp.Stamp | None) -> Line:
    free_gib = shutil.disk_usage(root).free / 2**30
    is_tight = free_gib < (1 if done else 3)
    return Line(
        verdict="note" if is_tight else "ok",
        topic="disk",
        text=f"{free_gib:.1f} GiB free in {root}",
    )


def _camera() -> Line:
    if sys.platform != "linux":
        return Line(verdict="ok", topic="camera", text="asked for when the product starts")
    devices = [path.name for path in sorted(Path("/dev").glob("video*"))]
    if not devices:
        return Line(
            verdict="note",
            topic="camera",
            text="none (/dev/video* is empty): the bundled clip plays instead",
        )
    unreadable = [name for name in devices if not os.access(f"/dev/{name}", os.R_OK | os.W_OK)]
    if unreadable:
        return Line(
            verdict="note",
            topic="camera",
            text=f"no access to {', '.join(unreadable)}: add yourself to the group 'video'",
        )
    return Line(verdict="ok", topic="camera", text=", ".join(f"/dev/{name}" for name in devices))


def _virtual_camera() -> Line:
    """The product knows; its file is run by itself, because there may be no environment yet."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_ROOT / "plugin" / "brushcast" / "camera_setup.py")],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        found = json.loads(done.stdout)
        return Line(
            verdict="ok" if found["state"] == "ok" else "note",
            topic="virtual camera",
            text=found["message"],
            how=found["advice"],
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return Line(verdict="note", topic="virtual camera", text=f"cannot be examined ({error})")


def _test_programs() -> Line:
    missing = system_packages.missing()
    if not missing:
        return Line(verdict="ok", topic="test programs", text=", ".join(system_packages.PACKAGES))
    what = (
        "the full test command installs them"
        if system_packages.may_install()
        else "tests that need them skip"
    )
    return Line(verdict="note", topic="test programs", text=f"{', '.join(missing)} missing: {what}")
