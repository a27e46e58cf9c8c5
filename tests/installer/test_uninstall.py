from __future__ import annotations

import io
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from installer import desktop, install_record, obs, places, uninstall
from installer.errors import SetupError
from installer.places import Places
from installer.question import NeedsAnswer
from installer.venv import Venv
from tests.installer.obs_home import checkout, linux, machine, make_obs, said, script_paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "brushcast")


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def use(where: Places, root: Path) -> None:
    """What a user's months with Brushcast leave behind."""
    install_record.write(root, Venv(folder=root / ".venv"), where)
    desktop.run(["--autostart"], root, where, io.StringIO())
    mine = f"brushcast-{os.getuid()}"
    for path in (
        where.config / "panel-token",
        where.config / "presets" / "mine.toml",
        where.data / "models" / "wan" / "weights.safetensors",
        where.cache / "compiled" / "kernel",
        where.cache / "prompts" / "a.safetensors",
        where.home / "shm" / mine / "obs-in",
        where.home / "tmp" / mine / "obs-run.log",
        where.home / "shm" / "brushcast-abcd_123" / "ring",
        root / ".venv-setup.log",
        root / ".venv" / "lib" / "python3.11" / "site-packages" / "x.py",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1500)


def test_a_home_is_as_it_was_before(home: Path, root: Path) -> None:
    where = linux(home)
    scenes = make_obs(home / ".config/obs-studio")
    (home / ".local/share").mkdir(parents=True)
    (home / ".cache").mkdir()
    before, collection = everything(home), (scenes / "lab.json").read_bytes()
    use(where, root)
    obs.run(["--yes"], root, machine(where))
    world = machine(where, answers="y\n")
    assert uninstall.run([], root, world) == 0
    empty = {"applications", "icons", "autostart"}  # the desktop's own folders stay
    left = {
        path for path in everything(home) - before
        if "brushcast-backup" not in path and not set(Path(path).parts) & empty
    }  # fmt: skip
    assert left == set()
    assert not [path for path in home.rglob("brushcast*") if "backup" not in path.name]
    assert (scenes / "lab.json").read_bytes() == collection
    assert sorted(path.name for path in root.iterdir()) == ["obs_scripts", "plugin"]
    shown = said(world)
    assert shown.index("1.5 kB") < shown.index("All of it? [y/N]")
    for name in ("models", "lab", ".venv", "brushcast.desktop"):
        assert name in shown[: shown.index("All of it?")]
    world = machine(where)
    assert uninstall.run([], root, world) == 0
    assert said(world) == f"Nothing of Brushcast is left but this folder: {root}\n"


def test_a_no_and_nobody_there_change_nothing(home: Path, root: Path) -> None:
    use(linux(home), root)
    before = everything(home) | everything(root)
    assert uninstall.run([], root, machine(linux(home), answers="n\n")) == 1
    with pytest.raises(NeedsAnswer):
        uninstall.run([], root, machine(linux(home)))
    assert everything(home) | everything(root) == before


def test_models_can_be_kept(home: Path, root: Path) -> None:
    where = linux(home)
    use(where, root)
    world = machine(where)
    assert uninstall.run(["--yes", "--keep-models"], root, world) == 0
    assert (where.data / "models/wan/weights.safetensors").exists()
    assert not where.config.exists()
    assert f"Left alone: {where.data / 'models'}" in said(world)


