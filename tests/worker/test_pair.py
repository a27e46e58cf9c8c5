"""`brushcast-worker pair`: the line, the waiting, the list, revoking. `brushcast pair` answers."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from brushcast.folders import keys_folder
from brushcast.wire.curve import BRIDGES, WORKER_KEY, KeyList, Known, fingerprint, read_keys
from brushcast.wire.pairing import parse_invitation
from brushcast_worker.__main__ import run_command
from brushcast_worker.pair import worker_keys


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


def bridges() -> KeyList:
    return KeyList(keys_folder() / BRIDGES)


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "brushcast_worker", "pair", "--bind", "tcp://127.0.0.1:0"]
    return subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_command_lines_pair_two_machines_and_show_the_same(tmp_path: Path) -> None:
    """Each with a home of its own, as on two machines."""
    there = started("--json", "--port", "7777", "--for", "60")
    assert there.stdout is not None
    invitation = json.loads(there.stdout.readline())
    assert invitation["event"] == "invitation"
    streaming = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "streaming")}
    here = subprocess.run(
        [sys.executable, "-m", "brushcast", "pair", "--name", "studio", "--json"],
        input=invitation["line"], env=streaming, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert here.returncode == 0, here.stderr
    paired = json.loads(here.stdout)
    out, err = there.communicate(timeout=60)
    assert (there.returncode, err) == (0, "")
    told = json.loads(out)
    assert told["event"] == "paired"
    assert told["name"] == paired["known_as"] == "studio"
    assert told["worker_key"] == paired["worker_key"] == invitation["worker_key"]
    assert told["key"] == paired["own_key"]
    assert paired["worker"] == "tcp://127.0.0.1:7777"
    (admitted,) = bridges().entries()
    assert fingerprint(admitted.key) == told["key"]
    for path in keys_folder().iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(keys_folder().stat().st_mode) == 0o700


def test_a_line_that_nobody_uses_ends_with_code_2_and_one_sentence() -> None:
    there = started("--for", "5")
    out, err = there.communicate(timeout=60)
    assert there.returncode == 2
    assert "brushcast pair brushcast-pair:127.0.0.1:" in out
    assert "give it to nobody else" in out
    assert err.count("\n") == 1
    assert "nobody used the invitation in time" in err
    assert bridges().entries() == ()


def test_the_line_names_the_address_and_the_port_of_the_worker() -> None:
    there = started("--json", "--address", "gpu.example", "--port", "9000", "--for", "60")
    assert there.stdout is not None
    invitation = parse_invitation(json.loads(there.stdout.readline())["line"])
    there.kill()
    there.communicate()
    assert str(invitation.worker) == "tcp://gpu.example:9000"
    assert invitation.meets.host == "gpu.example"
    keys = read_keys(keys_folder() / WORKER_KEY)
    assert keys is not None
    assert invitation.key == keys.public


def test_the_workers_key_stays() -> None:
    assert worker_keys() is None
    made = worker_keys(make=True)
    assert made == worker_keys(make=True) == worker_keys()


def test_the_list_and_revoking(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pair", "--list"]) == 0
    assert "no machine" in capsys.readouterr().out
    for name, key in (("studio", b"a" * 32), ("laptop", b"b" * 32)):
        bridges().add(Known(name=name, key=key, paired="2026-11-22"))
    assert run_command(["pair", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["studio", "laptop"]
    assert rows[0]["key"] == fingerprint(b"a" * 32)
    assert run_command(["pair", "--list"]) == 0
    assert fingerprint(b"b" * 32) in capsys.readouterr().out
    assert run_command(["pair", "--revoke", "studio", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "studio"
    assert not bridges().admits(b"a" * 32)
    assert bridges().admits(b"b" * 32)
    assert run_command(["pair", "--revoke", "laptop"]) == 0
    assert "revoked laptop" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--revoke", "tv"], "no key is named 'tv'"), (["--list", "--revoke", "x"], "one of"),
     (["--port", "0"], "--port 0"), (["--bind", "ipc:///x/y"], "wanted tcp://HOST:PORT"),
     (["--bind", "7171"], "wanted tcp://HOST:PORT"), (["--address", "a b"], "wanted tcp://"),
     (["--for", "1"], "--for"), (["--bind", "tcp://192.0.2.1:7172"], "cannot listen on")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_input_is_one_line_and_code_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pair", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err
