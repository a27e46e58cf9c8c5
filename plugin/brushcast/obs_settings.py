"""Where OBS's websocket server is: read from the files that OBS itself writes. Nothing is changed.

OBS 28 and 29 keep it in `global.ini`, section [OBSWebSocket]; later ones moved it to
`plugin_config/obs-websocket/config.json`, which wins where both are there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from brushcast.errors import ConfigError

DEFAULT_PORT = 4455
MAX_FILE_BYTES = 1_000_000  # a global.ini has 10 kB
MAX_PASSWORD_CHARACTERS = 1024
INI_SECTION = "OBSWebSocket"


@dataclass(frozen=True, slots=True)
class ObsServer:
    """An obs-websocket server on this machine. password: "" where none is wanted."""

    port: int
    password: str = field(repr=False)


def settings_folders() -> tuple[Path, ...]:
    """Where OBS keeps its settings for this user, the likeliest first (they need not exist)."""
    folders = [Path(platformdirs.user_config_dir("obs-studio", appauthor=False, roaming=True))]
    if sys.platform == "linux":
        flatpak = Path.home() / ".var" / "app" / "com.obsproject.Studio" / "config" / "obs-studio"
        folders.append(flatpak)
    return tuple(folders)


def find_server(folders: Iterable[Path]) -> ObsServer | None:
    """The first server that is switched on, or None. Raises ConfigError for files of another kind;
    its sentence holds no password."""
    for folder in folders:
        text = _read(folder / "plugin_config" / "obs-websocket" / "config.json")
        if text is not None:
            server = parse_json(text)
        else:
            text = _read(folder / "global.ini")
            server = parse_ini(text) if text is not None else None
        if server is not None:
            return server
    return None


def parse_json(text: str) -> ObsServer | None:
    """The server of a `config.json`, None when it is off. Raises ConfigError."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("config.json of obs-websocket: wanted JSON") from None
    if not isinstance(table, dict):
        raise ConfigError("config.json of obs-websocket: wanted a JSON object")
    return _server(
        enabled=table.get("server_enabled", False),
        port=table.get("server_port", DEFAULT_PORT),
        authenticate=table.get("auth_required", True),
        password=table.get("server_password", ""),
    )


def parse_ini(text: str) -> ObsServer | None:
    """The server of a `global.ini`, None when it is off or not named. Raises ConfigError."""
    table = _section(text, INI_SECTION)
    port = table.get("ServerPort", str(DEFAULT_PORT))
    return _server(
        enabled=_truth(table, "ServerEnabled", default=False),
        port=int(port) if port.isascii() and port.isdigit() and len(port) <= 9 else port,
        authenticate=_truth(table, "AuthRequired", default=True),
        password=table.get("ServerPassword", ""),
    )


def _server(*, enabled: Any, port: Any, authenticate: Any, password: Any) -> ObsServer | None:
    for name, value in (("server enabled", enabled), ("authentication required", authenticate)):
        if not isinstance(value, bool):
            raise ConfigError(f"OBS's settings: {name} is {value!r:.40}, wanted true or false")
    if not enabled:
        return None
    if type(port) is not int or not 1 <= port <= 65535:
        raise ConfigError(f"OBS's settings: server port {port!r:.40}, wanted 1 to 65535")
    if not isinstance(password, str) or len(password) > MAX_PASSWORD_CHARACTERS:
        raise ConfigError(
            f"OBS's settings: wanted a password of at most {MAX_PASSWORD_CHARACTERS} characters"
        )
    return ObsServer(port, password if authenticate else "")


def _read(path: Path) -> str | None:
    """A file's text, None where there is none. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"OBS's settings {path.name}: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"OBS's settings {path.name}: wanted at most {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"OBS's settings {path.name}: wanted UTF-8 text") from None


def _section(text: str, wanted: str) -> dict[str, str]:
    """One section of libobs's ini dialect: `key=value` to the end of the line, a backslash before
    n, r and itself. Python's own parser would stumble over `%`, repeated keys and lone words."""
    table: dict[str, str] = {}
    inside = False
    for line in text.split("\n"):
        if line.startswith("["):
            inside = line.strip() == f"[{wanted}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            table[name.strip()] = _unescaped(value.strip(" \t\r"))
    return table


def _unescaped(value: str) -> str:
    letters = iter(value)
    plain = {"n": "\n", "r": "\r", "\\": "\\"}
    out = []
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            out.append(plain.get(following, "\\" + following))
        else:
            out.append(letter)
    return "".join(out)


def _truth(table: Mapping[str, str], name: str, *, default: bool) -> bool:
    """As libobs reads it: `true` in any case, or a number that is not 0."""
    value = table.get(name, "").strip().lower()
    if not value:
        return default
    return value == "true" or (value.lstrip("-").isdigit() and value.strip("-0") != "")
