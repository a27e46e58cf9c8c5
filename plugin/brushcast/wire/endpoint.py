"""Endpoints: where a worker listens, as text and as parts. Pure."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

from brushcast.errors import ConfigError

MAX_IPC_PATH_BYTES = 107  # sun_path on Linux, less its end


@dataclass(frozen=True, slots=True)
class Endpoint:
    """tcp://HOST:PORT (port 0: any free one, for binding only) or ipc:///ABSOLUTE/PATH."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.scheme == "ipc" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """An endpoint from its text; port `*` means 0. Raises ConfigError."""
    wanted = "wanted tcp://HOST:PORT, for example tcp://127.0.0.1:7171, or ipc:///FOLDER/NAME"
    if text.startswith("ipc:///"):
        path = text.removeprefix("ipc://")
        if not path.isprintable() or path.endswith("/"):
            raise ConfigError(f"address {text!r:.200}: {wanted}")
        if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
            raise ConfigError(
                f"address {text!r:.200}: wanted a path of at most {MAX_IPC_PATH_BYTES} bytes"
            )
        return Endpoint("ipc", path=path)
    match = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._*-]{1,253}):(\d{1,5}|\*)", text)
    if match is None:
        raise ConfigError(f"address {text!r:.200}: {wanted}")
    host, port = match[1].strip("[]"), 0 if match[2] == "*" else int(match[2])
    if port > 65535:
        raise ConfigError(f"address {text!r:.200}: port {port}, wanted at most 65535")
    if match[1].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError(f"address {text!r:.200}: {wanted}") from None
    return Endpoint("tcp", host=host, port=port)
