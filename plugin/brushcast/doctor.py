"""`brushcast doctor`: what this machine has, what is missing, and what to do about it. Changes
nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import brushcast
from brushcast import camera_setup
from brushcast.config import DEFAULT_PANEL, parse_address
from brushcast.errors import BrushcastError, SourceError
from brushcast.models import verify_model
from brushcast.presets import load_presets

Finding = dict[str, Any]

LOW_DISK_GB = 2.0
PROBE_PATIENCE_S = 60.0
OBS_PATIENCE_S = 20.0
_TORCH_PROBE = """
import json, torch
name, attention = "", {}
if torch.cuda.is_available():
    from brushcast_worker.engines.devices import choose_dtype
    from brushcast_worker.engines.wan import attention_of
    device = torch.device("cuda", 0)
    name = torch.cuda.get_device_name(device)
    attention = dict(attention_of("wan-1.3b", device, choose_dtype(device)).times_ms)
mps = torch.backends.mps.is_available()
print(json.dumps({"torch": torch.__version__, "cuda": name, "mps": mps,
                  "attention": attention, "threads": torch.get_num_threads()}))
"""


def examine(user_presets: Path) -> list[Finding]:
    """All findings, each with name, state (`ok`, `warn`, `bad`), message and advice ("" when
    none)."""
    return [
        _software(),
        _worker(),
        _weights(),
        _presets(user_presets),
        _camera(),
        _virtual_camera(),
        *_obs(Path(brushcast.__file__).resolve().parents[2]),
        _panel_port(),
        _disk(),
    ]


def print_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "bad": "[red]✗[/]"}
    table = Table(show_header=False, box=None, padding=(0, 1))
    for finding in findings:
        advice = f"\n[dim]{finding['advice']}[/]" if finding["advice"] else ""
        table.add_row(marks[finding["state"]], finding["name"], finding["message"] + advice)
    Console().print(table)


def _finding(name: str, state: str, message: str, advice: str = "") -> Finding:
    return {"name": name, "state": state, "message": message, "advice": advice}


def _software() -> Finding:
    message = f"Brushcast {brushcast.__version__}, Python {platform.python_version()}, "
    return _finding("software", "ok", message + f"{platform.system()} {platform.machine()}")


def _worker() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return _finding(
            "worker",
            "warn",
            "not installed: only a worker on another machine can be used",
            "python3 -m installer setup, or run with --worker tcp://HOST:PORT",
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _TORCH_PROBE],
            capture_output=True, text=True, timeout=PROBE_PATIENCE_S, check=True,
        )  # fmt: skip
        seen = json.loads(probe.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        return _finding(
            "worker", "bad", f"torch does not start: {error}", "python3 -m installer setup"
        )
    if seen["cuda"]:
        tried = ", ".join(f"{kernel} {ms:.2f} ms" for kernel, ms in seen["attention"].items())
        message = f"torch {seen['torch']} on {seen['cuda']}"
        return _finding("worker", "ok", message + f"; attention of wan-1.3b: {tried}" * bool(tried))
    if seen["mps"]:
        return _finding("worker", "ok", f"torch {seen['torch']} on Apple's GPU")
    message = f"torch {seen['torch']} on the CPU, {seen['threads']} threads"
    return _finding("worker", "ok", message, "a GPU would paint larger pictures with larger models")


def _weights() -> Finding:
    try:
        return _finding("weights", "ok", f"pocket: {verify_model('pocket')['message']}")
    except BrushcastError as error:
        return _finding("weights", "bad", str(error), "python3 -m installer setup")


def _presets(user_presets: Path) -> Finding:
    try:
        found = load_presets(user_presets)
    except BrushcastError as error:
        return _finding("presets", "bad", str(error), f"mend or remove the file in {user_presets}")
    return _finding(
        "presets", "ok", f"{len(found)} ({', '.join(found)}); yours go in {user_presets}"
    )


def _camera() -> Finding:
    from brushcast.source import open_source

    try:
        source = open_source("camera:0")
    except SourceError as error:
        return _finding("camera", "warn", str(error), "the bundled clip is used until there is one")
    title = source.title
    source.close()
    return _finding("camera", "ok", title)


def _virtual_camera() -> Finding:
    found = camera_setup.examine()
    if importlib.util.find_spec("pyvirtualcam") is None:
        advice = "\n".join(filter(None, ("pip install pyvirtualcam", found.advice)))
        message = f"pyvirtualcam is not installed; the system's: {found.message}"
        return _finding("virtual camera", "warn", message, advice)
    return _finding("virtual camera", found.state, found.message, found.advice)


def _obs(root: Path) -> list[Finding]:
    """The installer knows, which is beside the product in a checkout and nowhere else."""
    if not (root / "installer" / "__main__.py").is_file():
        message = "this installation has no OBS script: it comes with the repository"
        return [_finding("OBS", "warn", message)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "installer", "obs", "--status", "--json"],
            capture_output=True, text=True, timeout=OBS_PATIENCE_S, check=True, cwd=root,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        states = {"ok": "ok", "note": "warn", "BAD": "bad"}
        return [
            _finding(line["topic"], states[line["verdict"]], line["text"], line["how"])
            for line in json.loads(done.stdout)
        ]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return [_finding("OBS", "warn", f"cannot be examined ({error})")]


def _panel_port() -> Finding:
    host, port = parse_address(DEFAULT_PANEL)
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return _finding(
                "panel port", "warn", f"{DEFAULT_PANEL} is in use",
                "Brushcast may be running already; else choose another with --panel",
            )  # fmt: skip
    return _finding("panel port", "ok", f"{DEFAULT_PANEL} is free")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.home()).free / 1e9
    state = "ok" if free_gb > LOW_DISK_GB else "warn"
    advice = "" if state == "ok" else "recordings need room"
    return _finding("disk", state, f"{free_gb:.0f} GB free in the home folder", advice)
