from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from installer import install_record, obs, obs_collection, obs_folders, obs_ini, places
from installer.errors import SetupError
from installer.question import NeedsAnswer
from installer.venv import Venv
from tests.installer.obs_home import STAMP, checkout, linux, machine, make_obs, said, script_paths

CLOCK = "/opt/others/clock.lua"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "brushcast")


@pytest.fixture
def scenes(home: Path) -> Path:
    return make_obs(home / ".config/obs-studio", names=("lab", "stage"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_current_collection_gets_the_script_after_a_yes(
    home: Path, root: Path, scenes: Path
) -> None:
    before, stage = (scenes / "lab.json").read_bytes(), (scenes / "stage.json").read_bytes()
    world = machine(linux(home), answers="y\n")
    assert obs.run([], root, world) == 0
    assert script_paths(scenes / "lab.json") == [CLOCK, str(root / obs.SCRIPT)]
    assert (scenes / "stage.json").read_bytes() == stage
    copy = scenes / f"lab.json.brushcast-backup-{STAMP}"
    assert copy.read_bytes() == before
    shown = said(world)
    question = shown.index("Change that? [y/N]")
    assert shown.index(str(root / obs.SCRIPT)) < question
    assert shown.index(str(scenes / "lab.json")) < question
    assert "Tools > Scripts" in shown


def test_a_no_and_nobody_there_change_nothing(home: Path, root: Path, scenes: Path) -> None:
    text = (scenes / "stage.json").read_text(encoding="utf-8")
    text = obs_collection.with_script(text, "/older/brushcast_obs.py")
    (scenes / "stage.json").write_text(text, encoding="utf-8")
    before = tree(home)
    for arguments in ([], ["--remove"]):
        world = machine(linux(home), answers="\n")
        assert obs.run(arguments, root, world) == 1
        assert said(world).endswith("Nothing was changed.\n")
        with pytest.raises(NeedsAnswer):
            obs.run(arguments, root, machine(linux(home)))
    assert tree(home) == before


def test_a_second_time_nothing_is_written(home: Path, root: Path, scenes: Path) -> None:
    obs.run(["--yes"], root, machine(linux(home)))
    before = tree(home)
    world = machine(linux(home))
    assert obs.run([], root, world) == 0
    assert "has the script already" in said(world)
    assert tree(home) == before


def test_a_path_of_an_older_checkout_is_corrected(home: Path, root: Path, scenes: Path) -> None:
    old = checkout(home / "older")
    obs.run(["--yes"], old, machine(linux(home)))
    world = machine(linux(home))
    obs.run(["--yes"], root, world)
    assert script_paths(scenes / "lab.json") == [CLOCK, str(root / obs.SCRIPT)]
    assert f"{old / obs.SCRIPT} becomes {root / obs.SCRIPT}" in said(world)


def test_while_obs_runs_nothing_is_touched(home: Path, root: Path, scenes: Path) -> None:
    before = tree(home)
    for arguments in (["--yes"], []):
        with pytest.raises(SetupError, match="OBS is running.*close it"):
            obs.run(arguments, root, machine(linux(home), answers="y\n", obs_runs=lambda: True))
    started = iter([False, True])  # between the question and the answer
    with pytest.raises(SetupError, match="OBS is running"):
        obs.run([], root, machine(linux(home), answers="y\n", obs_runs=lambda: next(started)))
    assert tree(home) == before


def test_a_collection_that_changed_meanwhile_is_left_alone(
    home: Path, root: Path, scenes: Path
) -> None:
    def obs_has_been_here() -> bool:
        (scenes / "lab.json").write_text('{"name": "lab"}')
        return False

    with pytest.raises(SetupError, match="changed meanwhile"):
        obs.run(["--yes"], root, machine(linux(home), obs_runs=obs_has_been_here))
    assert (scenes / "lab.json").read_text() == '{"name": "lab"}'


def test_remove_takes_ours_out_of_every_collection_and_leaves_the_rest(
    home: Path, root: Path, scenes: Path
) -> None:
    (scenes / "third.json").write_text('{"name": "third"}')
    before = {path: path.read_bytes() for path in scenes.iterdir()}
    for name in ("lab", "stage"):
        obs.run(["--yes", "--collection", name], root, machine(linux(home)))
    for copy in scenes.glob("*.brushcast-backup-*"):
        copy.unlink()
    assert obs.run(["--remove", "--yes"], root, machine(linux(home))) == 0
    assert {path: path.read_bytes() for path in scenes.glob("*.json")} == before
    copies = [path.name for path in scenes.glob("*.brushcast-backup-*")]
    assert sorted(name.partition(".")[0] for name in copies) == ["lab", "stage"]
    world = machine(linux(home), obs_runs=lambda: True)
    assert obs.run(["--remove"], root, world) == 0  # nothing to do: nothing to ask
    assert "is in none" in said(world)


def test_a_linked_collection_stays_a_link(home: Path, root: Path, scenes: Path) -> None:
    real = home / "dotfiles.json"
    os.replace(scenes / "lab.json", real)
    (scenes / "lab.json").symlink_to(real)
    obs.run(["--yes"], root, machine(linux(home)))
    assert (scenes / "lab.json").is_symlink()
    assert script_paths(real) == [CLOCK, str(root / obs.SCRIPT)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--collection", "none"], 'no scene collection "none"; it has "lab", "stage"'),
        (["--config", "/no/such/folder"], "/no/such/folder has no global.ini"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    home: Path, root: Path, scenes: Path, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SetupError) as error:
        obs.run([*arguments, "--yes"], root, machine(linux(home)))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_collection_is_refused_and_not_touched(
    home: Path, root: Path, scenes: Path
) -> None:
    for content in (b'{"modules": [', b"\xff\xfe"):
        (scenes / "lab.json").write_bytes(content)
        with pytest.raises(SetupError, match=r"lab\.json is no scene collection: it is no"):
            obs.run(["--yes"], root, machine(linux(home)))
        assert (scenes / "lab.json").read_bytes() == content


def test_no_obs_an_old_obs_and_an_empty_obs_say_what_to_do(home: Path, root: Path) -> None:
    with pytest.raises(SetupError, match=r"install OBS 28 to 32, start it once"):
        obs.run(["--yes"], root, machine(linux(home)))
    scenes = make_obs(home / ".config/obs-studio")
    (scenes / "lab.json").unlink()
    with pytest.raises(SetupError, match="no scene collection yet"):
        obs.run(["--yes"], root, machine(linux(home)))
    ini = home / ".config/obs-studio/global.ini"
    ini.write_text(ini.read_text().replace(str(29 << 24 | 2), str(27 << 24)))
    with pytest.raises(SetupError, match=r"OBS 27\.0\.0 is too old"):
        obs.run(["--yes"], root, machine(linux(home)))
    (root / obs.SCRIPT).unlink()
    with pytest.raises(SetupError, match=r"brushcast_obs\.py is missing"):
        obs.run(["--yes"], root, machine(linux(home)))


def test_a_sandboxed_obs_is_told_what_does_not_work(home: Path, root: Path) -> None:
    scenes = make_obs(home / ".var/app/com.obsproject.Studio/config/obs-studio")
    world = machine(linux(home), answers="y\n")
    obs.run([], root, world)
    assert said(world).index("Flatpak's sandbox") < said(world).index("Change that?")
    assert len(script_paths(scenes / "lab.json")) == 2


def test_a_missing_install_record_is_told(home: Path, root: Path, scenes: Path) -> None:
    world = machine(linux(home))
    obs.run(["--yes"], root, world)
    assert "python3 -m installer setup" in said(world)
    install_record.write(root, Venv(folder=root / ".venv"), linux(home))
    world = machine(linux(home))
    obs.run(["--yes", "--collection", "stage"], root, world)
    assert "python3 -m installer setup" not in said(world)


def windows(home: Path, major: int, path: str) -> tuple[obs.Machine, Path]:
    where = places.find("win32", {"USERPROFILE": str(home), "LOCALAPPDATA": str(home / "L")})
    make_obs(where.config_root / "obs-studio", major)
    (config,) = obs_folders.find(where)
    text = obs_folders.read_ini(config.settings)
    config.settings.write_text(obs_ini.put(text, "Python", "Path64bit", path))
    world = machine(where, answers="y\n")
    environ = {"LOCALAPPDATA": str(home / "L")}
    return obs.Machine(
        places=where, environ=environ, answers=world.answers, out=world.out,
        obs_runs=world.obs_runs, now=world.now,
    ), config.settings  # fmt: skip


@pytest.mark.parametrize("major", [30, 31])
def test_on_windows_a_stale_python_is_set_after_the_question(
    home: Path, root: Path, major: int
) -> None:
    world, settings = windows(home, major, "C:/Python39")
    before = settings.read_text()
    python = home / "L/Programs/Python/Python312"
    python.mkdir(parents=True)
    (python / "python312.dll").write_text("")
    assert obs.run([], root, world) == 0
    assert said(world).index(f"its Python becomes {python}") < said(world).index("Change that?")
    assert settings.read_text() == before.replace("C:/Python39", python.as_posix())
    assert settings.with_name(f"{settings.name}.brushcast-backup-{STAMP}").read_text() == before


def test_on_windows_a_missing_python_is_explained(home: Path, root: Path) -> None:
    world, settings = windows(home, 30, "")
    before = settings.read_text()
    obs.run([], root, world)
    assert "install 64-bit Python 3.12 from python.org" in said(world)
    assert settings.read_text() == before


def test_status_is_said_in_words_and_in_json(home: Path, root: Path, scenes: Path) -> None:
    world = machine(linux(home))
    assert obs.run(["--status", "--json"], root, world) == 0
    topics = [line["topic"] for line in json.loads(said(world))]
    assert topics == ["OBS", "OBS script"]
    world = machine(linux(home))
    obs.run(["--status"], root, world)
    assert "in no scene collection of OBS" in said(world)
