"""Run file: how the OBS script finds the product that is running: its panel's address and token.

`run.json` (0600) in the runtime folder. A run writes it when its panel is up, a later run replaces
it, and a run that ends removes it if it is still its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from brushcast.errors import ConfigError

NAME = "run.json"
FORMAT = 1
MAX_BYTES = 16_384
_TEXTS = ("url", "token", "source", "version")
_URL = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A running product. pid: of its supervisor. url: of its panel, without token. source: as on
    the command line.
    """

    pid: int
    url: str
    token: str
    source: str
    version: str


def write_run_file(run: RunFile, folder: Path) -> None:
    """Write it, in one step: a reader sees the old one or the new one. Raises ConfigError."""
    path = folder / NAME
    partial = folder / f"{NAME}.{os.getpid()}.part"
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(run)}) + "\n"
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()  # of a process of the same number that died here
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ConfigError(f"run file {path}: {error.strerror or error}") from None


def read_run_file(folder: Path) -> RunFile | None:
    """The run that wrote it last, which may be dead; None when there is none.

    Raises ConfigError for a file that is no run file.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"run file {path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"run file {path}: longer than {MAX_BYTES} bytes")
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigError(f"run file {path}: wanted JSON, saw {data[:20]!r}") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        seen = table.get("format") if isinstance(table, dict) else type(table).__name__
        raise ConfigError(f"run file {path}: wanted format {FORMAT}, saw {seen!r}")
    for key in _TEXTS:
        if not isinstance(table.get(key), str):
            raise ConfigError(f"run file {path}: wanted text as {key}, saw {table.get(key)!r:.50}")
    pid = table.get("pid")
    if type(pid) is not int or not 0 < pid < 2**32:
        raise ConfigError(f"run file {path}: wanted a process number as pid, saw {pid!r:.50}")
    if not _URL.fullmatch(table["url"]):
        raise ConfigError(
            f"run file {path}: wanted http://127.0.0.1:PORT as url, saw {table['url']!r:.80}"
        )
    return RunFile(pid=pid, **{key: table[key] for key in _TEXTS})


def remove_run_file(folder: Path, pid: int) -> None:
    """Remove it if the run of that process wrote it. Never raises."""
    try:
        run = read_run_file(folder)
    except ConfigError:
        return  # not ours
    if run is not None and run.pid == pid:
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()
