from __future__ import annotations

import json
from pathlib import Path

from installer import install_record
from installer.venv import Venv
from tests.installer.obs_home import checkout, linux


def test_the_record_is_what_the_obs_script_reads(home: Path, tmp_path: Path) -> None:
    root, where = checkout(tmp_path), linux(home)
    venv = Venv(folder=root / ".venv")
    assert install_record.write(root, venv, where)
    path = home / ".config" / "brushcast" / "install.json"
    assert json.loads(path.read_text()) == {
        "format": 1,
        "command": [str(root / ".venv/bin/python"), "-m", "brushcast"],
        "version": "9.8.7",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["install.json"]
    assert install_record.command(where)[0] == str(root / ".venv/bin/python")


def test_it_is_written_only_when_something_is_different(home: Path, tmp_path: Path) -> None:
    root, where = checkout(tmp_path), linux(home)
    venv = Venv(folder=root / ".venv")
    install_record.write(root, venv, where)
    assert not install_record.write(root, venv, where)
    (where.config / "install.json").chmod(0o644)
    assert install_record.write(root, venv, where)
    assert (where.config / "install.json").stat().st_mode & 0o777 == 0o600
    assert install_record.write(root, Venv(folder=root / "other"), where)


def test_the_environments_python_is_not_resolved(home: Path, tmp_path: Path) -> None:
    root, where = checkout(tmp_path), linux(home)
    python = root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/env")
    install_record.write(root, Venv(folder=root / ".venv"), where)
    assert install_record.command(where)[0] == str(python)


def test_a_record_of_something_else_is_none(home: Path) -> None:
    where = linux(home)
    assert install_record.command(where) == []
    where.config.mkdir(parents=True)
    for text in ("", "[]", '{"command": "python"}', '{"command": [1]}'):
        (where.config / "install.json").write_text(text)
        assert install_record.command(where) == []