def test_models_can_be_kept_where_settings_are_in_the_same_folder(home: Path, root: Path) -> None:
    where = linux(home)
    shared = Places(
        platform="darwin", home=home, config=where.config, data=where.config, cache=where.cache,
        runtime=(), config_root=where.config_root, data_root=where.data_root,
    )  # fmt: skip
    for path in (shared.config / "models/a", shared.config / "install.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    uninstall.run(["--yes", "--keep-models"], root, machine(shared))
    assert everything(shared.config) == {"models", "models/a"}


def test_links_are_taken_away_and_what_they_point_to_stays(home: Path, root: Path) -> None:
    where = linux(home)
    use(where, root)
    disk, dotfiles = home / "disk", home / "dotfiles"
    for folder in (disk, dotfiles):
        folder.mkdir()
        (folder / "precious").write_text("x")
    os.rename(where.config, dotfiles / "brushcast")
    where.config.symlink_to(dotfiles / "brushcast")
    (where.data / "models" / "elsewhere").symlink_to(disk)
    (where.cache / "file").symlink_to(disk / "precious")
    (home / "shm" / f"brushcast-{os.getuid()}" / "obs-out").symlink_to(disk / "precious")
    world = machine(where)
    assert uninstall.run(["--yes"], root, world) == 0
    assert (disk / "precious").exists()
    assert (dotfiles / "precious").exists()
    assert (dotfiles / "brushcast" / "panel-token").exists()
    assert not os.path.lexists(where.config)
    assert not where.data.exists()
    assert f"Left alone: {disk}, which" in said(world)
    assert f"Left alone: {dotfiles / 'brushcast'}, which {where.config} pointed to" in said(world)


def test_a_runtime_folder_of_somebody_else_is_left_alone(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = linux(home)
    use(where, root)
    shared = home / "shm" / f"brushcast-{os.getuid()}"
    real = home / "theirs"
    os.rename(shared, real)
    shared.symlink_to(real)
    uninstall.run(["--yes"], root, machine(where))
    assert (real / "obs-in").exists()


def test_of_a_runtime_folder_that_the_user_named_only_our_files_go(home: Path, root: Path) -> None:
    chosen = home / "run"
    chosen.mkdir()
    for name in ("run.json", "obs-out", "thesis.txt"):
        (chosen / name).write_text("{}")
    base = linux(home)
    where = Places(
        platform="linux", home=home, config=base.config, data=base.data, cache=base.cache,
        runtime=(chosen,), config_root=base.config_root, data_root=base.data_root,
        runtime_is_chosen=True,
    )  # fmt: skip
    uninstall.run(["--yes"], root, machine(where))
    assert everything(chosen) == {"thesis.txt"}


def test_while_it_runs_nothing_is_touched(home: Path, root: Path) -> None:
    where = linux(home)
    use(where, root)
    command = [sys.executable, "-c", "input()", "brushcast"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as running:
        record = where.runtime[0] / "run.json"
        record.write_text(json.dumps({"format": 1, "pid": running.pid}))
        before = everything(home)
        with pytest.raises(SetupError, match=f"Brushcast is running .process {running.pid}"):
            uninstall.run(["--yes"], root, machine(where))
        assert everything(home) == before
        running.communicate(b"\n")
    assert uninstall.run(["--yes"], root, machine(where)) == 0  # it has ended: a leftover


@pytest.mark.parametrize("ring", ["brushcast-abcd_123/ring", f"brushcast-{os.getuid()}/obs-in"])
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_pictures_that_a_process_uses_are_never_taken_for_left_ones(
    home: Path, root: Path, ring: str
) -> None:
    where = linux(home)
    use(where, root)
    with (home / "shm" / ring).open("r+b") as file, mmap.mmap(file.fileno(), 0):
        before = everything(home)
        with pytest.raises(SetupError, match=f"Brushcast is running: process {os.getpid()}"):
            uninstall.run(["--yes"], root, machine(where))
        assert everything(home) == before
    assert uninstall.run(["--yes"], root, machine(where)) == 0
    assert not (home / "shm" / ring).exists()


def test_unknown_is_not_unused(tmp_path: Path) -> None:
    assert uninstall.users(tmp_path, tmp_path / "no-proc")


@pytest.mark.skipif(os.name != "posix", reason="an account's home is asked of pwd")
def test_a_temporary_home_never_touches_the_accounts_shared_memory(
    tmp_path: Path, root: Path
) -> None:
    inside, outside = tmp_path / "home", tmp_path / "account"
    for folder in (inside, outside):
        folder.mkdir()
    use(linux(outside), root)
    where = places.find(
        "linux", {"HOME": str(inside)},
        shared_memory=outside / "shm", temporary=outside / "tmp",
    )  # fmt: skip
    (where.config).mkdir(parents=True)
    before = everything(outside)
    world = machine(where)
    assert uninstall.run(["--yes"], root, world) == 0
    assert everything(outside) == before
    assert f"Left alone: {outside / 'shm'}" in said(world)
    assert not where.config.exists()


def test_a_run_record_of_a_number_that_is_another_program_now_does_not_matter(
    home: Path, root: Path
) -> None:
    where = linux(home)
    use(where, root)
    for pid in (1, "7", None, -1):
        (where.runtime[0] / "run.json").write_text(json.dumps({"pid": pid}))
        uninstall.require_stopped(where)


def test_while_obs_runs_with_our_script_nothing_is_touched(home: Path, root: Path) -> None:
    where = linux(home)
    scenes = make_obs(home / ".config/obs-studio")
    obs.run(["--yes"], root, machine(where))
    use(where, root)
    before = everything(home)
    with pytest.raises(SetupError, match="OBS is running"):
        uninstall.run(["--yes"], root, machine(where, obs_runs=lambda: True))
    assert everything(home) == before
    assert len(script_paths(scenes / "lab.json")) == 2


def test_a_checkout_that_bootstrap_made_goes_too_unless_there_is_work_in_it(
    home: Path, root: Path
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)

    (root / ".gitignore").write_text("/.venv/\n/.brushcast-bootstrap\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    (root / uninstall.MARK).write_text("")
    (root / "notes.txt").write_text("mine")
    uninstall.run(["--yes"], root, machine(linux(home)))
    assert (root / "notes.txt").exists()
    (root / "notes.txt").unlink()
    world = machine(linux(home))
    uninstall.run(["--yes"], root, world)
    assert not root.exists()
    assert said(world).endswith("Gone.\n")


def test_sizes_are_told_for_people(tmp_path: Path) -> None:
    assert [uninstall.human(size) for size in (0, 999, 1500, 2_000_000, 11_200_000_000)] == [
        "0 B", "999 B", "1.5 kB", "2.0 MB", "11.2 GB",
    ]  # fmt: skip
