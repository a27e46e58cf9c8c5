from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS

from installer import places


def test_linux_has_the_folders_that_the_product_uses(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variables in ({}, {"XDG_CONFIG_HOME": "/x/c", "XDG_DATA_HOME": "/x/d"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found = places.find("linux")
        assert str(found.config) == platformdirs.user_config_dir("brushcast", appauthor=False)
        assert str(found.data) == platformdirs.user_data_dir("brushcast", appauthor=False)
        assert str(found.cache) == platformdirs.user_cache_dir("brushcast", appauthor=False)


def test_macos_has_the_folders_that_the_product_uses(home: Path) -> None:
    found, theirs = places.find("darwin"), MacOS("brushcast", appauthor=False)
    assert str(found.config) == theirs.user_config_dir
    assert str(found.data) == theirs.user_data_dir
    assert str(found.cache) == theirs.user_cache_dir


def test_windows_follows_its_variables() -> None:
    found = places.find("win32", {"USERPROFILE": "/u", "LOCALAPPDATA": "/u/L", "APPDATA": "/u/R"})
    assert (found.config, found.cache) == (Path("/u/L/brushcast"), Path("/u/L/brushcast/Cache"))
    assert (found.config_root, found.runtime) == (Path("/u/R"), (Path("/u/L/brushcast/run"),))
    assert places.find("win32", {"USERPROFILE": "/u"}).config == Path("/u/AppData/Local/brushcast")


def test_the_runtime_folder_is_the_users_unless_another_is_named() -> None:
    mine = f"brushcast-{os.getuid()}"
    found = places.find("linux", {"HOME": "/h"}, temporary=Path("/t"))
    assert found.runtime == (Path("/dev/shm", mine), Path("/t", mine))
    assert places.find("linux", {"BRUSHCAST_RUNTIME_DIR": "/r"}).runtime == (Path("/r"),)
