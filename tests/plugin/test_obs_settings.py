"""OBS's own files, as its versions write them, and as nobody should."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import ConfigError
from brushcast.obs_settings import (
    ObsServer,
    find_server,
    parse_ini,
    parse_json,
    settings_folders,
)

# As OBS 29.0.2 and OBS 31 wrote them, with the values changed.
OBS_29 = """\
[General]
LastVersion=486539266
Password=not this one

[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort=4466
AlertsEnabled=false
AuthRequired=true
ServerPassword=a%b=c;d\\\\e

[BasicWindow]
ServerPort=1
"""
OBS_31 = {
    "alerts_enabled": False,
    "auth_required": True,
    "first_load": False,
    "server_enabled": True,
    "server_password": "geheim",
    "server_port": 4455,
}


def test_the_settings_of_obs_29() -> None:
    assert parse_ini(OBS_29) == ObsServer(4466, "a%b=c;d\\e")
    assert parse_ini(OBS_29.replace("\n", "\r\n")) == ObsServer(4466, "a%b=c;d\\e")


def test_the_settings_of_later_ones() -> None:
    assert parse_json(json.dumps(OBS_31)) == ObsServer(4455, "geheim")


def test_a_server_that_is_off_or_was_never_on_is_none() -> None:
    assert parse_ini(OBS_29.replace("ServerEnabled=true", "ServerEnabled=false")) is None
    assert parse_ini(OBS_29.replace("ServerEnabled=true", "ServerEnabled=0")) is None
    assert parse_ini("[General]\nFirstRun=true\n") is None
    assert parse_json(json.dumps({**OBS_31, "server_enabled": False})) is None
    assert parse_json("{}") is None


def test_without_authentication_there_is_no_password() -> None:
    assert parse_ini(OBS_29.replace("AuthRequired=true", "AuthRequired=false")) == ObsServer(
        4466, ""
    )
    assert parse_json(json.dumps({**OBS_31, "auth_required": False})) == ObsServer(4455, "")


def test_a_port_that_is_not_named_is_obs_websockets_own() -> None:
    found = parse_json('{"server_enabled": true, "auth_required": false}')
    assert found == ObsServer(4455, "")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"server_port": 0}, "server port 0, wanted 1 to 65535"),
        ({"server_port": 65536}, "server port 65536"),
        ({"server_port": "4455"}, "server port '4455'"),
        ({"server_port": True}, "server port True"),
        ({"server_port": 10**300}, "server port 1000"),
        ({"server_enabled": "yes"}, "server enabled is 'yes'"),
        ({"auth_required": 1}, "authentication required is 1"),
        ({"server_password": 7}, "wanted a password"),
        ({"server_password": "geheim" * 200}, "wanted a password"),
    ],
)
def test_other_values_are_named_and_the_password_is_not(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_json(json.dumps({**OBS_31, **changes}))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("port", ["0", "-1", "99999", "4455x", "९", "1e3", ""])
def test_ports_of_an_ini_are_checked_too(port: str) -> None:
    with pytest.raises(ConfigError, match="server port"):
        parse_ini(OBS_29.replace("ServerPort=4466", f"ServerPort={port}"))


@given(st.text(max_size=200))
def test_any_text_is_settings_or_refused(text: str) -> None:
    for parse in (parse_ini, parse_json):
        try:
            found = parse(text)
        except ConfigError:
            continue
        assert found is None or 1 <= found.port <= 65535


def test_the_newer_file_wins_and_the_first_folder_with_a_server(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert find_server([first, second]) is None
    write_ini(second, OBS_29)
    assert find_server([first, second]) == ObsServer(4466, "a%b=c;d\\e")
    write_json(second, {**OBS_31, "server_port": 5555})
    assert find_server([first, second]) == ObsServer(5555, "geheim")
    write_json(second, {**OBS_31, "server_enabled": False})
    assert find_server([second]) is None, "the older file is what was before the move"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    tmp_path.joinpath("global.ini").write_bytes(b"\xef\xbb\xbf[OBSWebSocket]\nServerEnabled=true\n")
    assert find_server([tmp_path]) == ObsServer(4455, "")


def test_what_is_no_settings_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    ini = tmp_path / "global.ini"
    ini.write_bytes(b"\xff\xfe[")
    with pytest.raises(ConfigError, match=r"global\.ini: wanted UTF-8"):
        find_server([tmp_path])
    ini.write_bytes(b"x" * 1_000_001)
    with pytest.raises(ConfigError, match=r"global\.ini: wanted at most"):
        find_server([tmp_path])
    ini.unlink()
    ini.mkdir()
    with pytest.raises(ConfigError, match=r"global\.ini"):
        find_server([tmp_path])


def test_a_password_is_not_shown_by_accident() -> None:
    assert "geheim" not in repr(ObsServer(4455, "geheim"))


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders are Linux's")
def test_folders_follow_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    native, flatpak = settings_folders()
    assert native == tmp_path / "config" / "obs-studio"
    assert flatpak == tmp_path / ".var/app/com.obsproject.Studio/config/obs-studio"


def write_ini(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "global.ini").write_text(text, encoding="utf-8")


def write_json(folder: Path, table: dict[str, object]) -> None:
    inner = folder / "plugin_config" / "obs-websocket"
    inner.mkdir(parents=True, exist_ok=True)
    (inner / "config.json").write_text(json.dumps(table), encoding="utf-8")
