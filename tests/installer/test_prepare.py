"""Set-up from end to end in a small root of its own, with a pip that installs stubs: every step is
real but the downloads."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from installer import hardware, stamp
from installer.errors import SetupError
from installer.hardware import Hardware, NvidiaGpu
from installer.prepare import Wanted, ensure
from installer.progress import Progress
from installer.venv import Venv

# Installs what it is asked for as stubs, notes its calls, and fails or damages as the test wants.
FAKE_PIP = r"""
import json, pathlib, re, sys
root = pathlib.Path(sys.argv[0]).resolve()
site = root.parent.parent
folder = pathlib.Path(sys.prefix).parent
arguments = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\n")
script = folder / "pip_script.py"
if script.exists():
    exec(script.read_text())
TORCH = '''
from types import SimpleNamespace as N
cuda = N(is_available=lambda: "cu" in VERSION)
backends = N(mps=N(is_available=lambda: False))
'''
STUBS = ("numpy", "cv2", "av", "zmq", "msgpack", "click", "platformdirs")
def put(name, text):
    target = site / name / "__init__.py"
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        target.write_text(text)
if "-r" in arguments:
    for name in STUBS:
        put(name, "")
    for name in ("rich/progress", "aiohttp/web", "safetensors/torch"):
        put(name.split("/")[0], "")
        (site / (name + ".py")).touch()
for argument in arguments:
    if argument.startswith("torch="):
        version = argument.rpartition("=")[2]
        put("torch", f"VERSION = {version + ('' if '+' in version else 'cu')!r}\n" + TORCH)
        (site / f"torch-{version}.dist-info").mkdir()
