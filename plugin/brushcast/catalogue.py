"""Catalogue: the models that can be fetched, and where their files lie once they are here. Pure but
for reading `models.toml`; nothing is downloaded here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brushcast.errors import ConfigError, WeightsError
from brushcast.folders import models_folder

FILE = Path(__file__).parent / "models.toml"
ROLES = ("transformer", "vae", "tiny_vae", "text_encoder", "tokenizer")

_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file. bytes, sha256: None where they are not established and the hub is asked.
    about_bytes: for estimates alone."""

    role: str
    path: str
    bytes: int | None = None
    sha256: str | None = None
    about_bytes: int = 0

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise WeightsError(f"role {self.role!r}: wanted one of {', '.join(ROLES)}")
        if not _PATH.fullmatch(self.path):
            raise WeightsError(f"file {self.path!r}: wanted a plain relative path")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise WeightsError(f"{self.path}: sha256 {self.sha256!r}, wanted 64 hexadecimal digits")
        if (self.bytes is None) != (self.sha256 is None):
            raise WeightsError(f"{self.path}: wanted bytes and sha256, or neither")

    @property
    def size_bytes(self) -> int:
        """As far as it is known."""
        return self.about_bytes if self.bytes is None else self.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files of one publisher, under one folder of ours. Either a hub repository at a commit, or an
    address that the paths are put behind. licence: "" where it is not established. licence_note:
    what else to know of it."""

    name: str
    folder: str
    licence: str
    licence_url: str
    files: tuple[ModelFile, ...]
    repository: str = ""
    revision: str = ""
    url: str = ""
    licence_note: str = ""

    def __post_init__(self) -> None:
        on_hub = bool(_REPOSITORY.fullmatch(self.repository) and _COMMIT.fullmatch(self.revision))
        if on_hub == bool(self.url):
            raise WeightsError(f"{self.name}: wanted a repository with its commit, or a url")
        if self.url:
            check_address(self.url)
        if not _PATH.fullmatch(self.folder) or not self.files:
            raise WeightsError(f"{self.name}: folder {self.folder!r}, {len(self.files)} files")
        if self.url and any(file.sha256 is None for file in self.files):
            raise WeightsError(f"{self.name}: wanted every file's sha256 outside the hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """gpu_gib_least: below it the model does not run; gpu_gib: with it, without compromises.
    fp8: wants a GPU that multiplies 8-bit floats."""

    name: str
    about: str
    parts: tuple[Part, ...]
    gpu_gib_least: float
    gpu_gib: float
    fp8: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for part in self.parts for file in part.files)

    def paths(self, folder: Path | None = None) -> dict[str, Path]:
        """Role -> where the file is, or will be once it was fetched."""
        root = models_folder() if folder is None else folder
        return {
            file.role: root / part.folder / file.path for part in self.parts for file in part.files
        }


def read_catalogue(path: Path = FILE) -> dict[str, Model]:
    """All models by name. Raises WeightsError for a file that is no catalogue."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        parts = {name: _part(name, entry) for name, entry in table.pop("parts").items()}
        models = {
            name: Model(**{**entry, "name": name, "parts": tuple(parts[p] for p in entry["parts"])})
            for name, entry in table.pop("models").items()
        }
        if table:
            raise WeightsError(f"unknown key {next(iter(table))!r}")
    except (OSError, ValueError, TypeError, LookupError, AttributeError, WeightsError) as error:
        raise WeightsError(f"{path}: no catalogue of models ({error})") from None
    return models


def check_address(url: str) -> None:
    """Raises ConfigError unless it is an https address; http is for this machine alone: hashes come
    by the same way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ConfigError(f"address {url!r}: wanted https://HOST") from None
    local = host in ("127.0.0.1", "localhost", "::1")
    if not host or parts.username or parts.query or parts.fragment:
        raise ConfigError(f"address {url!r}: wanted https://HOST")
    if parts.scheme != "https" and not (local and parts.scheme == "http"):
        raise ConfigError(f"address {url!r}: wanted https (http reaches this machine alone)")


def _part(name: str, entry: dict[str, Any]) -> Part:
    files = tuple(ModelFile(**file) for file in entry["files"])
    return Part(**{**entry, "name": name, "files": files})
