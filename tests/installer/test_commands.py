from __future__ import annotations

import errno
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
    monkeypatch.setattr(commands.sys, "platform", "win32")
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
    expected = "There is no command 'launch': run, test, setup or doctor.\n"
    assert capsys.readouterr().err == expected


def test_doctor_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["doctor"]) == 0
    assert "Python" in capsys.readouterr().out
