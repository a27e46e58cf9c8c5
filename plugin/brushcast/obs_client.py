"""One connection to OBS's websocket server on this machine, through obsws-python (GPL-3.0: imported
here alone, in the bridge process, where it is installed).

Nothing that comes back is trusted: an answer has so many bytes and seconds, is for what was asked,
and its figures are checked by whoever reads them. Owned by the thread that made it.
"""

from __future__ import annotations

import json
import logging
import math
import select
import socket
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from brushcast.errors import ObsError, ObsPasswordError, ObsRequestError
from brushcast.obs_settings import ObsServer

HOST = "127.0.0.1"
ANSWER_S = 2.0  # OBS answers in milliseconds; while it loads a scene collection, in a second
MAX_ANSWER_BYTES = 1_000_000  # the longest that is asked for, the scene collections, has kilobytes
CLOSE_S = 0.5
SLICE_S = 0.03  # a wish to stop is noticed so late
MAX_TEXT_CHARACTERS = 200

Answer = Mapping[str, Any]


class Asker(Protocol):
    """Somebody who can be asked as OBS can; `ObsClient` is one."""

    def ask(self, request: str, data: Answer | None = None) -> Answer:
        """Raises ObsError, and ObsRequestError for what OBS refuses."""
        ...


class ObsClient:
    """An identified connection. Closed by `close`, and by itself when something else than an answer
    comes: whatever comes later would be the answer to another question."""

    def __init__(self, server: ObsServer) -> None:
        """Connects. Raises ImportError (obsws-python is not there), ObsError, ObsPasswordError."""
        import websocket
        from obsws_python.baseclient import ObsClient as LibraryClient
        from obsws_python.error import OBSSDKError

        # What the two libraries raise for a connection that breaks and for what is no answer.
        self._failures: tuple[type[Exception], ...] = (
            *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
            *(OBSSDKError, websocket.WebSocketException),
        )
        self._refusal: type[Exception] = OBSSDKError
        self._socket = _LocalSocket()
        # Not by its own constructor: that one writes the password to the log, asks the environment
        # for a proxy and follows a redirection to anywhere.
        self._protocol: Any = LibraryClient.__new__(LibraryClient)
        self._protocol.logger = _silent_logger()
        self._protocol.password = server.password
        self._protocol.subs = 0  # no events: every message is an answer
        self._protocol.ws = websocket.WebSocket()
        try:
            self._socket.open(server.port)
            url = f"ws://{HOST}:{server.port}"
            self._protocol.ws.connect(url, socket=self._socket, redirect_limit=0)
            self._protocol.server_hello = _hello(self._protocol.ws.recv())
        except self._failures as error:
            self.close()
            raise ObsError(f"OBS's websocket server: no connection ({_brief(error)})") from None
        self._identify(bool(server.password))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, request: str, data: Answer | None = None) -> Answer:
        """One request and its answer's data, {} where it has none.

        Raises ObsRequestError when OBS refuses it, and ObsError when no answer comes.
        """
        self._socket.begin_answer()
        try:
            answer: Any = self._protocol.req(request, None if data is None else dict(data))
        except self._failures as error:
            self.close()
            raise ObsError(f"OBS: no answer to {request} ({_brief(error)})") from None
        status: Any = answer.get("requestStatus") if isinstance(answer, dict) else None
        result = status.get("result") if isinstance(status, dict) else None
        if type(result) is not bool or answer.get("requestType") != request:
            self.close()
            raise ObsError(f"OBS: wanted the answer to {request}, something else came")
        if not result:
            code = status.get("code")
            comment = plain_text(status.get("comment"))
            raise ObsRequestError(
                f"OBS refuses {request}: {comment or 'no reason given'}",
                code=code if type(code) is int else 0,
            )
        found: Any = answer.get("responseData")
        return found if isinstance(found, dict) else {}

    def rest(self, seconds: float, stopping: threading.Event) -> None:
        """Nothing is asked for so long, or until it stops. Raises ObsError as soon as OBS says
        something all the same: we listen to no events, so that it hangs up.

        It is answered at once. A closing OBS reads one more message of each client: were that a
        question instead of the answer to its goodbye, it would wait for five seconds.
        """
        ends = time.monotonic() + seconds
        while not stopping.is_set() and (left_s := ends - time.monotonic()) > 0:
            if select.select([self._socket], [], [], min(left_s, SLICE_S))[0]:
                self.close()
                raise ObsError("OBS hung up")

    def close(self) -> None:
        """Ends the connection; may be called again."""
        self._socket.begin_answer(CLOSE_S)
        try:
            self._protocol.ws.close(timeout=CLOSE_S)
        except self._failures:
            pass  # it is gone already
        self._socket.close()

    def _identify(self, has_password: bool) -> None:
        hello = self._protocol.server_hello["d"]
        wanted = "authentication" in hello
        if wanted and not has_password:
            self.close()
            raise ObsPasswordError(
                "OBS's websocket server wants a password, and OBS's settings hold none"
            )
        self._socket.begin_answer()
        try:
            self._protocol.authenticate()
        except self._failures as error:
            self.close()
            if wanted and isinstance(error, self._refusal):
                raise ObsPasswordError(
                    "OBS's websocket server refuses the password of OBS's own settings: "
                    "open Tools > WebSocket Server Settings in OBS once and press OK"
                ) from None
            raise ObsError(f"OBS's websocket server: no connection ({_brief(error)})") from None


