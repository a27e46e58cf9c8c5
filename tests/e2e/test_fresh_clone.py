"""What somebody sees who has just cloned the repository: an empty home, the real set-up, a second
start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a package client is configured with belongs to the machine; everything else is left out.
KEPT = ("PIP_", "SSL_", "REQUESTS_")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_fresh_clone_in_an_empty_home_is_set_up_once(tmp_path: Path) -> None:
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **kept}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [getattr(sys, "_base_executable", sys.executable), "-m", "installer", *arguments],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run("run", "--", "--version")
    if first.stderr.rstrip().splitlines()[-1].startswith("No network"):
        pytest.skip(first.stderr.rstrip().splitlines()[-1])
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("brushcast, version ")
    assert "Setting up Brushcast in .venv; this happens once" in first.stderr

    second = run("run", "--version")
    assert second.returncode == 0
    assert second.stdout == first.stdout
    (device,) = second.stderr.splitlines()  # nothing is set up again
    assert device.startswith("Device: ")
    assert ", because " in device
    if device.startswith("Device: CPU"):
        packages = {path.name.lower() for path in clone.glob(".venv/lib/python3*/site-packages/*")}
        large = {name for name in packages if name.startswith(("nvidia", "cuda", "triton"))}
        # the one that asks a driver how busy its GPU is: pure Python, 50 kB
        assert not {name for name in large if not name.startswith("nvidia_ml_py")}
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""  # what the set-up leaves behind is ignored
