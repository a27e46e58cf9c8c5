from __future__ import annotations

import json
from pathlib import Path

import pytest

from installer import obs_status, places
from installer.line import Line
from tests.installer.obs_home import linux, make_obs

NO_PATH = {"PATH": ""}


def lines(home: Path, script: Path = Path("/x/obs_scripts/brushcast_obs.py")) -> dict[str, Line]:
    return {line.topic: line for line in obs_status.lines(script, linux(home), NO_PATH)}


def register(collection: Path, path: Path) -> None:
    whole = json.loads(collection.read_text(encoding="utf-8"))
    whole["modules"]["scripts-tool"].append({"path": str(path), "settings": {}})
    collection.write_text(json.dumps(whole))


@pytest.fixture(autouse=True)
def no_system_obs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obs_status, "find_program", lambda *_: "/usr/bin/obs")


def test_without_obs_there_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obs_status, "find_program", lambda *_: "")
    found = lines(home)
    assert list(found) == ["OBS"]
    assert found["OBS"].verdict == "note"
    assert "28 to 32" in found["OBS"].text


def test_an_obs_that_never_ran_is_told_with_its_version(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "obs"
    program.write_text("#!/bin/sh\necho 'OBS Studio - 30.2.3-1 (linux)'\n")
    program.chmod(0o755)
    monkeypatch.setattr(obs_status, "find_program", lambda *_: str(program))
    found = lines(home)["OBS"]
    assert "OBS 30.2.3" in found.text
    assert "python3 -m installer obs" in found.how


def test_the_version_and_the_place_are_told(home: Path) -> None:
    make_obs(home / ".config/obs-studio", 30)
    found = lines(home)["OBS"]
    assert found.verdict == "ok"
    assert found.text == f"OBS 30.2.3, /usr/bin/obs, {home}/.config/obs-studio"


@pytest.mark.parametrize(("number", "what"), [(27 << 24, "too old"), (33 << 24, "newer than")])
def test_a_version_that_is_not_known_is_told(home: Path, number: int, what: str) -> None:
    make_obs(home / ".config/obs-studio")
    ini = home / ".config/obs-studio/global.ini"
    ini.write_text(ini.read_text().replace(str(29 << 24 | 2), str(number)))
    assert what in lines(home)["OBS"].text


def test_a_sandbox_is_told(home: Path) -> None:
    make_obs(home / ".var/app/com.obsproject.Studio/config/obs-studio")
    found = lines(home)["OBS"]
    assert (found.verdict, "sandbox" in found.text) == ("note", True)


def test_where_the_script_is_and_whether_that_is_right(home: Path, tmp_path: Path) -> None:
    scenes = make_obs(home / ".config/obs-studio", names=("lab", "stage"))
    script = tmp_path / "obs_scripts" / "brushcast_obs.py"
    script.parent.mkdir()
    script.write_text("")
    found = lines(home, script)["OBS script"]
    assert (found.text, found.how) == ("in no scene collection of OBS", "python3 -m installer obs")
    register(scenes / "stage.json", script)
    found = lines(home, script)["OBS script"]
    assert 'not in the current one, "lab"' in found.text
    register(scenes / "lab.json", script)
    found = lines(home, script)["OBS script"]
    assert (found.verdict, found.text) == ("ok", 'in the scene collection "lab", "stage"')


def test_a_path_of_an_older_checkout_is_told(home: Path, tmp_path: Path) -> None:
    scenes = make_obs(home / ".config/obs-studio")
    other = tmp_path / "brushcast_obs.py"
    register(scenes / "lab.json", other)
    found = lines(home)["OBS script"]
    assert f"a file that is gone, {other}" in found.text
    other.write_text("")
    found = lines(home)["OBS script"]
    assert f"another checkout, {other}" in found.text
    assert found.how == 'python3 -m installer obs --collection "lab"'


def test_on_windows_the_python_is_told_too(home: Path) -> None:
    where = places.find("win32", {"USERPROFILE": str(home)})
    make_obs(where.config_root / "obs-studio")
    found = {line.topic: line for line in obs_status.lines(Path("/x"), where, NO_PATH)}
    assert "no script can run" in found["OBS's Python"].text


def test_the_program_is_looked_for_where_each_system_has_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    program = tmp_path / "obs-studio/bin/64bit/obs64.exe"
    program.parent.mkdir(parents=True)
    program.write_text("")
    where = places.find("win32", {"USERPROFILE": str(home)})
    assert obs_status.find_program(where, {"PROGRAMFILES": str(tmp_path)}) == str(program)
    app = home / "Applications/OBS.app"
    app.mkdir(parents=True)
    assert obs_status.find_program(places.find("darwin", {"HOME": str(home)}), {}) == str(app)
    (tmp_path / "obs").write_text("")
    (tmp_path / "obs").chmod(0o755)
    found = obs_status.find_program(linux(home), {"PATH": str(tmp_path)})
    assert found == str(tmp_path / "obs")
