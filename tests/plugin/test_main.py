"""The command line is a contract: help everywhere, exit codes, one clear line, JSON alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from brushcast.__main__ import cli, run_command

COMMANDS = [
    ["run"],
    ["restyle"],
    ["bench"],
    ["presets", "list"],
    ["presets", "show"],
    ["presets", "import"],
    ["presets", "export"],
    ["models", "list"],
    ["models", "fetch"],
    ["models", "verify"],
    ["pair"],
    ["doctor"],
]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


def test_the_options_of_the_contract_are_there() -> None:
    contract = {
        "run": "source sink preset worker panel for report lifeline badge badge-corner",
        "restyle": "preset prompt strength size seed steps report badge badge-corner",
        "bench": "engine size steps device json quality clips styles drift-seconds ablations out",
    }
    for name, wanted in contract.items():
        options = {o for p in cli.commands[name].params for o in p.opts}
        assert {f"--{option}" for option in wanted.split()} <= options


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["paint"], "paint"),
        (["run", "--preset", "oi1"], "unknown preset 'oi1'"),
        (["run", "--size", "511x288"], "511x288"),
        (["run", "--size", "500x288"], "multiples of 16"),
        (["run", "--for", "-3"], "--for -3"),
        (["run", "--badge", "maybe"], "--badge"),
        (["run", "--badge-corner", "middle"], "top-left"),
        (["run", "--worker", "http://x"], "http://x"),
        (["run", "--worker", "tcp://192.0.2.7:7171"], "brushcast pair"),
        (["run", "--panel", "nowhere"], "HOST:PORT"),
        (["run", "--report", "/absent/r.json"], "/absent/r.json"),
        (["restyle"], "INPUT"),
        (["restyle", "absent.mp4", "out.mp4"], "absent.mp4"),
        (["restyle", "absent.mp4", "out.mp4", "--strength", "3"], "strength 3"),
        (["restyle", "absent.mp4", "/absent/out.mp4"], "/absent"),
        (["bench", "--size", "100x100"], "multiples of 16"),
        (["bench", "--styles", "oil"], "--styles: wanted only with --quality"),
        (["bench", "--quality", "--seconds", "9"], "--seconds: wanted without --quality"),
        (["bench", "--quality", "--size", "100x100"], "multiples of 16"),
        (["presets", "show", "oi1"], "unknown preset"),
        (["presets", "import", "absent.toml"], "absent.toml"),
        (["models", "verify", "sora"], "unknown model 'sora'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_gets_one_line_and_exit_code_2(
    command: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err


def test_a_wrong_level_of_logging_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRUSHCAST_LOG", "LOUD")
    assert run_command(["presets", "list"]) == 2
    assert "BRUSHCAST_LOG=LOUD" in capsys.readouterr().err


def test_a_run_with_a_lifeline_ends_well_with_its_standard_input(tmp_path: Path) -> None:
    """As the OBS script starts it: nothing else ends this run."""
    command = [sys.executable, "-m", "brushcast", "run", "--source", "testcard", "--sink", "null"]
    command += ["--panel", "off", "--worker", "tcp://127.0.0.1:9", "--lifeline", "--json"]
    run = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    try:
        while not (line := run.stderr.readline()).startswith("Sink:"):
            assert line, "it ended by itself"
        out, err = run.communicate(timeout=30)  # closes its standard input
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 0, err
    assert json.loads(out)["frames_styled"] == 0


class NoSupervisor:
    """`run` without a run: what it was asked for is kept."""

    asked: ClassVar[list[Any]] = []

    def __init__(self, config: Any, **options: Any) -> None:
        self.asked.append((config, options))

    def stop(self) -> None: ...

    def run(self) -> dict[str, Any]:
        numbers = ("seconds", "frames_out", "fps", "frames_styled", "styled_fps")
        return dict.fromkeys(numbers, 0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    NoSupervisor.asked = []
    monkeypatch.setattr("brushcast.supervisor.Supervisor", NoSupervisor)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return NoSupervisor.asked


def test_the_badge_is_on_until_it_is_switched_off(asked: list[Any]) -> None:
    for command in (["run"], ["run", "--badge", "off"], ["run", "--badge-corner", "top-right"]):
        assert run_command([*command, "--panel", "off"]) == 0
    badges = [(config.badge, config.badge_corner) for config, _ in asked]
    assert badges == [(True, "top-left"), (False, "top-left"), (True, "top-right")]


def test_the_notice_is_said_once_and_only_to_people(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--panel", "off"]
    said = []
    for person, command in ((False, run), (True, [*run, "--json"]), (True, run), (True, run)):
        monkeypatch.setattr("sys.stdout.isatty", lambda person=person: person)
        assert run_command(command) == 0
        said.append("Article 50" in capsys.readouterr().out)
    assert said == [False, False, True, False]


def test_restyle_says_ai_unless_it_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    badges = []

    def restyle_file(config: Any, **_: Any) -> dict[str, Any]:
        badges.append((config.badge, config.own_words))
        return {"remark": "", "complete": True, "frames_out": 0, "seconds": 0.0, "styled_fps": 0.0,
                "device": ""}  # fmt: skip

    monkeypatch.setattr("brushcast.restyle.restyle_file", restyle_file)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    files = ["restyle", str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4")]
    for options in (["--prompt", "x"], ["--badge", "off"], ["--badge-corner", "bottom-left"]):
        assert run_command([*files, *options]) == 0
    assert badges == [("top-left", True), (None, False), ("bottom-left", False)]
