from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer import obs_folders, places
from tests.installer.obs_home import linux, make_obs


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, ".config/obs-studio"),
        ("linux", {}, ".var/app/com.obsproject.Studio/config/obs-studio"),
        ("linux", {}, "snap/obs-studio/current/.config/obs-studio"),
        ("linux", {"XDG_CONFIG_HOME": "{home}/c"}, "c/obs-studio"),
        ("darwin", {}, "Library/Application Support/obs-studio"),
        ("win32", {"APPDATA": "{home}/R"}, "R/obs-studio"),
    ],
)
def test_obs_is_found_where_each_system_puts_it(
    home: Path, platform: str, environ: dict[str, str], folder: str
) -> None:
    make_obs(home / folder)
    values = {name: value.format(home=home) for name, value in environ.items()}
    where = places.find(platform, {"HOME": str(home), "USERPROFILE": str(home), **values})
    (found,) = obs_folders.find(where)
    assert found.folder == home / folder
    assert found.version == (29, 0, 2)
    current = obs_folders.current(found)
    assert current is not None
    assert current.path == home / folder / "basic/scenes/lab.json"


def test_without_obs_nothing_is_found(home: Path) -> None:
    assert obs_folders.find(linux(home)) == []
    assert obs_folders.find(linux(home), chosen=home) == []


def test_of_several_the_one_that_was_used_last_is_first(home: Path) -> None:
    make_obs(home / ".config/obs-studio")
    make_obs(home / ".var/app/com.obsproject.Studio/config/obs-studio")
    folders = {".config": "system", ".var/app/com.obsproject.Studio/config": "flatpak"}
    for folder, kind in folders.items():
        os.utime(home / folder / "obs-studio/global.ini", (2e9, 2e9))
        assert obs_folders.find(linux(home))[0].kind == kind
        os.utime(home / folder / "obs-studio/global.ini", (1e9, 1e9))


@pytest.mark.parametrize("major", [29, 30, 31, 32])
def test_each_version_says_which_collection_is_current(home: Path, major: int) -> None:
    make_obs(home / ".config/obs-studio", major, names=("lab", "stage"), chosen="stage")
    (found,) = obs_folders.find(linux(home))
    assert found.settings.name == ("user.ini" if major >= 31 else "global.ini")
    current = obs_folders.current(found)
    assert current is not None
    assert current.name == "stage"


def test_the_file_counts_before_31_and_the_name_from_then_on(home: Path) -> None:
    for major, wanted in ((30, "lab.json"), (31, "other.json")):
        scenes = make_obs(home / str(major), major, names=("lab",), chosen="lab")
        (scenes / "lab.json").write_text('{"name": "renamed"}')
        (scenes / "other.json").write_text('{"name": "lab"}')
        (found,) = obs_folders.find(linux(home), chosen=home / str(major))
        current = obs_folders.current(found)
        assert current is not None
        assert current.path.name == wanted


def test_what_31_has_moved_elsewhere_is_found_there(home: Path) -> None:
    make_obs(home / ".config/obs-studio", 31)
    make_obs(home / "elsewhere/obs-studio", 31, names=("there",), chosen="there")
    ini = home / ".config/obs-studio/global.ini"
    text = ini.read_text()
    moved = f"[Locations]\nConfiguration={home}/elsewhere\nSceneCollections={home}/elsewhere\n"
    ini.write_text(text + moved)
    (found,) = obs_folders.find(linux(home))
    assert found.settings == home / "elsewhere/obs-studio/user.ini"
    assert [collection.name for collection in obs_folders.collections(found)] == ["there"]
    ini.write_text(text + moved.replace("elsewhere", "gone"))
    (found,) = obs_folders.find(linux(home))
    assert [collection.name for collection in obs_folders.collections(found)] == ["lab"]


def test_a_broken_collection_goes_by_its_files_name(home: Path) -> None:
    scenes = make_obs(home / ".config/obs-studio")
    (scenes / "broken.json").write_bytes(b"\xff{")
    (scenes / "lab.json.brushcast-backup-20260101-000000").write_text("{}")
    (found,) = obs_folders.find(linux(home))
    names = [collection.name for collection in obs_folders.collections(found)]
    assert names == ["broken", "lab"]


def test_where_obs_does_not_say_nothing_is_guessed(home: Path) -> None:
    scenes = make_obs(home / ".config/obs-studio", names=("a", "b"), chosen="gone")
    (found,) = obs_folders.find(linux(home))
    assert obs_folders.current(found) is None
    (scenes / "b.json").unlink()
    current = obs_folders.current(found)
    assert current is not None
    assert current.name == "a"


def test_a_version_is_three_numbers_in_one() -> None:
    assert obs_folders.parse_version(str(30 << 24 | 2 << 16 | 3)) == (30, 2, 3)
    for text in ("", "0", "-1", "29.0.2", "²", str(2**40)):
        assert obs_folders.parse_version(text) is None
