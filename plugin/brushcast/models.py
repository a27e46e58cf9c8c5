"""Which models there are, whether their weights are here and whether they are what they should be;
and bringing those that do not come with Brushcast. No torch.

The embedded model is described by `weights/manifest.json` of the worker package: files, sizes and
SHA-256. The others are in the catalogue; what only the hub knew of them (`Record`) is kept beside
their files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brushcast.catalogue import Model, check_address, read_catalogue
from brushcast.errors import ConfigError, FetchError, WeightsError
from brushcast.folders import models_folder
from brushcast.gpu_memory import Gpu, find_gpu, verdict

EMBEDDED = {"pocket": "embedded, trained by us; runs on two CPU cores"}
HUB = "https://huggingface.co"

Agree = Callable[[Sequence[str]], bool]
"""Shows lines (files, sizes, licences, whether the GPU will do) and asks; True: go on."""
Tell = Callable[[str, int, int], None]
"""Name of a file, bytes so far, bytes in all."""


def weights_folder() -> Path:
    """The worker package's folder of weights, found without importing it. Raises WeightsError."""
    spec = importlib.util.find_spec("brushcast_worker")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the worker is not installed here: wanted the package brushcast_worker")
    return Path(next(iter(spec.submodule_search_locations))) / "weights"


def list_models() -> list[dict[str, Any]]:
    """One row a model: name, state (`ready`, `partial`, `missing`), mb, about."""
    rows = []
    for name, about in EMBEDDED.items():
        files = _manifest(name)
        folder = weights_folder()
        here = [(folder / file).is_file() for file in files]
        mb = sum(entry["bytes"] for entry in files.values()) / 1e6
        rows.append(_row(name, here, mb, about))
    for model in read_catalogue().values():
        places = _places(model, models_folder())
        here = [place.is_here for place in places]
        rows.append(_row(model.name, here, model.size_bytes / 1e6, model.about))
    return rows


def fetch_model(
    name: str,
    *,
    agree: Agree | None = None,
    hub: str = HUB,
    tell: Tell = lambda *_: None,
    gpu: Callable[[], Gpu | None] | None = None,
) -> dict[str, Any]:
    """Make a model's weights present. The embedded model comes with the package: then this
    verifies it.

    agree: None where nobody can be asked. gpu: None asks the driver.
    Raises ConfigError, WeightsError, FetchError.
    """
    if name in EMBEDDED:
        result = verify_model(name)
        return {
            **result,
            "message": f"{name} comes with Brushcast: nothing to fetch; {result['message']}",
        }
    model = _find(name)
    folder = models_folder()
    places = _places(model, folder)
    if all(place.is_here for place in places):
        return _result(model, f"{name} is here already, in {folder}")
    if agree is None:
        licences = "; ".join(_licence_lines(model, {}))
        raise ConfigError(f"wanted --accept-licence, as nobody can be asked here: {licences}")
    check_address(hub)
    return _fetch(model, folder, agree, hub.rstrip("/"), tell, gpu or find_gpu)


