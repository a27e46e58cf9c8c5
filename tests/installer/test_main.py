from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

AS_AN_OLD_PYTHON = """
import runpy, sys
sys.version_info = (3, 8, 10, "final", 0)
sys.argv = ["installer", "doctor"]
runpy.run_module("installer", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_old_python_reads_is_written_for_it(name: str) -> None:
    text = (ROOT / "installer" / name).read_text(encoding="utf-8")
    assert "from __future__" not in text
    ast.parse(text, feature_version=(3, 4))


def test_a_python_that_is_too_old_is_one_sentence() -> None:
    command = [sys.executable, "-c", AS_AN_OLD_PYTHON]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Brushcast needs Python 3.11 or newer, and this is 3.8 (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["python3.6", "python3.8", "python3.10"])
def test_a_real_old_python_says_so_too(name: str) -> None:
    found = shutil.which(name)
    works = (
        found and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0
    )
    if not found or not works:
        pytest.skip(f"no {name} on this machine")
    done = subprocess.run(
        [found, "-m", "installer", "run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Brushcast needs Python 3.11 or newer, and this is 3.")
    assert "Traceback" not in done.stderr


def test_without_arguments_it_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "installer"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "python3 -m installer COMMAND" in done.stdout
