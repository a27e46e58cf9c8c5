"""Keys and lists of keys: private, whole or not at all, and never admitting by accident."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from brushcast.errors import ConfigError
from brushcast.wire.curve import (
    BRIDGE_KEY,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    WORKERS,
    KeyList,
    KeyPair,
    Known,
    client_keys,
    fingerprint,
    plain_name,
    read_keys,
    write_keys,
)

ONE, TWO, THREE = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
PAIR = KeyPair(ONE, TWO)
posix = pytest.mark.skipif(os.name != "posix", reason="modes of files")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_fingerprint_is_eight_groups_and_follows_every_bit() -> None:
    assert fingerprint(ONE) == "630d-cd29-66c4-3366-9112-5448-bbb2-5b4f"  # sha256sum says so too
    for bit in range(256):
        other = bytearray(ONE)
        other[bit // 8] ^= 1 << bit % 8
        assert fingerprint(bytes(other)) != fingerprint(ONE)


@posix
def test_keys_are_kept_for_the_user_alone_whatever_the_umask(folder: Path) -> None:
    old = os.umask(0)
    try:
        write_keys(folder / "k", PAIR)
        KeyList(folder / "l").add(Known(name="a", key=ONE))
    finally:
        os.umask(old)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == {"k": 0o600, "l": 0o600}
    assert read_keys(folder / "k") == PAIR


@posix
@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o644, 0o666])
def test_what_others_may_read_is_refused(folder: Path, wrong: int) -> None:
    write_keys(folder / "k", PAIR)
    KeyList(folder / "l").add(Known(name="a", key=ONE))
    for name in ("k", "l"):
        (folder / name).chmod(wrong)
    with pytest.raises(ConfigError, match=f"has mode {wrong:04o}.* wanted 0600"):
        read_keys(folder / "k")
    with pytest.raises(ConfigError, match=f"has mode {wrong:04o}"):
        KeyList(folder / "l").entries()
    assert not KeyList(folder / "l").admits(ONE)


@posix
def test_a_folder_that_others_may_enter_is_not_written_to(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match=r"mode 0755.* wanted 0700"):
        write_keys(folder / "k", PAIR)
    with pytest.raises(ConfigError, match="mode 0755"):
        KeyList(folder / "l").add(Known(name="a", key=ONE))
    assert not list(folder.iterdir())


@posix
def test_files_of_somebody_else_and_links_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_keys(folder / "k", PAIR)
    (folder / "link").symlink_to(folder / "k")
    with pytest.raises(ConfigError, match="link"):
        read_keys(folder / "link")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match="belongs to user"):
        read_keys(folder / "k")


def test_no_text_of_ours_holds_a_secret(folder: Path) -> None:
    assert TWO.hex() not in repr(PAIR)
    assert "secret" not in repr(PAIR)
    folder.mkdir(mode=0o700)
    file = folder / "k"
    for text in (TWO.hex(), f'{{"secret": "{TWO.hex()}"}}', f'{{"a": "{TWO.hex()}'):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match="no key pair of ours") as caught:
            read_keys(file)
        assert TWO.hex()[:8] not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"format": 1}', '{"format": 1, "entries": 5}', "\xff" * 9,
     '{"format": 1, "entries": [5]}', '{"format": 1, "entries": [{"name": "a"}]}',
     '{"format": 1, "entries": [{"name": "a", "key": "00"}]}', "[" * 100_000,
     '{"format": 1, "entries": [{"name": "../a", "key": "' + ONE.hex() + '"}]}',
     '{"format": 1, "entries": [{"name": "a", "key": "' + ONE.hex() + '", "x": 1}]}',
     '{"format": 1, "entries": [{"name": "a", "key": 7}]}'],
)  # fmt: skip
def test_a_damaged_list_admits_nobody_and_is_one_sentence(folder: Path, text: str) -> None:
    folder.mkdir(mode=0o700)
    file = folder / "l"
    file.write_text(text, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="is damaged") as caught:
        KeyList(file).entries()
    assert "\n" not in str(caught.value)
    assert not KeyList(file).admits(ONE)
    file.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        KeyList(file).entries()


def test_a_change_by_another_process_counts_at_once(folder: Path) -> None:
    server, command = KeyList(folder / "l"), KeyList(folder / "l")
    assert not server.admits(ONE)
    command.add(Known(name="a", key=ONE))
    assert server.admits(ONE)
    assert not server.admits(TWO)
    command.add(Known(name="b", key=TWO))
    assert server.admits(ONE)
    assert server.admits(TWO)
    assert command.remove("a").key == ONE
    assert not server.admits(ONE)
    assert server.admits(TWO)
    (folder / "l").unlink()
    assert not server.admits(TWO)


def test_a_list_that_breaks_admits_nobody_from_then_on_and_says_so_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = KeyList(folder / "l")
    server.add(Known(name="a", key=ONE))
    assert server.admits(ONE)
    (folder / "l").write_text("broken")
    with caplog.at_level(logging.ERROR):
        assert [server.admits(ONE) for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "nobody is admitted" in caplog.text
    (folder / "l").unlink()
    server.add(Known(name="a", key=ONE))
    assert server.admits(ONE)


def test_names_are_kept_apart_and_a_key_has_one_entry(folder: Path) -> None:
    bridges = KeyList(folder / "l")
    assert bridges.add(Known(name="pc", key=ONE)).name == "pc"
    assert bridges.add(Known(name="pc", key=TWO)).name == "pc-2"
    assert bridges.add(Known(name="pc", key=THREE)).name == "pc-3"
    assert bridges.add(Known(name="laptop", key=TWO)).name == "laptop"
    assert [one.name for one in bridges.entries()] == ["pc", "pc-3", "laptop"]
    with pytest.raises(ConfigError, match="no key is named 'tv': there are pc, pc-3, laptop"):
        bridges.remove("tv")


def test_a_worker_that_was_set_up_anew_replaces_the_old_one(folder: Path) -> None:
    workers = KeyList(folder / "l")
    workers.add(Known(name="gpu", key=ONE, address="tcp://gpu:1"))
    workers.add(Known(name="gpu", key=TWO, address="tcp://gpu:1"))
    assert [one.key for one in workers.entries()] == [TWO]


def test_there_is_a_limit(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    bridges = KeyList(folder / "l")
    bridges._write([Known(name=f"n{n}", key=bytes([n]) * 32) for n in range(MAX_ENTRIES)])
    with pytest.raises(ConfigError, match="revoke some first"):
        bridges.add(Known(name="one-more", key=ONE))
    assert len(bridges.entries()) == MAX_ENTRIES


def test_two_changes_at_once_do_not_lose_one(folder: Path) -> None:
    one, other = KeyList(folder / "l"), KeyList(folder / "l")
    with one._alone(), pytest.raises(ConfigError, match="being changed"):
        other.add(Known(name="a", key=ONE))
    other.add(Known(name="a", key=ONE))


@pytest.mark.parametrize(
    ("text", "name"), [("gpu.lan", "gpu.lan"), ("Ännes PC", "nnes-PC"), ("../../etc", "etc"),
                       ("", "unnamed"), ("x" * 99, "x" * 64), ("[::1]", "1-")],
)  # fmt: skip
def test_any_name_of_a_machine_becomes_a_plain_one(text: str, name: str) -> None:
    kept = plain_name(text)
    assert kept == name
    assert Known(name=kept, key=ONE).name == kept


def test_a_worker_beyond_this_machine_wants_its_own_pairing(folder: Path) -> None:
    where = "tcp://10.0.0.9:7171"
    assert client_keys(folder, "tcp://127.0.0.1:1", loopback=True) is None
    assert client_keys(None, "tcp://127.0.0.1:1", loopback=True) is None
    for place in (folder, None):
        with pytest.raises(ConfigError, match="not paired with it: run `brushcast-worker pair`"):
            client_keys(place, where, loopback=False)
    KeyList(folder / WORKERS).add(Known(name="gpu", key=THREE, address=where))
    with pytest.raises(ConfigError, match=f"{BRIDGE_KEY} is missing"):
        client_keys(folder, where, loopback=False)
    write_keys(folder / BRIDGE_KEY, PAIR)
    keys = client_keys(folder, where, loopback=False)
    assert keys is not None
    assert (keys.own, keys.worker) == (PAIR, THREE)
    with pytest.raises(ConfigError, match=f"paired: {where}"):
        client_keys(folder, "tcp://10.0.0.10:7171", loopback=False)


def test_an_address_on_this_machine_that_was_paired_is_never_spoken_to_in_clear(
    folder: Path,
) -> None:
    write_keys(folder / BRIDGE_KEY, PAIR)
    KeyList(folder / WORKERS).add(Known(name="g", key=THREE, address="tcp://127.0.0.1:7171"))
    assert client_keys(folder, "tcp://127.0.0.1:7171", loopback=True) is not None


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 33, "x" * 32, None])
def test_a_key_has_32_bytes(key: object) -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        KeyPair(key, ONE)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="32 bytes"):
        Known(name="a", key=key)  # type: ignore[arg-type]
