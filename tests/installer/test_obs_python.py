from __future__ import annotations

from pathlib import Path

import pytest

from installer import obs_folders, obs_ini, obs_python, places
from installer.obs_folders import ObsConfig
from tests.installer.obs_home import make_obs


def configured(home: Path, platform: str, path: str, major: int = 30) -> ObsConfig:
    folder = home / ("AppData/Roaming" if platform == "win32" else "Library/Application Support")
    folder = folder / "obs-studio"
    make_obs(folder, major)
    where = places.find(platform, {"HOME": str(home), "USERPROFILE": str(home)})
    (found,) = obs_folders.find(where)
    text = obs_folders.read_ini(found.settings)
    found.settings.write_text(obs_ini.put(text, "Python", "Path64bit", path))
    return found


def python(folder: Path, minor: int, platform: str) -> str:
    mac = f"Python.framework/Versions/3.{minor}/lib/libpython3.{minor}.dylib"
    library = folder / (f"python3{minor}.dll" if platform == "win32" else mac)
    library.parent.mkdir(parents=True, exist_ok=True)
    library.write_text("")
    return str(folder)


@pytest.mark.parametrize(
    ("version", "newest"),
    [((28, 0, 0), 10), ((29, 0, 2), 10), ((29, 1, 0), 11), ((30, 0, 2), 11), ((30, 1, 0), 12),
     ((32, 2, 0), 12), (None, 10)],
)  # fmt: skip
def test_each_obs_loads_its_own_pythons(version: obs_folders.Version | None, newest: int) -> None:
    assert obs_python.newest_minor(version) == newest


def test_on_linux_nothing_is_to_be_set(home: Path) -> None:
    make_obs(home / ".config/obs-studio")
    (found,) = obs_folders.find(places.find("linux"))
    assert obs_python.setting(found, "linux").state == "linked"


@pytest.mark.parametrize("platform", ["win32", "darwin"])
@pytest.mark.parametrize("major", [30, 31])
def test_the_setting_is_held_against_what_is_on_the_disk(
    home: Path, platform: str, major: int
) -> None:
    config = configured(home, platform, "", major)

    def state(path: str) -> str:
        text = obs_folders.read_ini(config.settings)
        config.settings.write_text(obs_ini.put(text, "Python", "Path64bit", path))
        return obs_python.setting(config, platform).state

    assert state("") == "unset"
    assert state(str(home / "gone")) == "stale"
    assert state(python(home / "new", 13, platform)) == "stale"  # newer than any OBS loads
    assert state(python(home / "old", 9, platform)) == "old"
    assert state(python(home / "good", 12, platform)) == "good"


def test_a_python_that_is_too_new_for_this_obs_is_no_good(home: Path) -> None:
    config = configured(home, "win32", python(home / "p", 12, "win32"), major=29)
    found = obs_python.setting(config, "win32")
    assert found.state == "stale"
    assert "Python 3.10 of this OBS" in found.text
    assert "may not even start" in found.text


def test_windows_pythons_are_found_the_newest_usable_first(home: Path) -> None:
    base = home / "L" / "Programs" / "Python"
    for minor in (10, 12, 13):
        python(base / f"Python3{minor}", minor, "win32")
    where = places.find("win32", {"USERPROFILE": str(home)})
    environ = {"LOCALAPPDATA": str(home / "L")}
    found = obs_python.candidates(where, 12, environ)
    assert found == [base / "Python312", base / "Python310"]
    assert obs_python.candidates(where, 11, environ) == [base / "Python310"]
