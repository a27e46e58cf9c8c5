from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from brushcast.errors import ConfigError
from brushcast.panel import access


def test_a_token_has_256_bits_and_is_never_the_same() -> None:
    tokens = {access.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 for token in tokens)


def test_the_kept_token_is_private_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "state" / "panel-token"
    first = access.read_or_make_token(path)
    assert access.read_or_make_token(path) == first
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe\x00", b"a" * 42 + b"/\n"])
def test_a_damaged_token_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "panel-token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="panel token file"):
        access.read_or_make_token(path)


def test_a_token_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="panel token file"):
        access.read_or_make_token(tmp_path / "file" / "panel-token")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no disk that is always full")
def test_a_full_disk_leaves_no_half_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room again the next start must find nothing wrong."""

    def on_a_full_disk(descriptor: int, *_: object, **__: object) -> object:
        os.close(descriptor)
        return open("/dev/full", "w", encoding="ascii")

    path = tmp_path / "panel-token"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", on_a_full_disk)
        with pytest.raises(ConfigError, match="No space left"):
            access.read_or_make_token(path)
    assert not path.exists()
    assert len(access.read_or_make_token(path)) == 43


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_taken(host: str) -> None:
    access.check_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org", ""])
def test_anything_else_is_refused_with_a_way_out(host: str) -> None:
    with pytest.raises(ConfigError, match="SSH tunnel"):
        access.check_loopback(host)


def test_hosts_are_exact() -> None:
    hosts = access.allowed_hosts(8123)
    assert hosts == {"127.0.0.1:8123", "localhost:8123", "[::1]:8123"}
    assert "localhost" in access.allowed_hosts(80)


@pytest.mark.parametrize(
    ("origin", "fits"),
    [
        (None, True),
        ("http://127.0.0.1:8123", True),
        ("null", False),
        ("", False),
        ("https://127.0.0.1:8123", False),
        ("http://127.0.0.1:8124", False),
        ("http://127.0.0.1:8123.evil.example", False),
        ("http://localhost:8123", False),
    ],
)
def test_an_origin_is_ours_or_absent(origin: str | None, fits: bool) -> None:
    assert access.origin_matches(origin, "127.0.0.1:8123") is fits


@pytest.mark.parametrize(
    ("site", "fits"),
    [(None, True), ("same-origin", True), ("none", True), ("same-site", False), ("x", False)],
)
def test_a_fetch_comes_from_our_own_page(site: str | None, fits: bool) -> None:
    assert access.site_matches(site) is fits


def test_tokens_match_whole_or_not_at_all() -> None:
    token = access.new_token()
    assert access.token_matches(token, token)
    assert not access.token_matches(token[:-1], token)
    assert not access.token_matches("", token)
    assert not access.token_matches("", "")
    assert not access.token_matches("\u00e9" * 43, token)


def test_nothing_inline_nothing_foreign_no_frames() -> None:
    headers = access.security_headers("127.0.0.1:8123")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not any(name.startswith("Access-Control-") for name in headers)