def number(answer: Answer, name: str, low: float, high: float) -> float:
    """A figure of an answer. Raises ObsError unless it is a number from low to high."""
    value: Any = answer.get(name)
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
        raise ObsError(f"OBS: {name} is {value!r:.40}, wanted a number from {low:g} to {high:g}")
    return float(value)


def plain_text(value: object) -> str:
    """A text of an answer, printable and short; "" for anything else."""
    if not isinstance(value, str):
        return ""
    text = "".join(letter if letter.isprintable() else " " for letter in value[:1000])
    return " ".join(text.split())[:MAX_TEXT_CHARACTERS]


class _LocalSocket(socket.socket):
    """A connection to this machine that gives each answer so many bytes and seconds in all: the
    library's own limit is for one read, and its patience for the size has none."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.begin_answer()

    def open(self, port: int) -> None:
        """Raises OSError."""
        self.begin_answer()
        self.connect((HOST, port))
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin_answer(self, seconds: float = ANSWER_S) -> None:
        """What is received from now on is one answer."""
        self._ends = time.monotonic() + seconds
        self._bytes_left = MAX_ANSWER_BYTES
        if self.fileno() >= 0:
            self.settimeout(seconds)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer takes too long")
        if self._bytes_left <= 0:
            raise ConnectionAbortedError("the answer is too long")
        self.settimeout(left_s)
        received = super().recv(min(bufsize, self._bytes_left), flags)
        self._bytes_left -= len(received)
        return received


def _hello(text: Any) -> dict[str, Any]:
    """The server's first message. Raises ValueError for anything else."""
    hello: dict[str, Any] = json.loads(text)
    data = hello.get("d") if isinstance(hello, dict) and hello.get("op") == 0 else None
    if not isinstance(data, dict):
        raise ValueError("wanted obs-websocket's greeting")
    if type(data.get("rpcVersion")) is not int or data["rpcVersion"] < 1:
        raise ValueError(f"it speaks version {data.get('rpcVersion')!r:.20}, wanted 1 or newer")
    riddle = data.get("authentication", {"salt": "", "challenge": ""})
    if not isinstance(riddle, dict) or {str} != {
        type(riddle.get(k)) for k in ("salt", "challenge")
    }:
        raise ValueError("wanted a salt and a challenge of text")
    return hello


def _silent_logger() -> logging.Logger:
    """For the library, which logs each failure with its stack, and passwords."""
    logger = logging.Logger("obsws_python")
    logger.disabled = True
    return logger


def _brief(error: Exception) -> str:
    return plain_text(f"{type(error).__name__}: {error}")[:120]
