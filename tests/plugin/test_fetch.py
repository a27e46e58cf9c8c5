"""Fetching: resumed where it broke off; whole and right, or not there."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import brushcast.fetch as fetch
from brushcast.errors import FetchError
from brushcast.fetch import (
    TRIES,
    Download,
    Wanted,
    ask_hub,
    check_space,
    fetch_all,
    gigabytes,
    parse_answer,
)
from tests.plugin.file_server import FileServer, serve_files

CONTENT = bytes(range(256)) * 20_000  # 5 MB
REVISION = "c" * 40
NAME = b"e" * 40


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files() as server:
        server.files["/w.pth"] = CONTENT
        yield server


@pytest.fixture
def download(server: FileServer, tmp_path: Path) -> Download:
    wanted = Wanted(bytes=len(CONTENT), hash=hashlib.sha256(CONTENT).hexdigest())
    return Download(url=f"{server.url}/w.pth", path=tmp_path / "models" / "w.pth", wanted=wanted)


def bring(*downloads: Download) -> list[tuple[str, int, int]]:
    """Without waiting between tries."""
    told: list[tuple[str, int, int]] = []
    fetch_all(downloads, lambda *words: told.append(words), lambda _: asyncio.sleep(0))
    return told


def test_a_file_arrives_whole_with_its_progress(download: Download) -> None:
    told = bring(download)
    assert download.path.read_bytes() == CONTENT
    assert not download.part.exists()
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("w.pth", len(CONTENT), len(CONTENT))


def test_what_is_here_is_not_asked_for(download: Download, server: FileServer) -> None:
    bring(download)
    bring(download)
    assert len(server.asked) == 1


def test_a_cut_connection_goes_on_where_it_broke(download: Download, server: FileServer) -> None:
    server.cuts = [1_000_000, 1_500_000]
    bring(download)
    assert download.path.read_bytes() == CONTENT
    ranges = [wanted for _, wanted in server.asked]
    assert ranges == [None, "bytes=1000000-", "bytes=2500000-"]


def test_a_later_run_goes_on_too(download: Download, server: FileServer) -> None:
    server.cuts = [2_000_000, *[0] * TRIES]
    with pytest.raises(
        FetchError, match=r"2\.0 MB of 5\.1 MB of w\.pth are kept: the same command"
    ):
        bring(download)
    assert not download.path.exists()
    assert download.part.stat().st_size == 2_000_000
    assert download.missing_bytes == len(CONTENT) - 2_000_000
    server.cuts = []
    bring(download)
    assert server.asked[-1][1] == "bytes=2000000-"
    assert download.path.read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(download: Download, server: FileServer) -> None:
    download.path.parent.mkdir()
    download.part.write_bytes(CONTENT)
    bring(download)
    assert not server.asked
    assert download.path.read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [1, 1000])
def test_a_part_beyond_the_size_is_begun_anew(download: Download, extra: int) -> None:
    download.path.parent.mkdir()
    download.part.write_bytes(bytes(len(CONTENT) + extra))
    bring(download)
    assert download.path.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(download: Download, server: FileServer) -> None:
    server.knows_ranges = False
    server.cuts = [1_000_000]
    bring(download)
    assert download.path.read_bytes() == CONTENT


def test_a_wrong_hash_is_removed_and_said(download: Download, server: FileServer) -> None:
    server.files["/w.pth"] = CONTENT[:-1] + b"!"
    with pytest.raises(FetchError, match=r"w\.pth came with the hash .*, wanted .*: removed"):
        bring(download)
    assert not list(download.path.parent.iterdir())


def test_a_damaged_part_does_not_stay(download: Download) -> None:
    download.path.parent.mkdir()
    download.part.write_bytes(b"x" * 1000)
    with pytest.raises(FetchError, match="removed"):
        bring(download)
    bring(download)
    assert download.path.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT + b"more", CONTENT[:-3]])
def test_a_wrong_size_is_refused_at_once(
    download: Download, server: FileServer, content: bytes
) -> None:
    server.files["/w.pth"] = content
    with pytest.raises(FetchError, match=rf"has {len(content)} bytes at 127.0.0.1, wanted"):
        bring(download)
    assert len(server.asked) == 1


def test_more_bytes_than_wanted_are_not_kept(download: Download, server: FileServer) -> None:
    server.files["/w.pth"], server.says_length = CONTENT * 2, False
    with pytest.raises(FetchError, match="sends more than the 5120000 bytes"):
        bring(download)
    assert not download.path.exists()
    assert download.part.stat().st_size == 0


@pytest.mark.parametrize("said", ["bytes 7-9/10", "bytes 0-5119999/5120000", "nonsense", ""])
def test_another_part_than_asked_for_is_refused(
    download: Download, server: FileServer, said: str
) -> None:
    download.path.parent.mkdir()
    download.part.write_bytes(CONTENT[:1000])
    server.headers = {"Content-Range": said}
    with pytest.raises(FetchError, match="another part than asked for"):
        bring(download)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses"), (403, "refuses"), (404, "does not have"), (410, "not")]
)
def test_a_final_no_is_not_asked_again(
    download: Download, server: FileServer, status: int, words: str
) -> None:
    server.statuses = [status] * 9
    with pytest.raises(FetchError, match=rf"{words}.* the file \(answer {status}\)|{words} have"):
        bring(download)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(download: Download, server: FileServer) -> None:
    server.statuses = [503, 429, 500]
    bring(download)
    assert download.path.read_bytes() == CONTENT
    server.files["/other"], server.statuses = CONTENT, [503] * 99
    other = Download(
        url=f"{server.url}/other", path=download.path.parent / "o", wanted=download.wanted
    )
    with pytest.raises(FetchError, match="answer 503"):
        bring(other)


def test_names_from_the_server_are_not_used(download: Download, server: FileServer) -> None:
    server.headers = {"Content-Disposition": 'attachment; filename="../../evil"'}
    server.redirects["/w.pth"] = "/..%2f..%2fevil.pth"
    server.files["/..%2f..%2fevil.pth"] = CONTENT
    bring(download)
    folder = download.path.parent
    assert [path.name for path in folder.parent.rglob("*") if path.is_file()] == ["w.pth"]


def test_offline_is_a_sentence(tmp_path: Path) -> None:
    wanted = Wanted(bytes=1, hash="a" * 64)
    lost = Download(url="http://127.0.0.1:9/w", path=tmp_path / "w", wanted=wanted)
    with pytest.raises(
        FetchError, match=r"127\.0\.0\.1: cannot be reached; is this machine online"
    ):
        bring(lost)


def test_a_hub_that_is_not_there_is_soon_said() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    with pytest.raises(FetchError, match="is this machine online"):
        ask_hub("http://127.0.0.1:9", "o/r", REVISION, wait)
    assert waits == [2.0]


def test_a_full_disk_is_seen_before(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**30 + 10**6))
    folder = tmp_path / "not" / "there" / "yet"
    with pytest.raises(FetchError, match=r"5\.1 MB are still to come .* 1\.1 GB are free in .*"):
        check_space([download], folder)
    download.path.parent.mkdir()
    download.part.write_bytes(CONTENT[:-1000])
    assert check_space([download], folder) == 1000
    bring(download)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert check_space([download], folder) == 0


def test_a_disk_that_gets_full_keeps_what_came(
    download: Download, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FetchError, match=r"No space left on device \(.* free, 0\.0 MB still"):
        bring(download)
    assert download.part.read_bytes() == CONTENT


def test_ctrl_c_leaves_a_part_to_go_on_from(download: Download, server: FileServer) -> None:
    def stop(_: str, done: int, __: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_all([download], stop)
    assert 0 < download.part.stat().st_size < len(CONTENT)
    assert not download.path.exists()
    bring(download)
    assert download.path.read_bytes() == CONTENT
    assert server.asked[-1][1] is not None


def test_a_small_file_of_the_hub_is_held_against_its_git_object(
    download: Download, server: FileServer
) -> None:
    server.files["/w.pth"] = b"hello\n"  # git hash-object of it is known to the world
    name = "git:ce013625030ba8dba906f756967f9e9ca394464a"
    small = Download(url=download.url, path=download.path, wanted=Wanted(bytes=6, hash=name))
    bring(small)
    assert small.path.read_bytes() == b"hello\n"


def test_the_hub_is_asked_for_sizes_and_hashes(server: FileServer) -> None:
    lfs = {"rfilename": "a/m.pt", "size": 9, "lfs": {"sha256": "d" * 64, "size": 9}}
    small = {"rfilename": "c.json", "size": 3, "blobId": "e" * 40}
    server.add_hub("o/r", REVISION, [lfs, small], cardData={"license": "apache-2.0"})
    answer = ask_hub(server.url, "o/r", REVISION)
    assert answer.licence == "apache-2.0"
    assert answer.files == {
        "a/m.pt": Wanted(bytes=9, hash="d" * 64),
        "c.json": Wanted(bytes=3, hash="git:" + "e" * 40),
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"siblings": 7}', b'{"siblings": [7]}', b"\xff", b"[" * 99_999,
     b'{"siblings": [], "sha": "main"}', b'{"siblings": [{"size": 1, "blobId": "' + NAME + b'"}]}'],
)  # fmt: skip
def test_an_answer_of_nonsense_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(FetchError, match="no answer of a hub"):
        parse_answer(content, "https://hub", REVISION)


@pytest.mark.parametrize(
    "changed",
    [{"size": -1}, {"size": "9"}, {"size": True}, {"lfs": {"sha256": "../x"}}, {"lfs": {}},
     {"lfs": None, "blobId": "x"}],
)  # fmt: skip
def test_sizes_and_hashes_of_nonsense_do_not_count(changed: dict[str, Any]) -> None:
    entry = {"rfilename": "m", "size": 9, "lfs": {"sha256": "d" * 64}, **changed}
    answer = json.dumps({"siblings": [entry], "cardData": {"license": ["x"]}}).encode()
    assert parse_answer(answer, "https://hub", REVISION).files == {}


def test_an_answer_without_end_is_cut(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ANSWER_BYTES_MAX", 1000)
    server.add_hub("o/r", REVISION, [{"rfilename": "x" * 2000}])
    with pytest.raises(FetchError, match="without end"):
        ask_hub(server.url, "o/r", REVISION)


def test_sizes_are_written_for_people() -> None:
    assert gigabytes(11_361_920_418) == "11.4 GB"
    assert gigabytes(22_678_901) == "22.7 MB"
