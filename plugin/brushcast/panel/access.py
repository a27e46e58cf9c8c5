"""Who may talk to the panel. Pure: addresses and header values in, a verdict out.

The dangers are web pages in the same user's browser: one that posts to us (token, Origin), one
whose name is made to resolve to 127.0.0.1 (Host), one that frames us (CSP). Other users of the
machine are kept out by the token alone.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from ipaddress import ip_address
from pathlib import Path

from brushcast.errors import ConfigError

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in URL-safe base64


def new_token() -> str:
    """256 random bits, safe in an address."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def read_or_make_token(path: Path) -> str:
    """The token kept in `path`, made there when it is missing, so that an OBS dock
    survives a restart.

    Raises ConfigError when the file cannot be read or written, or holds something else.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = new_token()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            token = path.read_text(encoding="ascii").strip()
        else:
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(token + "\n")
            except OSError:
                path.unlink(missing_ok=True)  # a full disk: no half token for the next start
                raise
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no text"
        raise ConfigError(
            f"panel token file {path}: {reason}; wanted a file that we can read and write"
        ) from None
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"panel token file {path} holds no token of ours: delete it to get a new one"
        )
    return token


def check_loopback(host: str) -> None:
    """Raises ConfigError unless `host` is a loopback address or "localhost"."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"panel address {host!r}: wanted 127.0.0.1, ::1 or localhost; "
            "from another machine reach it through an SSH tunnel to the same port"
        )


def allowed_hosts(port: int) -> frozenset[str]:
    """The only values that a Host header may have."""
    names = ("127.0.0.1", "localhost", "[::1]")
    hosts = {f"{name}:{port}" for name in names}
    return frozenset(hosts | set(names) if port == 80 else hosts)


def origin_matches(origin: str | None, host: str) -> bool:
    """A browser names the page it acts for: it must be ours. Programs outside browsers send
    none.
    """
    return origin is None or origin == f"http://{host}"


def site_matches(fetch_site: str | None) -> bool:
    """Sec-Fetch-Site, sent by browsers only: nothing that another page had them fetch."""
    return fetch_site in (None, "same-origin", "none")


def token_matches(given: str, wanted: str) -> bool:
    """Compared in constant time. Never true for an empty token."""
    return bool(wanted) and hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode()
    )


def security_headers(host: str) -> dict[str, str]:
    """Sent with every answer. `host` has passed `allowed_hosts`."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Server": "brushcast",
    }