def verify_model(name: str) -> dict[str, Any]:
    """Hold every file of a model against its size and hash. Raises ConfigError, WeightsError."""
    if name not in EMBEDDED:
        return _verify_fetched(_find(name), models_folder())
    files = _manifest(name)
    for file, wanted in files.items():
        path = weights_folder() / file
        if not path.is_file():
            raise WeightsError(f"{name}: {path} is missing; reinstall Brushcast")
        seen = hashlib.sha256(path.read_bytes()).hexdigest()
        if seen != wanted["sha256"]:
            raise WeightsError(
                f"{name}: {path} has SHA-256 {seen[:16]}…, wanted {wanted['sha256'][:16]}…; "
                "the file is damaged or not ours: reinstall Brushcast"
            )
    total_mb = sum(entry["bytes"] for entry in files.values()) / 1e6
    message = f"{len(files)} files, {total_mb:.1f} MB, all hashes as shipped"
    return {"name": name, "files": sorted(files), "ok": True, "message": message}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A file of a fetched model: its name under the folder, and what it must be. bytes, hash: None
    while only the hub knows."""

    name: str
    path: Path
    bytes: int | None
    hash: str | None

    @property
    def is_here(self) -> bool:
        # it gets this name only once it was verified
        return self.path.is_file() and self.path.stat().st_size == self.bytes


def _fetch(
    model: Model,
    folder: Path,
    agree: Agree,
    hub: str,
    tell: Tell,
    gpu: Callable[[], Gpu | None],
) -> dict[str, Any]:
    from brushcast.fetch import Download, Wanted, ask_hub, check_space, fetch_all, gigabytes

    record = _read_record(folder)
    downloads: list[Download] = []
    stated: dict[str, str] = {}
    for part in model.parts:
        base = part.url or f"{hub}/{part.repository}/resolve/{part.revision}"
        on_hub: dict[str, Wanted] = {}
        if any(file.sha256 is None for file in part.files):
            answer = ask_hub(hub, part.repository, part.revision)
            on_hub, stated[part.name] = answer.files, answer.licence
        for file in part.files:
            if file.bytes is not None and file.sha256 is not None:
                wanted = Wanted(bytes=file.bytes, hash=file.sha256)
            elif file.path in on_hub:
                wanted = on_hub[file.path]
                record[f"{part.folder}/{file.path}"] = [wanted.bytes, wanted.hash]
            else:
                raise FetchError(f"{hub} names no size and hash of {part.repository}/{file.path}")
            path = folder / part.folder / file.path
            downloads.append(Download(url=f"{base}/{file.path}", path=path, wanted=wanted))
    missing_bytes = check_space(downloads, folder)
    others = read_catalogue().values()
    lines = [
        f"{model.name}: {model.about}; {gigabytes(missing_bytes)} to fetch into {folder}",
        *_licence_lines(model, stated),
        verdict(model, gpu(), others),
    ]
    if not agree(lines):
        raise FetchError(f"{model.name} is not fetched: its licences were not accepted")
    with _alone(folder):
        _write_record(folder, record)
        fetch_all(downloads, tell)
    return _result(model, f"{model.name} is here, in {folder}; all sizes and hashes as wanted")


def _verify_fetched(model: Model, folder: Path) -> dict[str, Any]:
    from brushcast.fetch import Wanted, hash_file

    again = f"`brushcast models fetch {model.name}` brings it"
    for place in _places(model, folder):
        if not place.path.is_file():
            raise WeightsError(f"{model.name}: {place.path} is missing; {again}")
        if place.bytes is None or place.hash is None:
            raise WeightsError(f"{model.name}: what {place.path} must be is not known; {again}")
        seen_bytes = place.path.stat().st_size
        if seen_bytes != place.bytes:
            raise WeightsError(
                f"{model.name}: {place.path} has {seen_bytes} bytes, wanted {place.bytes}; {again}"
            )
        wanted = Wanted(bytes=place.bytes, hash=place.hash)
        try:
            seen = hash_file(place.path, wanted)
        except OSError as error:
            raise WeightsError(f"{place.path}: {error.strerror or error}") from None
        if not wanted.fits(seen):
            raise WeightsError(
                f"{model.name}: {place.path} has the hash {seen.hexdigest()[:16]}…, wanted "
                f"{place.hash.removeprefix('git:')[:16]}…; delete it, and {again}"
            )
    return _result(model, f"{model.name}: all sizes and hashes as wanted")


def _find(name: str) -> Model:
    models = read_catalogue()
    if name not in models:
        known = ", ".join([*EMBEDDED, *models])
        raise ConfigError(f"unknown model {name!r}: there is {known}")
    return models[name]


def _places(model: Model, folder: Path) -> list[_Place]:
    record = _read_record(folder)
    places = []
    for part in model.parts:
        for file in part.files:
            name = f"{part.folder}/{file.path}"
            size, digest = (
                (file.bytes, file.sha256) if file.sha256 else record.get(name, (None,) * 2)
            )
            places.append(_Place(name=name, path=folder / name, bytes=size, hash=digest))
    return places


def _licence_lines(model: Model, stated: dict[str, str]) -> list[str]:
    """One line a publisher: what is known of the licence, what the hub states, where it is."""
    lines = []
    for part in model.parts:
        licence = part.licence or stated.get(part.name) or "not stated, please read"
        said = stated.get(part.name, "")
        differs = f" (the hub states {said})" if said and said != licence else ""
        source = part.repository or part.url.removeprefix("https://")
        note = f"; {part.licence_note}" if part.licence_note else ""
        lines.append(f"licence of {source}: {licence}{differs}, {part.licence_url}{note}")
    return lines


def _result(model: Model, message: str) -> dict[str, Any]:
    files = sorted(str(path) for path in model.paths(models_folder()).values())
    return {"name": model.name, "files": files, "ok": True, "message": message}


def _row(name: str, here: Sequence[bool], mb: float, about: str) -> dict[str, Any]:
    state = "ready" if all(here) else "partial" if any(here) else "missing"
    return {"name": name, "state": state, "mb": round(mb, 1), "about": about}


def _read_record(folder: Path) -> dict[str, list[Any]]:
    """What only the hub knew: name -> [bytes, hash]. Broken ones count as absent."""
    try:
        found = json.loads((folder / "fetched.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        name: entry
        for name, entry in (found.items() if isinstance(found, dict) else ())
        if isinstance(entry, list) and [type(part) for part in entry] == [int, str]
    }


def _write_record(folder: Path, record: dict[str, list[Any]]) -> None:
    draft = folder / "fetched.json.part"
    try:
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, folder / "fetched.json")
    except OSError as error:
        raise FetchError(f"{folder}: {error.strerror or error}") from None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One fetch at a time. Raises FetchError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a", encoding="ascii") as lock:
            if sys.platform != "win32":  # there two at once only waste what they bring
                posix = importlib.import_module("fcntl")
                try:
                    posix.flock(lock, posix.LOCK_EX | posix.LOCK_NB)
                except BlockingIOError:
                    raise FetchError(f"another fetch is at work in {folder}") from None
            yield  # closing the file gives the lock back
    except OSError as error:
        raise FetchError(f"{folder}: {error.strerror or error}") from None


def _manifest(name: str) -> dict[str, dict[str, Any]]:
    path = weights_folder() / "manifest.json"
    try:
        table: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return table[name]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: not a list of weights with hashes ({error})") from None
