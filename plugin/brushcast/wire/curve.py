"""Keys of CURVE (RFC 26/ZMTP-CURVE): key pairs, their fingerprints, and the lists of known keys.

A worker has a key pair and a list of the bridges that it admits; a bridge has a key pair and a list
of the workers that it paired with. All of it are files of the user alone: 0600 in a folder of 0700,
and a file that others may read is refused, because its secret is none any more. Nothing here opens
a socket (`zap`, `sockets`) or speaks with the other side (`pairing`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from brushcast.errors import ConfigError
from brushcast.lock_file import LockFile

log = logging.getLogger(__name__)

KEY_BYTES = 32
FOLDER = "keys"  # in the user's folder
BRIDGE_KEY, WORKER_KEY = "bridge-key.json", "worker-key.json"
BRIDGES, WORKERS = "bridges.json", "workers.json"
MAX_FILE_BYTES = 256 * 1024
MAX_ENTRIES = 256
FINGERPRINT_BYTES = 16  # 128 bits: nobody finds a second key with the same
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves as raw bytes. The secret one is in no representation."""

    public: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_key("public", self.public)
        _check_key("secret", self.secret)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a bridge connects with: its own pair, and the only key that the worker may have."""

    own: KeyPair
    worker: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A key of another machine. name: `[A-Za-z0-9._-]`, at most 64. address: where a worker is
    reached, "" of a bridge. paired: the day, for people."""

    name: str
    key: bytes
    address: str = ""
    paired: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(f"name {self.name!r:.80}: wanted 1 to 64 of A-Z, a-z, 0-9, '._-'")
        _check_key(f"key of {self.name}", self.key)
        for text in (self.address, self.paired):
            if not isinstance(text, str) or len(text) > 300 or not text.isprintable():
                raise ConfigError(f"{self.name}: {text!r:.80}: wanted a short printable text")


