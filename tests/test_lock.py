"""The lock files: complete, hashed, and free of PyTorch and of the packages of its CUDA build."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from installer import torch_build

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def locked(name: str) -> dict[str, set[str]]:
    """Package -> versions; more than one where they differ by platform or Python."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", text, re.MULTILINE):
        versions.setdefault(package, set()).add(version)
    return versions


def asked_for(*requirements: str) -> set[str]:
    return {re.split(r"[<>=~!;\[ ]", requirement)[0] for requirement in requirements}


def test_the_run_lock_has_all_that_the_product_needs() -> None:
    extras = (requirement for name in ("worker", "camera", "obs") for requirement in EXTRAS[name])
    needed = asked_for(*PROJECT["dependencies"], *extras)
    assert needed - {"torch"} <= set(locked("run"))


def test_the_dev_lock_is_the_run_lock_and_more() -> None:
    run, dev = locked("run"), locked("dev")
    assert run.items() <= dev.items()
    assert asked_for(*EXTRAS["dev"]) <= set(dev)
    assert not asked_for(*EXTRAS["dev"]) & set(run)


def test_the_wan_lock_is_the_run_lock_and_more() -> None:
    run, wan = locked("run"), locked("wan")
    assert run.items() <= wan.items()
    assert asked_for(*EXTRAS["wan"]) <= set(wan)


@pytest.mark.parametrize("name", ["run", "dev", "wan"])
def test_torch_and_its_cuda_packages_are_in_no_lock(name: str) -> None:
    packages = set(locked(name)) - {"nvidia-ml-py"}  # pure Python, for any driver
    assert "torch" not in packages
    assert not {package for package in packages if package.startswith(("nvidia", "cuda", "triton"))}


@pytest.mark.parametrize("name", ["run", "dev", "wan"])
def test_every_pin_has_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    pins = [block for block in blocks if "==" in block]
    assert pins
    assert not [block.splitlines()[0] for block in pins if "--hash=sha256:" not in block]


def test_the_installer_pins_a_torch_that_the_project_admits() -> None:
    (requirement,) = [entry for entry in EXTRAS["worker"] if entry.startswith("torch")]
    lowest, highest = re.findall(r"[<>]=?([\d.]+)", requirement)
    version = tuple(map(int, torch_build.VERSION.split(".")))
    assert tuple(map(int, lowest.split("."))) <= version < tuple(map(int, highest.split(".")))
