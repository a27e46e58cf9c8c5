"""The command line: what wrong input is answered with. Nothing here loads a model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from brushcast_worker.__main__ import run_command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--bind", "nonsense"], "nonsense"),
        (["serve", "--bind", "tcp://0.0.0.0:5555"], "keys"),
        (["serve", "--threads", "-3"], "--threads -3"),
        (["serve", "--threads", "many"], "many"),
        (["serve", "--standby"], "--supervised"),
        (["serve", "--metrics", "gpu.lan:9"], "ADDRESS:PORT"),
        (["serve", "--metrics", "0.0.0.0:0"], "--metrics-token"),
        (["serve", "--metrics", "0.0.0.0:0", "--metrics-token", "/nowhere"], "/nowhere"),
        (["bench", "--size", "large"], "large"),
        (["bench", "--quirks", "rope=time"], "wanted slot or frame"),
        (["serve", "--quirks", "rope"], "quirk 'rope'"),
        (["bench", "--seconds", "-1"], "--seconds -1"),
        (["quality", "--size", "500x288"], "multiples of 16"),
        (["quality", "--pictures", "3"], "--pictures 3"),
        (["quality", "--drift-seconds", "-1"], "--drift-seconds -1"),
        (["verify"], "FILE"),
        (["verify", "/nowhere/v.safetensors"], "/nowhere/v.safetensors"),
        (["verify", "/"], "directory"),
        (["verify", __file__], "no safetensors file"),
        (["dance"], "dance"),
        (["serve", "--colour", "red"], "--colour"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("brushcast-worker: ")
    assert words in line


def test_a_program_is_told_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--json", "--threads", "-3"]) == 2
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "error"
    assert "--threads -3" in event["message"]


@pytest.mark.parametrize("command", ["", "serve", "bench", "quality", "verify"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command.split(), "--help"]) == 0
    assert "Usage: brushcast-worker" in capsys.readouterr().out


def test_a_mistake_is_answered_without_torch() -> None:
    code = (
        "import sys; from brushcast_worker.__main__ import run_command;"
        "code = run_command(['serve', '--threads', '-3']);"
        "sys.exit(code + 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 2


def test_the_compiler_of_torch_is_not_imported() -> None:
    """It would cost a second of every start and restart."""
    code = (
        "import sys, brushcast_worker.serve, brushcast_worker.bench;"
        "from brushcast_worker.engine import load_engine; load_engine('pocket-random', 'cpu');"
        "bad = {'torch._dynamo', 'torch._inductor', 'torchvision', 'sympy'} & set(sys.modules);"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_quirks_come_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that they reach a worker whom the supervisor starts."""
    monkeypatch.setenv("BRUSHCAST_QUIRKS", "sinks=much")
    assert run_command(["serve"]) == 2
    assert "quirk sinks 'much'" in capsys.readouterr().err