if arguments[0] == "uninstall":
    import shutil
    shutil.rmtree(site / "torch")
    for old in site.glob("torch-*"):
        old.rmdir()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A root with a lock, and what happened in it."""

    root: Path

    @property
    def venv(self) -> Venv:
        return Venv(folder=self.root / ".venv")

    def ensure(self, **wanted: object) -> str:
        """What was shown while the environment was made ready."""
        out = io.StringIO()
        ensure(self.root, Wanted(**{"kind": "run", **wanted}), Progress(out))  # type: ignore[arg-type]
        return out.getvalue()

    def calls(self) -> list[list[str]]:
        """pip's calls since the last time."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def pip_does(self, script: str) -> None:
        (self.root / "pip_script.py").write_text(script)

    def site(self) -> Path:
        found = self.venv.site_packages()
        assert found
        return found


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    (tmp_path / "requirements").mkdir()
    for kind in ("run", "dev"):
        (tmp_path / "requirements" / f"{kind}.txt").write_text("numpy==2\nav==18\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "brushcast"\n')

    def create(venv: Venv, log: TextIO) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", str(venv.folder)]
        subprocess.run(command, check=True)
        site = venv.site_packages()
        assert site
        (site / "pip").mkdir()
        (site / "pip" / "__init__.py").touch()
        (site / "pip" / "__main__.py").write_text(FAKE_PIP)

    monkeypatch.setattr(Venv, "create", create)
    monkeypatch.setattr(hardware, "probe", lambda: Hardware(system="Linux", machine="x86_64"))
    monkeypatch.setattr(hardware, "signature", lambda: "none")
    return Repository(root=tmp_path)


def test_a_fresh_clone_is_set_up_with_a_line_for_each_phase(repository: Repository) -> None:
    shown = repository.ensure().splitlines()
    assert shown[0].startswith("Setting up Brushcast in .venv; this happens once")
    assert [line.partition(" ... ")[0] for line in shown[1:]] == [
        "Environment",
        "Packages",
        "PyTorch",
        "Brushcast",
    ]
    lock, torch, project = repository.calls()
    assert "--require-hashes" in lock
    assert torch[-1] == "torch==2.13.0+cpu"
    assert "https://download.pytorch.org/whl/cpu" in torch
    assert "--no-deps" in torch
    assert project[-2:] == ["-e", str(repository.root)]


def test_the_second_time_nothing_is_done_or_said(repository: Repository) -> None:
    repository.ensure()
    repository.calls()
    assert repository.ensure() == ""
    assert repository.calls() == []


def test_the_device_is_named_with_its_reason(repository: Repository) -> None:
    ready = ensure(repository.root, Wanted(kind="run"), Progress(io.StringIO()))
    assert ready.device == (
        "Device: CPU, because no NVIDIA, AMD or Apple GPU was found (PyTorch 2.13.0+cpu)."
    )


def test_a_new_gpu_changes_the_build(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.ensure()
    repository.calls()
    gpu = NvidiaGpu(name="RTX 4090", driver=(580, 95), capability=(8, 9))
    found = Hardware(system="Linux", machine="x86_64", nvidia=gpu)
    monkeypatch.setattr(hardware, "probe", lambda: found)
    monkeypatch.setattr(hardware, "signature", lambda: "nvidia")
    assert "the device has changed" in repository.ensure()
    _, uninstall, install, _ = repository.calls()
    assert uninstall[0] == "uninstall"
    assert install[-1] == "torch===2.13.0"
    device = ensure(repository.root, Wanted(kind="run"), Progress(io.StringIO())).device
    assert device.startswith("Device: RTX 4090, because an NVIDIA GPU with driver 580.95")


def test_a_gpu_that_torch_cannot_use_is_not_claimed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = NvidiaGpu(name="RTX 4090", driver=(535, 1), capability=(8, 9))
    found = Hardware(system="Linux", machine="x86_64", nvidia=gpu)
    monkeypatch.setattr(hardware, "probe", lambda: found)
    repository.pip_does("arguments = [a.replace('+cu126', '+xx126') for a in arguments]")
    ready = ensure(repository.root, Wanted(kind="run"), Progress(io.StringIO()))
    assert ready.device == (
        "Device: CPU, because PyTorch 2.13.0+cu126 cannot use the RTX 4090 that was found."
    )


@pytest.mark.parametrize("name", ["numpy", "torch", "torch-2.13.0+cpu.dist-info"])
def test_a_package_that_has_gone_is_put_back(repository: Repository, name: str) -> None:
    repository.ensure()
    shutil.rmtree(repository.site() / name)
    assert f"Completing .venv: {name} is missing" in repository.ensure()
    assert repository.ensure() == ""


def test_a_missing_python_makes_the_environment_anew(repository: Repository) -> None:
    repository.ensure()
    repository.venv.python.unlink()
    assert "Making .venv anew: its Python is missing." in repository.ensure()
    assert repository.ensure() == ""


def test_an_environment_without_a_stamp_is_half_made_and_is_completed(
    repository: Repository,
) -> None:
    repository.ensure()
    stamp.erase(repository.venv)
    assert "Completing .venv: it is half-made." in repository.ensure()


def test_half_made_with_another_python_it_is_made_anew_with_this_one(
    repository: Repository,
) -> None:
    repository.ensure()
    configuration = repository.venv.folder / "pyvenv.cfg"
    configuration.write_text("home = /usr/bin\nversion = 3.99.1\n")
    assert repository.ensure() == ""  # whole, it is used whatever Python starts the installer
    stamp.erase(repository.venv)
    assert "Making .venv anew: it is half-made with Python 3.99" in repository.ensure()


def test_a_damage_that_pip_does_not_mend_makes_it_anew(repository: Repository) -> None:
    repository.ensure()
    (repository.site() / "zmq" / "__init__.py").write_text("import no_such_module")
    shown = repository.ensure()
    assert "Completing .venv: zmq is damaged." in shown
    assert "Making .venv anew: a package cannot be imported (ModuleNotFoundError" in shown
    assert repository.ensure() == ""


def test_a_damage_that_nothing_mends_is_one_sentence(repository: Repository) -> None:
    repository.pip_does(
        "(site / 'cv2').mkdir(exist_ok=True)\n"
        "(site / 'cv2/__init__.py').write_text('raise ImportError(\"libGL.so.1\")')"
    )
    with pytest.raises(SetupError, match=r"still does not work: .*libGL\.so\.1"):
        repository.ensure()
    assert stamp.read(repository.venv) is None


def test_a_file_in_the_place_of_the_environment_is_replaced(repository: Repository) -> None:
    repository.venv.folder.write_text("")
    repository.ensure()
    assert repository.venv.folder.is_dir()


def test_a_changed_lock_and_a_changed_project_are_installed(repository: Repository) -> None:
    repository.ensure()
    lock = repository.root / "requirements" / "run.txt"
    lock.write_text(lock.read_text() + "zmq==27\n")
    assert "the locked dependencies have changed" in repository.ensure()
    (repository.root / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert "the project has changed" in repository.ensure()
    assert repository.ensure() == ""


def test_the_test_tools_are_added_and_stay(repository: Repository) -> None:
    repository.ensure()
    repository.ensure(kind="dev")
    assert str(repository.root / "requirements" / "dev.txt") in repository.calls()[-2]
    assert repository.ensure() == ""
    assert repository.ensure(kind="dev") == ""


def test_a_machine_without_worker_gets_no_torch_and_stays_so(repository: Repository) -> None:
    repository.ensure(asked="none")
    assert not [call for call in repository.calls() if "torch" in call[-1]]
    assert repository.ensure() == ""
    assert "the device has changed" in repository.ensure(asked="auto")


def test_a_check_finds_what_the_quick_look_does_not(repository: Repository) -> None:
    repository.ensure()
    (repository.site() / "aiohttp" / "web.py").write_text("import no_such_module")
    assert repository.ensure() == ""
    assert "Making .venv anew" in repository.ensure(check=True)


def test_the_cuda_build_is_never_taken_instead_of_the_cpu_build(repository: Repository) -> None:
    repository.pip_does(
        "if any('torch' in a for a in arguments):\n"
        "    print(\"connection broken by 'host='download.pytorch.org''\")\n"
        "    sys.exit('ERROR: No matching distribution found for torch==2.13.0+cpu')"
    )
    with pytest.raises(SetupError, match="the CUDA build is not taken instead") as raised:
        repository.ensure()
    assert "https://download.pytorch.org/whl/cpu" in str(raised.value)
    asked = [a for call in repository.calls() for a in call if a.startswith("torch")]
    assert asked == ["torch==2.13.0+cpu"]


def test_a_failure_leaves_no_stamp_and_the_next_run_goes_on(repository: Repository) -> None:
    repository.pip_does("sys.exit('[Errno 28] No space left on device')")
    with pytest.raises(SetupError, match="The disk is full"):
        repository.ensure()
    repository.pip_does("")
    assert "Completing .venv: it is half-made." in repository.ensure()


def test_a_disk_that_is_too_full_is_told_before_anything_is_made(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(repository.root)._replace(free=2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SetupError, match=r"needs 2\.0 GiB in .* and 0\.5 GiB are free"):
        repository.ensure()
    assert not repository.venv.folder.exists()


@pytest.mark.skipif("sys.platform == 'win32' or os.geteuid() == 0", reason="root may write all")
def test_a_root_that_cannot_be_written_is_one_sentence(repository: Repository) -> None:
    repository.root.chmod(0o555)
    try:
        with pytest.raises(SetupError, match="Permission denied"):
            repository.ensure()
    finally:
        repository.root.chmod(0o755)


def test_a_repository_that_was_moved_is_installed_from_its_new_place(
    repository: Repository,
) -> None:
    repository.ensure()
    moved = repository.root.with_name("moved")
    os.rename(repository.root, moved)
    other = Repository(root=moved)
    assert "the project has changed" in other.ensure()
    assert other.calls()[-1][-1] == str(moved)


@pytest.mark.skipif("sys.platform == 'win32'", reason="flock")
def test_a_second_set_up_waits_for_the_first(repository: Repository) -> None:
    fcntl = importlib.import_module("fcntl")
    said: list[str] = []
    with (repository.root / ".venv-setup.lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        class Second(Progress):
            def say(self, text: str) -> None:
                said.append(text)
                if len(said) == 1:
                    fcntl.flock(first, fcntl.LOCK_UN)

        ensure(repository.root, Wanted(kind="run"), Second(io.StringIO()))
    assert said[0] == "Another set-up is at work here; waiting for it."
    assert said[1].startswith("Setting up Brushcast")
