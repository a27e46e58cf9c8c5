from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer import safe_write
from tests.installer.obs_home import NOW, STAMP


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    safe_write.replace(path, b"1")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    safe_write.replace(path, b"2")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"2", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        safe_write.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_bytes(b"old")
    link.symlink_to(real)
    safe_write.replace(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_copy_never_takes_another_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"1")
    first = safe_write.back_up(path, NOW)
    path.write_bytes(b"2")
    second = safe_write.back_up(path, NOW)
    assert first.name == f"a.json.brushcast-backup-{STAMP}"
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
