"""Fetch: large files over HTTP, resumed where they broke off, whole and right or not at all.

What has come so far lies beside its place as `NAME.part`. It becomes NAME only when size and hash
are as wanted; with a wrong hash it is removed. File names are never taken from a server. One
thread, the caller's; Ctrl-C leaves the part.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

import aiohttp

from brushcast.errors import FetchError

TRIES = 5  # in a row without a byte
TRIES_AWAY = 2  # of the first question, where nobody is there: people wait for the answer
CONNECT_S, SILENCE_S = 30.0, 60.0
BLOCK_BYTES = 1 << 20
SPARE_BYTES = 1 << 30  # a system with a full disk is no gain
ANSWER_BYTES_MAX = 16 << 20
USER_AGENT = "brushcast"

_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:([0-9]{1,18})|\*)")


class Hash(Protocol):
    """As hashlib's."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a file must be. hash: SHA-256; or, for a small file of the hub that has none, "git:" and
    the name of its git object (SHA-1 of a header and the content)."""

    bytes: int
    hash: str

    def hasher(self) -> Hash:
        if self.hash.startswith("git:"):
            return hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)
        return hashlib.sha256()

    def fits(self, hasher: Hash) -> bool:
        return hasher.hexdigest() == self.hash.removeprefix("git:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file: from where, to where, and what it must be."""

    url: str
    path: Path
    wanted: Wanted

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def missing_bytes(self) -> int:
        """Still to come, as far as sizes tell."""
        if _size(self.path) == self.wanted.bytes:
            return 0
        return max(self.wanted.bytes - min(_size(self.part), self.wanted.bytes), 0)

    @property
    def is_here(self) -> bool:
        return _size(self.path) == self.wanted.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAnswer:
    """What the hub says of a repository at a commit: its files, and the licence that its card
    states ("" for none)."""

    files: dict[str, Wanted]
    licence: str


Tell = Callable[[str, int, int], None]
"""Name of a file, bytes so far, bytes in all."""
Sleep = Callable[[float], Awaitable[None]]


def check_space(downloads: Sequence[Download], folder: Path) -> int:
    """Bytes still to come. Raises FetchError where the disk of `folder` (which need not exist yet)
    has no room for them."""
    missing_bytes = sum(download.missing_bytes for download in downloads)
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        raise FetchError(f"{place}: {error.strerror or error}") from None
    if missing_bytes and free_bytes < missing_bytes + SPARE_BYTES:
        raise FetchError(
            f"the disk is too full: {gigabytes(missing_bytes)} are still to come and 1 GB shall "
            f"stay free, {gigabytes(free_bytes)} are free in {place}"
        )
    return missing_bytes


def fetch_all(downloads: Sequence[Download], tell: Tell, sleep: Sleep = asyncio.sleep) -> None:
    """Brings every file, one after the other. Raises FetchError."""
    asyncio.run(_fetch_all(downloads, tell, sleep))


def ask_hub(hub: str, repository: str, revision: str, sleep: Sleep = asyncio.sleep) -> HubAnswer:
    """Sizes and hashes of a repository's files. Raises FetchError."""
    url = f"{hub}/api/models/{repository}/revision/{revision}?blobs=true"
    return parse_answer(asyncio.run(_read(url, sleep)), url, revision)


def parse_answer(content: bytes, url: str, revision: str) -> HubAnswer:
    """The hub's answer, from anybody's bytes. Raises FetchError."""
    try:
        found = json.loads(content)
        if found.get("sha", revision) != revision:
            raise ValueError(f"it is about {found['sha']!r:.60}")
        files = {
            str(entry["rfilename"]): wanted
            for entry in found["siblings"]
            if (wanted := _wanted(entry))
        }
        card = found.get("cardData")
        licence = card.get("license") if isinstance(card, dict) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FetchError(f"{url}: no answer of a hub ({ascii(str(error))[1:90]})") from None
    stated = licence if isinstance(licence, str) else ""
    return HubAnswer(files=files, licence=ascii(stated)[1:-1][:60])


def hash_file(path: Path, wanted: Wanted) -> Hash:
    """Of the whole file. Raises OSError."""
    hasher = wanted.hasher()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
    return hasher


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**8 else f"{count / 1e6:.1f} MB"


async def _fetch_all(downloads: Sequence[Download], tell: Tell, sleep: Sleep) -> None:
    async with _session() as session:
        for download in downloads:
            if not download.is_here:
                try:
                    await _fetch(session, download, tell, sleep)
                except OSError as error:
                    raise FetchError(_disk_trouble(download, error)) from None


async def _fetch(
    session: aiohttp.ClientSession, download: Download, tell: Tell, sleep: Sleep
) -> None:
    download.path.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = _size(download.part)
        try:
            await _go_on(session, download, tell)
            return
        except _Broken as broken:
            failures = 1 if _size(download.part) > before else failures + 1
            if failures >= TRIES:
                raise FetchError(
                    f"{_host(download.url)}: {broken}; {gigabytes(_size(download.part))} of "
                    f"{gigabytes(download.wanted.bytes)} of {download.path.name} are kept: the "
                    "same command goes on from there"
                ) from None
        await sleep(2.0**failures)


