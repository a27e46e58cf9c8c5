"""The wheel carries everything that the product reads at run time, and no training code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(out), str(ROOT)], check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_tracked_file_of_both_packages_is_in_the_wheel(wheel_names: set[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "plugin/brushcast", "worker/brushcast_worker"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tracked = {path.partition("/")[2] for path in listed.stdout.split() if (ROOT / path).exists()}
    assert tracked
    assert not tracked - wheel_names


def test_the_wheel_has_the_two_packages_and_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names if ".dist-info/" not in name}
    assert tops == {"brushcast", "brushcast_worker"}


def test_the_wheel_carries_the_licence_and_both_commands(wheel_names: set[str]) -> None:
    endings = {name.partition(".dist-info/")[2] for name in wheel_names if ".dist-info/" in name}
    assert {"licenses/LICENSE", "entry_points.txt"} <= endings