def fingerprint(key: bytes) -> str:
    """What two people compare: SHA-256 of the public key, its first 128 bits in eight groups."""
    digits = hashlib.sha256(key).digest()[:FINGERPRINT_BYTES].hex()
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def plain_name(text: str) -> str:
    """A name as `Known` takes it, from whatever a machine is called."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:64]
    return kept or "unnamed"


# Files


def read_keys(path: Path) -> KeyPair | None:
    """The key pair kept in `path`; None when there is none. Raises ConfigError, which never holds
    what the file says."""
    text = _read_private(path)
    if text is None:
        return None
    try:
        table = json.loads(text)
        if not isinstance(table, dict) or set(table) != {"format", "public", "secret"}:
            raise ValueError
        return KeyPair(bytes.fromhex(table["public"]), bytes.fromhex(table["secret"]))
    except (ValueError, TypeError, RecursionError, ConfigError):
        raise ConfigError(
            f"key file {path} holds no key pair of ours: delete it and pair again"
        ) from None


def write_keys(path: Path, keys: KeyPair) -> None:
    """Keep a key pair, for the user alone. Raises ConfigError."""
    table = {"format": 1, "public": keys.public.hex(), "secret": keys.secret.hex()}
    _write_private(path, json.dumps(table) + "\n")


class KeyList:
    """The file of known keys. Any number of processes may read it while one writes; a change counts
    from the next question on. One owner thread an object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._entries: tuple[Known, ...] = ()
        self._keys: frozenset[bytes] = frozenset()
        self._broken = False

    def entries(self) -> tuple[Known, ...]:
        """All of them; a missing file is an empty list. Raises ConfigError for one that is not
        private, or no list."""
        try:
            about = os.stat(self.path)
            now = (about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode, about.st_uid)
        except OSError:
            now = None
        if now is None:
            self._take((), None)
        elif now != self._seen:
            self._take(_parse_list(self.path), now)
        return self._entries

    def admits(self, key: bytes) -> bool:
        """Whether the key is listed now. A file that cannot be read admits nobody."""
        try:
            self.entries()
        except ConfigError as error:
            if not self._broken:
                log.error("nobody is admitted: %s", error)
            self._broken = True
            return False
        self._broken = False
        return key in self._keys

    def add(self, new: Known) -> Known:
        """Put in, in place of the same key or (of a worker) the same address. A name that another
        key has gets a number. Returns what was put in. Raises ConfigError."""
        with self._alone():
            kept = [
                one
                for one in self.entries()
                if one.key != new.key and not (new.address and one.address == new.address)
            ]
            if len(kept) >= MAX_ENTRIES:
                raise ConfigError(f"{self.path} holds {len(kept)} keys already: revoke some first")
            names, number, named = {one.name for one in kept}, 1, new
            while named.name in names:
                number += 1
                named = Known(
                    name=f"{new.name[:60]}-{number}",
                    key=new.key,
                    address=new.address,
                    paired=new.paired,
                )
            self._write([*kept, named])
        return named

    def remove(self, name: str) -> Known:
        """Take out by name, and return it. Raises ConfigError that lists what there is."""
        with self._alone():
            entries = self.entries()
            for one in entries:
                if one.name == name:
                    self._write([other for other in entries if other is not one])
                    return one
        there = ", ".join(one.name for one in entries) or "none"
        raise ConfigError(f"no key is named {name!r:.80}: there are {there}")

    def _take(self, entries: tuple[Known, ...], seen: tuple[int, ...] | None) -> None:
        self._entries, self._seen = entries, seen
        self._keys = frozenset(one.key for one in entries)

    def _write(self, entries: list[Known]) -> None:
        rows = [{**asdict(one), "key": one.key.hex()} for one in entries]
        _write_private(self.path, json.dumps({"format": 1, "entries": rows}, indent=1) + "\n")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that change the list at once would lose one of the changes."""
        _private_folder(self.path.parent)
        lock = LockFile(self.path.with_name(self.path.name + ".lock"))
        try:
            taken = lock.acquire()
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror or error}") from None
        if not taken:
            raise ConfigError(f"{self.path} is being changed by another command: try again")
        try:
            yield
        finally:
            lock.release()


def client_keys(folder: Path | None, address: str, *, loopback: bool) -> ClientKeys | None:
    """What a bridge needs to connect to that address: the keys of its pairing; None where none is
    needed, on this machine. folder: of the keys. Raises ConfigError: beyond this machine and not
    paired."""
    known = KeyList(folder / WORKERS).entries() if folder is not None else ()
    for one in known:
        if one.address == address and folder is not None:
            own = read_keys(folder / BRIDGE_KEY)
            if own is None:
                raise ConfigError(f"{folder / BRIDGE_KEY} is missing: pair with {address} again")
            return ClientKeys(own, one.key)
    if loopback:
        return None
    others = ", ".join(sorted(one.address for one in known))
    raise ConfigError(
        f"worker {address} is beyond this machine and not paired with it"
        + (f" (paired: {others})" if others else "")
        + ": run `brushcast-worker pair` there, and here `brushcast pair` with the line it prints"
    )


def _parse_list(path: Path) -> tuple[Known, ...]:
    text = _read_private(path)
    if text is None:
        return ()
    try:
        table = json.loads(text)
        if not isinstance(table, dict) or set(table) != {"format", "entries"}:
            raise ValueError
        rows = table["entries"]
        if not isinstance(rows, list) or len(rows) > MAX_ENTRIES:
            raise ValueError
        entries = tuple(_known(row) for row in rows)
    except (ValueError, TypeError, RecursionError, ConfigError):
        raise ConfigError(
            f"key list {path} is damaged: delete it and pair again, or restore it"
        ) from None
    return entries


def _known(row: Any) -> Known:
    if not isinstance(row, dict):
        raise ValueError
    return Known(**{**row, "key": bytes.fromhex(row.get("key", ""))})


def _check_key(what: str, key: object) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigError(f"{what}: wanted a key of {KEY_BYTES} bytes")


def _private_folder(folder: Path) -> None:
    """Make it (0700) where it is missing. Raises ConfigError for one that others may enter."""
    try:
        for one in (folder.parent, folder):  # mkdir makes parents in its own way
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = os.lstat(folder)
    except OSError as error:
        raise ConfigError(f"folder of keys {folder}: {error.strerror or error}") from None
    _refuse_shared(folder, about, stat.S_ISDIR(about.st_mode), "folder", 0o700)


def _read_private(path: Path) -> str | None:
    """Its text; None when it is not there. Checked on what was opened, not on a name."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"key file {path}: {error.strerror or error}") from None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        _refuse_shared(path, about, stat.S_ISREG(about.st_mode), "file", 0o600)
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"key file {path}: larger than {MAX_FILE_BYTES} bytes")
    return data.decode("utf-8", "replace")


def _refuse_shared(path: Path, about: os.stat_result, right: bool, what: str, mode: int) -> None:
    if not right:
        raise ConfigError(f"{path}: wanted a plain {what} of your own, not a link or a device")
    if os.name != "posix":
        return
    seen = stat.S_IMODE(about.st_mode)
    if about.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to user {about.st_uid}, wanted a {what} of your own "
            f"(user {os.geteuid()})"
        )
    if seen & _OTHERS:
        raise ConfigError(
            f"{path} has mode {seen:04o}, so others may have read it: wanted {mode:04o}; "
            "if that was a mistake, delete the keys and pair again"
        )


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all: beside its place first, on the disk, then renamed."""
    _private_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ConfigError(f"key file {path}: {error.strerror or error}") from None
