"""`python3 -m installer desktop`: Brushcast in the menu of programs, and at log-in on request.

It opens a terminal window: the address of the panel is in it, and closing it stops Brushcast. A
camera that is on must be seen. macOS and Windows were written after their documentation and never
run.
"""

from __future__ import annotations

import argparse
import base64
import os
import plistlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from installer import safe_write
from installer.errors import SetupError
from installer.places import Places
from installer.venv import Venv

LABEL = "Brushcast"
AGENT = "io.brushcast.autostart"
_POWERSHELL_PATIENCE_S = 30
# Stays open on a failure, so that its sentence can be read.
_SHELL = '"$0" -m brushcast run || { printf "\\nPress Enter to close. "; read -r _; }'


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file that stands for Brushcast on the desktop."""

    path: Path
    content: bytes
    mode: int = 0o644


def run(
    arguments: Sequence[str],
    root: Path,
    places: Places,
    out: TextIO,
) -> int:
    """The command. Raises SetupError, OSError."""
    parser = argparse.ArgumentParser(prog="python3 -m installer desktop")
    parser.add_argument("--autostart", action="store_true", help="start at log-in as well")
    parser.add_argument("--remove", action="store_true", help="take everything away again")
    options = parser.parse_args(list(arguments))
    if options.remove:
        gone = remove(places)
        out.write("".join(f"Removed {path}\n" for path in gone) or "There was nothing of ours.\n")
        return 0
    python = Venv(folder=root / ".venv").python.absolute()
    if not python.exists():
        raise SetupError(f"There is no {python} yet: run 'python3 -m installer setup' first.")
    for entry in entries(root, python, places, autostart=options.autostart):
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        safe_write.replace(entry.path, entry.content, mode=entry.mode)
        if os.name == "posix":
            entry.path.chmod(entry.mode)
        out.write(f"Wrote {entry.path}\n")
    if places.platform == "win32":
        _make_shortcut(places, python)
        out.write(f"Wrote {_start_menu(places) / f'{LABEL}.lnk'}\n")
    out.write(
        f"{LABEL} is in the menu of programs: it opens a window with the panel's address, and "
        "closing that window stops it.\n"
    )
    if places.platform != "linux":
        out.write("Written for this system with care, but tried on Linux alone so far.\n")
    return 0


def entries(root: Path, python: Path, places: Places, *, autostart: bool) -> list[Entry]:
    """The files that are wanted on this platform."""
    if places.platform == "darwin":
        wanted = [Entry(path=_mac_command(places), content=command_file(python), mode=0o755)]
        agent = Entry(path=_mac_agent(places), content=launch_agent(_mac_command(places)))
        return [*wanted, agent] if autostart else wanted
    if places.platform == "win32":
        startup = Entry(path=_windows_startup(places), content=startup_file(python))
        return [startup] if autostart else []
    icon = (root / "plugin" / "brushcast" / "assets" / "icon.svg").read_bytes()
    menu = desktop_entry(python)
    wanted = [
        Entry(path=_linux_icon(places), content=icon),
        Entry(path=_linux_menu(places), content=menu),
    ]
    return [*wanted, Entry(path=_linux_autostart(places), content=menu)] if autostart else wanted


def paths(places: Places) -> list[Path]:
    """Every file that `entries` may have written here."""
    if places.platform == "darwin":
        return [_mac_command(places), _mac_agent(places)]
    if places.platform == "win32":
        return [_start_menu(places) / f"{LABEL}.lnk", _windows_startup(places)]
    return [_linux_menu(places), _linux_autostart(places), _linux_icon(places)]


def remove(places: Places) -> list[Path]:
    """Takes them away; those that were there. Raises OSError."""
    gone = [path for path in paths(places) if os.path.lexists(path)]
    for path in gone:
        path.unlink()
    return gone


def desktop_entry(python: Path) -> bytes:
    """freedesktop.org's Desktop Entry specification."""
    command = " ".join(_exec_quoted(part) for part in ("/bin/sh", "-c", _SHELL, str(python)))
    lines = [
        "[Desktop Entry]",
        "Type=Application",
        "Version=1.0",
        f"Name={LABEL}",
        "GenericName=Live video restyling",
        "GenericName[de]=Live-Bildstile",
        "GenericName[zh_CN]=实时视频风格化",
        "Comment=Your camera as a painting, live",
        "Comment[de]=Die Kamera als Gemälde, live",
        "Comment[zh_CN]=让摄像头画面实时变成绘画",
        f"Exec={command}",
        "Icon=brushcast",
        "Terminal=true",
        "Categories=AudioVideo;Video;",
        "Keywords=webcam;camera;OBS;AI;painting;",
        "StartupNotify=false",
    ]
    return ("\n".join(lines) + "\n").encode()