async def _go_on(session: aiohttp.ClientSession, download: Download, tell: Tell) -> None:
    """From where the part ends to the verified file. Raises _Broken where another try may help."""
    wanted = download.wanted
    if _size(download.part) > wanted.bytes:
        download.part.unlink()
    with download.part.open("ab+") as file:
        file.seek(0)
        hasher = wanted.hasher()
        done = 0
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
            done += len(block)
        if done < wanted.bytes:
            hasher = await _receive(session, download, file, hasher, done, tell)
        file.flush()
        os.fsync(file.fileno())
    if not wanted.fits(hasher):
        download.part.unlink()
        raise FetchError(
            f"{download.path.name} came with the hash {hasher.hexdigest()[:16]}…, wanted "
            f"{wanted.hash.removeprefix('git:')[:16]}…: removed"
        )
    os.replace(download.part, download.path)
    tell(download.path.name, wanted.bytes, wanted.bytes)


async def _receive(
    session: aiohttp.ClientSession,
    download: Download,
    file: BinaryIO,
    hasher: Hash,
    done: int,
    tell: Tell,
) -> Hash:
    wanted = download.wanted
    headers = {"Range": f"bytes={done}-"} if done else {}
    try:
        async with session.get(download.url, headers=headers) as answer:
            _check_answer(answer, download, done)
            if done and answer.status == 200:  # it knows no ranges: from the beginning
                file.truncate(0)
                hasher, done = wanted.hasher(), 0
            async for block in answer.content.iter_chunked(BLOCK_BYTES):
                done += len(block)
                if done > wanted.bytes:
                    file.truncate(0)
                    raise FetchError(
                        f"{_host(download.url)} sends more than the {wanted.bytes} bytes that "
                        f"{download.path.name} has: removed"
                    )
                file.write(block)
                hasher.update(block)
                tell(download.path.name, done, wanted.bytes)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _Broken(_words(error)) from None
    if done < wanted.bytes:
        raise _Broken(f"the connection ended after {done} bytes, wanted {wanted.bytes}")
    return hasher


def _check_answer(answer: aiohttp.ClientResponse, download: Download, done: int) -> None:
    """Raises FetchError for a final no, _Broken for one that may change."""
    _check_status(answer, download.url)
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not done or not match or int(match[1]) != done:
            raise FetchError(f"{_host(download.url)} sends another part than asked for")
        total = match[2]
    else:
        total = answer.headers.get("Content-Length")
    if total is not None and total.isascii() and total.isdigit():
        if int(total) != download.wanted.bytes:
            raise FetchError(
                f"{download.path.name} has {total} bytes at {_host(download.url)}, "
                f"wanted {download.wanted.bytes}"
            )


def _check_status(answer: aiohttp.ClientResponse, url: str) -> None:
    host = _host(url)
    if urlsplit(url).scheme == "https" and answer.url.scheme != "https":
        raise FetchError(f"{host} leads to an address without encryption: not followed")
    if answer.status in (408, 416, 425, 429) or answer.status >= 500:
        raise _Broken(f"answer {answer.status}")
    if answer.status in (401, 403):
        raise FetchError(f"{host} refuses the file (answer {answer.status}): {url}")
    if answer.status not in (200, 206):
        raise FetchError(f"{host} does not have the file (answer {answer.status}): {url}")


async def _read(url: str, sleep: Sleep) -> bytes:
    async with _session() as session:
        for failures in range(1, TRIES + 1):
            try:
                async with session.get(url) as answer:
                    _check_status(answer, url)
                    content = b""
                    async for block in answer.content.iter_chunked(BLOCK_BYTES):
                        content += block
                        if len(content) > ANSWER_BYTES_MAX:
                            raise FetchError(f"{_host(url)} answers without end")
                    return content
            except (aiohttp.ClientError, TimeoutError, _Broken) as error:
                away = isinstance(error, aiohttp.ClientConnectorError)
                if failures == (TRIES_AWAY if away else TRIES):
                    raise FetchError(f"{_host(url)}: {_words(error)}") from None
            await sleep(2.0**failures)
    raise AssertionError  # the last try raises


class _Broken(Exception):
    """Another try may help."""


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        requote_redirect_url=False,  # the hub leads to signed addresses: as they are
        trust_env=True,  # the proxies of the environment
    )


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "cannot be reached; is this machine online?"
    return " ".join(str(error).split())[:120] or type(error).__name__


def _wanted(entry: dict[str, Any]) -> Wanted | None:
    size, lfs, blob = entry.get("size"), entry.get("lfs"), entry.get("blobId")
    if isinstance(lfs, dict):
        size, name = lfs.get("size", size), lfs.get("sha256")
        is_hash = isinstance(name, str) and bool(_SHA256.fullmatch(name))
        found = str(name)
    else:
        is_hash = isinstance(blob, str) and bool(_SHA1.fullmatch(blob))
        found = f"git:{blob}"
    if not is_hash or type(size) is not int or size < 0:
        return None
    return Wanted(bytes=size, hash=found)


def _disk_trouble(download: Download, error: OSError) -> str:
    with contextlib.suppress(OSError):
        free = gigabytes(shutil.disk_usage(download.path.parent).free)
        return (
            f"{download.part}: {error.strerror or error} ({free} are free, "
            f"{gigabytes(download.missing_bytes)} still to come); what came so far is kept"
        )
    return f"{download.part}: {error.strerror or error}"


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
