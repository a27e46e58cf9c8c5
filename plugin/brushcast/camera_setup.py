"""What the system has of a virtual camera, and the exact commands for what is missing.

The standard library alone, and no import of ours: the installer's doctor runs this file by itself,
before there is an environment, so that both doctors say the same. Reads only.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

MODULE = "v4l2loopback"
OPTIONS = "exclusive_caps=1 card_label=Brushcast"
LOAD = f"sudo modprobe {MODULE} {OPTIONS}"
RELOAD = f"sudo modprobe -r {MODULE} && {LOAD}"  # its options are read when it is loaded
KEEP = (
    f"echo {MODULE} | sudo tee /etc/modules-load.d/{MODULE}.conf",
    f"echo 'options {MODULE} {OPTIONS}' | sudo tee /etc/modprobe.d/{MODULE}.conf",
)
INSTALL = {
    "debian": f"sudo apt-get install {MODULE}-dkms linux-headers-$(uname -r)",
    "fedora": "sudo dnf install https://mirrors.rpmfusion.org/free/fedora/"
    f"rpmfusion-free-release-$(rpm -E %fedora).noarch.rpm && sudo dnf install akmod-{MODULE}",
    "arch": f"sudo pacman -S --needed {MODULE}-dkms linux-headers",
}
"""By the distribution, or the one that it is made from."""
_NAMES = {"debian": "Debian, Ubuntu", "fedora": "Fedora", "arch": "Arch"}
WINDOWS = (
    "install OBS (obsproject.com) and start its virtual camera once, or install UnityCapture "
    "(github.com/schellingb/UnityCapture)"
)
MACOS = (
    "install OBS 30 or newer (obsproject.com), start its virtual camera once and allow its "
    "extension in System Settings"
)
_NO_LABEL = "Dummy video device"  # what the module calls a device without card_label


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """The module v4l2loopback on this Linux."""

    is_there: bool
    """Built for the kernel that runs."""
    is_loaded: bool
    devices: tuple[tuple[str, str], ...]
    """(path, label) of its devices."""
    is_exclusive: bool | None
    """exclusive_caps=1 for all of them; None: the module does not say."""
    is_kept: bool
    """It is loaded at every start, with options of somebody's."""
    distribution: str
    """A key of INSTALL; empty: another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """state: ok or warn. advice: commands, one a line; empty: nothing to do."""

    state: str
    message: str
    advice: str = ""


def examine(system: str = sys.platform, root: Path = Path("/")) -> Verdict:
    """What this machine has. `root`: where its file system begins."""
    if system.startswith("linux"):
        return judge(read_loopback(root))
    if system == "win32":
        return Verdict(state="ok", message="that of OBS or of UnityCapture", advice=WINDOWS)
    if system == "darwin":
        return Verdict(state="ok", message="that of OBS", advice=MACOS)
    return Verdict(state="warn", message=f"none is known for {system}")


def read_loopback(root: Path = Path("/"), release: str = "") -> Loopback:
    """Asks /sys, /lib/modules and /etc. Anything that cannot be read counts as absent."""
    folder = root / "sys/module" / MODULE
    found = [
        (f"/dev/{entry.name}", _text(entry / "name").strip())
        for entry in sorted(
            (root / "sys/devices/virtual/video4linux").glob("video*"),
            key=lambda entry: int(re.sub(r"\D", "", entry.name) or 0),
        )
    ]
    is_loaded = folder.exists()
    devices = tuple(found) if is_loaded else ()
    flags = _text(folder / "parameters/exclusive_caps").strip().split(",")[: len(devices)]
    table = _text(root / "lib/modules" / (release or platform.release()) / "modules.dep")
    return Loopback(
        is_there=is_loaded or f"/{MODULE}.ko" in table,
        is_loaded=is_loaded,
        devices=devices,
        is_exclusive=all(flag in ("Y", "1") for flag in flags) if any(flags) else None,
        is_kept=_mentions(root / "etc/modules-load.d") and _mentions(root / "etc/modprobe.d"),
        distribution=distribution(_text(root / "etc/os-release")),
    )


def judge(found: Loopback) -> Verdict:
    """What that means for Zoom, Discord and browsers, and what to do. Pure."""
    if not found.is_there:
        return Verdict(
            state="warn",
            message=f"{MODULE} is not installed for this kernel",
            advice=_lines(how_to_install(found.distribution), LOAD, kept=found.is_kept),
        )
    if not found.is_loaded:
        return Verdict(
            state="warn",
            message=f"{MODULE} is installed and not loaded",
            advice=_lines(LOAD, kept=found.is_kept),
        )
    again = _lines(RELOAD, kept=found.is_kept)
    names = ", ".join(f"{path} ({label})" for path, label in found.devices)
    if not names:
        return Verdict(state="warn", message=f"{MODULE} is loaded without a device", advice=again)
    if found.is_exclusive is False:
        what = "loaded without exclusive_caps=1, so browsers, Discord and Zoom do not list it"
        return Verdict(state="warn", message=f"{names}: {what}", advice=again)
    if any(label.startswith(_NO_LABEL) or not label for _, label in found.devices):
        what = "it has no label that people know it by"
        return Verdict(state="warn", message=f"{names}: {what}", advice=again)
    advice = "" if found.is_kept else "\n".join(("to have it after a restart too:", *KEEP))
    return Verdict(state="ok", message=names, advice=advice)


def how_to_install(distribution: str) -> str:
    """The command for the distribution; of all that are known for another one."""
    if distribution in INSTALL:
        return INSTALL[distribution]
    return "\n".join(f"{_NAMES[name]}: {command}" for name, command in INSTALL.items())


def distribution(os_release: str) -> str:
    """A key of INSTALL, from the text of /etc/os-release; empty: none of them."""
    named = re.findall(r"^(?:ID|ID_LIKE)=(.*)$", os_release, re.MULTILINE)
    words = " ".join(named).replace('"', " ").replace("'", " ").split()
    words = ["debian" if word == "ubuntu" else word for word in words]
    return next((word for word in words if word in INSTALL), "")


def _lines(*commands: str, kept: bool) -> str:
    after = () if kept else ("and for every restart to come:", *KEEP)
    return "\n".join((*commands, *after))


def _mentions(folder: Path) -> bool:
    return any(MODULE in re.sub(r"#.*", "", _text(path)) for path in sorted(folder.glob("*.conf")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main() -> None:
    """The verdict on this machine as one line of JSON."""
    verdict = examine()
    shown = {"state": verdict.state, "message": verdict.message, "advice": verdict.advice}
    sys.stdout.write(json.dumps(shown) + "\n")


if __name__ == "__main__":
    main()
