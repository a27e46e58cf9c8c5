"""`brushcast pair` against a real offer on this machine."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from brushcast.__main__ import run_command
from brushcast.folders import keys_folder
from brushcast.wire.curve import BRIDGE_KEY, WORKERS, KeyList, Known, fingerprint, read_keys
from tests.plugin.wire.test_pairing import WORKER, Waiting


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.close()


def test_pairing_keeps_the_key_shows_both_fingerprints_and_says_what_to_do(
    waiting: Waiting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pair", waiting.invitation.line, "--name", "studio"]) == 0
    said = capsys.readouterr()
    own = read_keys(keys_folder() / BRIDGE_KEY)
    assert own is not None
    assert waiting.admitted == [(own.public, "studio")]
    assert fingerprint(own.public) in said.out
    assert fingerprint(WORKER.public) in said.out
    assert "brushcast run --worker tcp://127.0.0.1:7171" in said.out
    assert said.err == ""
    for secret in (own.secret.hex(), waiting.invitation.line.rpartition("/")[2]):
        assert secret not in said.out
    (worker,) = KeyList(keys_folder() / WORKERS).entries()
    assert (worker.key, worker.address) == (WORKER.public, "tcp://127.0.0.1:7171")
    for path in (keys_folder() / BRIDGE_KEY, keys_folder() / WORKERS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_line_may_come_from_standard_input_and_the_result_as_json(
    waiting: Waiting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(waiting.invitation.line + "\n"))
    assert run_command(["pair", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["worker"] == "tcp://127.0.0.1:7171"
    assert said["worker_key"] == fingerprint(WORKER.public)
    assert run_command(["pair", "--list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["worker_key"] == said["worker_key"]
    assert run_command(["pair", "--forget", row["name"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worker"] == row["worker"]
    assert run_command(["pair", "--list"]) == 0
    assert "no worker" in capsys.readouterr().out


def test_the_own_key_stays_over_pairings(capsys: pytest.CaptureFixture[str]) -> None:
    keys = []
    for _ in range(2):
        waiting = Waiting()
        assert run_command(["pair", waiting.invitation.line]) == 0
        waiting.close()
        keys.append(waiting.admitted[0][0])
    assert keys[0] == keys[1]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["nonsense"], "no invitation"), (["x", "--list"], "one of LINE, --list and --forget"),
     (["--forget", "gpu"], "no key is named 'gpu'"), (["--list", "--forget", "x"], "one of"),
     (["brushcast-pair:127.0.0.1:9/7171/" + "A" * 43 + "/" + "B" * 22], "nothing listens")],
    ids=lambda value: value[0][:12] if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_input_is_one_line_and_code_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pair", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err
    assert "B" * 22 not in said.err


def test_nothing_is_kept_of_a_pairing_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting()
    line = waiting.invitation.line
    assert run_command(["pair", line[:-22] + "C" * 22]) == 2
    waiting.close()
    assert "the secret is not the invitation's" in capsys.readouterr().err
    assert KeyList(keys_folder() / WORKERS).entries() == ()


@pytest.mark.parametrize("worker", ["tcp://192.0.2.7:7171", "tcp://gpu.lan:7171"])
def test_a_run_with_a_worker_that_is_not_paired_ends_with_one_sentence(
    worker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--source", "testcard", "--sink", "null", "--panel", "off"]
    assert run_command([*command, "--worker", worker, "--for", "1"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "`brushcast pair`" in said.err
    assert worker in said.err


def test_a_key_file_that_others_may_read_stops_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    workers = KeyList(keys_folder() / WORKERS)
    workers.add(Known(name="gpu", key=WORKER.public, address="tcp://192.0.2.7:7171"))
    workers.path.chmod(0o644)
    command = ["run", "--source", "testcard", "--sink", "null", "--panel", "off", "--for", "1"]
    assert run_command([*command, "--worker", "tcp://192.0.2.7:7171"]) == 2
    assert "has mode 0644" in capsys.readouterr().err
