from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from installer import stamp
from installer.stamp import Stamp
from installer.venv import Venv


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    """A folder that looks like an environment, with one package and one module."""
    made = Venv(folder=tmp_path / ".venv")
    made.python.parent.mkdir(parents=True)
    made.python.write_text("the interpreter")
    site = "Lib/site-packages" if sys.platform == "win32" else "lib/python3.11/site-packages"
    package = made.folder / site / "numpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    (package.parent / "six.py").write_text("y = 2\n")
    return made


def of(venv: Venv) -> Stamp:
    return Stamp(
        kind="run",
        asked="auto",
        root="/r",
        lock="l",
        project="p",
        hardware="h",
        python=stamp.python_trace(venv),
        torch="2.13.0+cpu",
        device="Device: CPU.",
        tree=stamp.tree(venv),
    )


def test_what_is_written_is_read(venv: Venv) -> None:
    stamp.write(venv, of(venv))
    assert stamp.read(venv) == of(venv)
    stamp.erase(venv)
    assert stamp.read(venv) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\x00\xff"])
def test_a_stamp_that_is_not_understood_is_none(venv: Venv, text: str) -> None:
    stamp.write(venv, of(venv))
    (path,) = venv.folder.glob("*.json")
    path.write_text(text, encoding="utf-8")
    assert stamp.read(venv) is None


def test_a_stamp_of_another_format_is_none(venv: Venv) -> None:
    stamp.write(venv, dataclasses.replace(of(venv), format=99))
    assert stamp.read(venv) is None


def test_an_untouched_environment_lacks_nothing_and_may_have_more(venv: Venv) -> None:
    before = of(venv)
    site = venv.site_packages()
    assert site
    (site / "ipython.py").touch()
    assert stamp.lacks(venv, before) == ""


def test_a_missing_and_a_damaged_package_are_noticed(venv: Venv) -> None:
    before, site = of(venv), venv.site_packages()
    assert site
    (site / "numpy" / "__init__.py").write_text("")
    assert stamp.lacks(venv, before) == "numpy is damaged"
    (site / "numpy" / "__init__.py").write_text("x = 1\n")
    (site / "six.py").unlink()
    assert stamp.lacks(venv, before) == "six.py is missing"


def test_a_missing_or_upgraded_python_is_noticed(venv: Venv) -> None:
    before = of(venv)
    venv.python.write_text("another interpreter")
    assert "Python" in stamp.lacks(venv, before)
    venv.python.unlink()
    assert "Python" in stamp.lacks(venv, before)


def test_the_tools_settings_do_not_count_as_a_change_of_the_project(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n')
    before = stamp.project_hash(tmp_path)
    file.write_text('[project]\nname = "x"\n[tool.ruff]\nline-length = 100\n')
    assert stamp.project_hash(tmp_path) == before
    file.write_text('[project]\nname = "x"\n[project.scripts]\nx = "x:main"\n')
    assert stamp.project_hash(tmp_path) != before
