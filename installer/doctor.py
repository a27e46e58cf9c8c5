"""`python3 -m installer doctor`: a short honest table of this machine. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from installer import hardware, stamp, system_packages, torch_build
from installer.errors import SetupError
from installer.venv import Venv

Verdict = Literal["ok", "note", "BAD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table: BAD stops the product, a note is worth knowing."""

    verdict: Verdict
    topic: str
    text: str


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
    yield _test_programs()


def render(lines: Iterator[Line]) -> str:
    return "\n".join(f"{line.verdict:<5} {line.topic:<15} {line.text}" for line in lines)


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
    topic = "virtual camera"
    if sys.platform == "win32":
        return Line(
            verdict="note",
            topic=topic,
            text="comes with OBS: install OBS once and start its virtual camera once",
        )
    if sys.platform == "darwin":
        return Line(
            verdict="note",
            topic=topic,
            text="comes with OBS 30 or newer: start its virtual camera once",
        )
    if Path("/sys/module/v4l2loopback").exists():
        return Line(verdict="ok", topic=topic, text="v4l2loopback is loaded")
    how = (
        "sudo modprobe v4l2loopback exclusive_caps=1 card_label=Brushcast"
        if any(Path("/lib/modules", platform.release()).rglob("v4l2loopback.ko*"))
        else "sudo apt-get install v4l2loopback-dkms, then "
        "sudo modprobe v4l2loopback exclusive_caps=1"
    )
    return Line(verdict="note", topic=topic, text=f"v4l2loopback is not loaded: {how}")


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
