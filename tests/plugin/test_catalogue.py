"""The catalogue says only what is established, and its names stay under its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brushcast.catalogue import ROLES, ModelFile, Part, check_address, read_catalogue
from brushcast.errors import BrushcastError, ConfigError, WeightsError

PART: dict[str, Any] = {
    "name": "p", "folder": "f", "licence": "MIT", "licence_url": "https://x.org/l",
    "files": (ModelFile(role="vae", path="v.pth", bytes=1, sha256="a" * 64),),
}  # fmt: skip


def test_all_models_have_every_part(tmp_path: Path) -> None:
    models = read_catalogue()
    assert set(models) == {"wan-1.3b", "wan-14b", "wan-14b-fp8"}
    for model in models.values():
        paths = model.paths(tmp_path)
        assert set(paths) == set(ROLES)
        assert all(path.is_relative_to(tmp_path) for path in paths.values())
        assert model.size_bytes > 17e9
    small, large, fp8 = (models[name].paths(tmp_path) for name in sorted(models))
    assert {role for role in ROLES if small[role] != large[role]} == {"transformer"}
    assert fp8 == large
    assert models["wan-14b-fp8"].gpu_gib < models["wan-14b"].gpu_gib_least


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../b", "a//b", "a\\b", ".x", "a/.b", "", "a/", "C:x", "a\n", "\u00e4"]
)
def test_no_path_leaves_the_folder(path: str) -> None:
    with pytest.raises(WeightsError, match="plain relative path"):
        ModelFile(role="vae", path=path)
    with pytest.raises(WeightsError, match="folder"):
        Part(**{**PART, "url": "https://x.org", "folder": path})


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "toy"},
        {"sha256": "A" * 64},
        {"sha256": None},
        {"bytes": None},
    ],
)
def test_half_known_files_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="wanted"):
        ModelFile(**{"role": "vae", "path": "v", "bytes": 1, "sha256": "a" * 64, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"repository": "a/b"},
        {"repository": "a/b", "revision": "main"},
        {"repository": "a/../b", "revision": "a" * 40},
        {"repository": "a/b", "revision": "a" * 40, "url": "https://x.org"},
        {"url": "http://x.org"},
        {"url": "https://x.org", "files": (ModelFile(role="vae", path="v"),)},
    ],
)
def test_a_part_has_one_safe_source(changed: dict[str, Any]) -> None:
    with pytest.raises(BrushcastError, match="wanted"):
        Part(**{**PART, **changed})


@pytest.mark.parametrize(
    "content",
    ["", "x = 1", "[models]\n[parts]\n[more]", "[models.a]\nparts = ['b']\n[parts]", "\xff",
     "[parts.p]\nfolder = 'f'\nfiles = []\n[models]"],
)  # fmt: skip
def test_a_broken_catalogue_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.toml").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match="no catalogue"):
        read_catalogue(tmp_path / "m.toml")


@pytest.mark.parametrize("url", ["https://huggingface.co", "http://127.0.0.1:80", "http://[::1]:1"])
def test_addresses_that_are_taken(url: str) -> None:
    check_address(url)


@pytest.mark.parametrize(
    "url", ["http://x.org", "ftp://x.org", "x.org", "https://", "https://u@x.org", "https://x.org?a",
            "file:///etc", "https://[", "http://127.0.0.1.x.org"],
)  # fmt: skip
def test_addresses_that_are_not(url: str) -> None:
    with pytest.raises(ConfigError, match="wanted https"):
        check_address(url)
