from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from installer import checks
from installer.venv import Venv

ROOT = Path(__file__).resolve().parents[2]
HERE = Venv(folder=Path(sys.prefix))


def test_make_knows_the_same_parts_in_the_same_order() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (parts,) = re.findall(r"^all: (.*)$", makefile, re.MULTILINE)
    assert parts.split() == list(checks.COMMANDS)


def test_ci_runs_the_command_of_the_installer() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python3 -m installer test" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(("text", "code"), [("assert True", 0), ("assert False", 1)])
def test_arguments_go_to_pytest_and_its_exit_code_comes_back(
    text: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_x.py").write_text(f"def test_one(): {text}\ndef test_two(): assert False\n")
    assert checks.run("tests", HERE, tmp_path, ["-k", "one"]) == code
    assert "1 deselected" in capfd.readouterr().out
