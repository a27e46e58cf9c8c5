from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from installer import checks, commands, prepare, system_packages
from installer.errors import SetupError
from installer.prepare import Ready, Wanted
from installer.progress import Progress
from installer.venv import Venv

DEVICE = "Device: CPU, because no NVIDIA, AMD or Apple GPU was found (PyTorch 2.13.0+cpu)."


class Done(Exception):
    """In place of a process that was replaced by another."""


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Wanted]:
    """What was asked of prepare, which is faked: the environment is always ready."""
    asked: list[Wanted] = []

    def ensure(root: Path, what: Wanted, progress: Progress) -> Ready:
        asked.append(what)
        return Ready(venv=Venv(folder=tmp_path), device=DEVICE)

    monkeypatch.setattr(prepare, "ensure", ensure)
    return asked


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ([], ["run"]),
        (["--"], ["run"]),
        (["--", "restyle", "a", "b"], ["restyle", "a", "b"]),
        (["restyle", "a", "b"], ["restyle", "a", "b"]),
        (["--source", "card"], ["run", "--source", "card"]),
        (["--", "--source", "card"], ["run", "--source", "card"]),
        (["--help"], ["--help"]),
        (["restyle", "--", "-odd-name"], ["restyle", "--", "-odd-name"]),
    ],
)
def test_brushcast_gets_its_arguments_with_and_without_the_separator(
    given: list[str], started: list[str]
) -> None:
    assert commands.brushcast_arguments(given) == started


@pytest.mark.skipif("sys.platform == 'win32'", reason="no exec there")
def test_run_says_the_device_and_becomes_brushcast(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execv(path: str, command: Sequence[str]) -> None:
        raise Done(list(command)[1:])

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(Done) as done:
        commands.main(["run", "--", "restyle", "in.mkv", "out.mp4"])
    assert done.value.args[0] == ["-m", "brushcast", "restyle", "in.mkv", "out.mp4"]
    assert wanted == [Wanted(kind="run")]
    captured = capsys.readouterr()
    assert captured.err == DEVICE + "\n"
    assert captured.out == ""  # standard output belongs to Brushcast


def test_on_windows_run_waits_and_gives_the_exit_code_on(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Venv, "python", Path(sys.executable))
    assert commands.main(["run", "--", "no-such-command"]) == 2


def test_the_test_command_runs_every_part_whatever_fails(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(check: str, venv: Venv, root: Path, arguments: Sequence[str] = ()) -> int:
        ran.append(check)
        return 1 if check == "types" else 0

    monkeypatch.setattr(checks, "run", run)
    monkeypatch.setattr(system_packages, "install_missing", lambda *_: [])
    assert commands.main(["test"]) == 1
    assert ran == ["style", "types", "tests"]
    assert "Not clean: types." in capsys.readouterr().err
    assert wanted == [Wanted(kind="dev")]


def test_with_arguments_only_those_tests_run(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, list[str]]] = []

    def run(check: str, venv: Venv, root: Path, arguments: Sequence[str] = ()) -> int:
        calls.append((check, list(arguments)))
        return 5

    monkeypatch.setattr(checks, "run", run)
    assert commands.main(["test", "--", "tests/plugin", "-k", "ring"]) == 5
    assert commands.main(["test", "-x"]) == 5
    assert calls == [("tests", ["tests/plugin", "-k", "ring"]), ("tests", ["-x"])]


@pytest.mark.parametrize("command", ["run", "setup"])
def test_the_obs_script_is_told_how_to_start_the_product(
    wanted: list[Wanted], command: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: None)
    commands.main([command])
    record = json.loads((home / ".config/brushcast/install.json").read_text())
    assert record["command"] == [str(tmp_path / "bin/python"), "-m", "brushcast"]


def test_a_home_that_cannot_be_written_stops_no_run(
    wanted: list[Wanted], home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file"))
    (home / "file").write_text("")
    assert commands.main(["setup"]) == 0
    assert "OBS cannot start Brushcast: " in capsys.readouterr().err


def test_a_question_that_nobody_can_answer_is_one_line_and_code_2(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".config" / "brushcast").mkdir(parents=True)
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(home / "none"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    monkeypatch.setattr(commands, "ROOT", home / "checkout")
    assert commands.main(["uninstall"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "--yes" in captured.err
    assert (home / ".config" / "brushcast").exists()


def test_desktop_and_obs_are_commands(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ROOT", home / "checkout")
    assert commands.main(["desktop", "--remove"]) == 0
    assert "nothing of ours" in capsys.readouterr().out
    assert commands.main(["obs", "--yes"]) == 1
    assert "brushcast_obs.py is missing" in capsys.readouterr().err


def test_setup_passes_on_what_was_asked_for(wanted: list[Wanted]) -> None:
    assert commands.main(["setup", "--torch", "none", "--dev", "--fresh"]) == 0
    assert wanted == [Wanted(kind="dev", asked="none", check=True, fresh=True)]


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (SetupError("No network: pypi.org."), "No network: pypi.org.", 1),
        (OSError(errno.EACCES, "No", "/x"), "Set-up failed while running 'run': No (/x).", 1),
        (KeyboardInterrupt(), "Stopped; the same command goes on from here.", 130),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    error: BaseException,
    sentence: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ensure(root: Path, what: Wanted, progress: Progress) -> Ready:
        raise error

    monkeypatch.setattr(prepare, "ensure", ensure)
    assert commands.main(["run"]) == code
    assert capsys.readouterr().err == sentence + "\n"


def test_a_command_that_there_is_not_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["launch"]) == 2
    commands_there_are = "run, test, setup, obs, desktop, uninstall or doctor"
    expected = f"There is no command 'launch': {commands_there_are}.\n"
    assert capsys.readouterr().err == expected


def test_doctor_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["doctor"]) == 0
    assert "Python" in capsys.readouterr().out