def _exec_quoted(part: str) -> str:
    """An argument of Exec: its own quoting first, then that of a string value."""
    if not set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+"):
        for letter in '\\"`$':
            part = part.replace(letter, f"\\{letter}")
        part = f'"{part}"'
    return part.replace("%", "%%").replace("\\", "\\\\")


def command_file(python: Path) -> bytes:
    """macOS: a double click opens it in Terminal."""
    return f"#!/bin/sh\nexec /bin/sh -c {shlex.quote(_SHELL)} {shlex.quote(str(python))}\n".encode()


def launch_agent(command: Path) -> bytes:
    """macOS: at log-in, in a window of Terminal."""
    agent = {
        "Label": AGENT,
        "ProgramArguments": ["/usr/bin/open", "-a", "Terminal", str(command)],
        "RunAtLoad": True,
    }
    return plistlib.dumps(agent, sort_keys=False)


def startup_file(python: Path) -> bytes:
    """Windows: a command file for the folder Startup."""
    quoted = str(python).replace("%", "%%")
    lines = ["@echo off", "chcp 65001 >nul", f'start "{LABEL}" "{quoted}" -m brushcast run', ""]
    return "\r\n".join(lines).encode()


def shortcut_script(link: Path, python: Path) -> str:
    """Windows: PowerShell that makes the entry of the Start menu."""
    values = {
        "TargetPath": str(python),
        "Arguments": "-m brushcast run",
        "WorkingDirectory": str(python.parent),
        "Description": "Your camera as a painting, live",
    }
    lines = [
        "$ErrorActionPreference = 'Stop'",
        f"$link = (New-Object -ComObject WScript.Shell).CreateShortcut({_single(str(link))})",
        *(f"$link.{name} = {_single(value)}" for name, value in values.items()),
        "$link.Save()",
    ]
    return "\n".join(lines) + "\n"


def _single(text: str) -> str:
    """A PowerShell string in which nothing is replaced."""
    return "'" + text.replace("'", "''") + "'"


def _make_shortcut(places: Places, python: Path) -> None:
    link = _start_menu(places) / f"{LABEL}.lnk"
    script = shortcut_script(link, python)
    shell = shutil.which("powershell") or shutil.which("pwsh")
    if shell is None:
        raise SetupError("PowerShell was not found, so the Start menu has no entry.")
    encoded = base64.b64encode(script.encode("utf-16-le")).decode("ascii")
    try:
        done = subprocess.run(
            [shell, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded],
            capture_output=True,
            text=True,
            timeout=_POWERSHELL_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"PowerShell did not make the Start menu's entry: {error}.") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[:1] or [f"exit code {done.returncode}"]
        raise SetupError(f"PowerShell did not make the Start menu's entry: {last[0]}.")


def _linux_menu(places: Places) -> Path:
    return places.data_root / "applications" / "brushcast.desktop"


def _linux_autostart(places: Places) -> Path:
    return places.config_root / "autostart" / "brushcast.desktop"


def _linux_icon(places: Places) -> Path:
    return places.data_root / "icons" / "hicolor" / "scalable" / "apps" / "brushcast.svg"


def _mac_command(places: Places) -> Path:
    return places.home / "Applications" / f"{LABEL}.command"


def _mac_agent(places: Places) -> Path:
    return places.home / "Library" / "LaunchAgents" / f"{AGENT}.plist"


def _start_menu(places: Places) -> Path:
    return places.config_root / "Microsoft" / "Windows" / "Start Menu" / "Programs"


def _windows_startup(places: Places) -> Path:
    return _start_menu(places) / "Startup" / f"{LABEL}.cmd"
