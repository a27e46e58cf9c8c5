"""A server of files that fails as it is told to: what the tests of fetching share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """files: path -> content. Written by the test, read by the server's threads.

    cuts: how many bytes each of the next answers gives before the line is cut. statuses: what the
    next requests are answered with instead. asked: (path, Range) of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.knows_ranges = True
        self.says_length = True
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def add_hub(self, repository: str, revision: str, siblings: list[Any], **more: Any) -> None:
        """The answer of the hub's API about a repository."""
        answer = {"sha": revision, "siblings": siblings, **more}
        path = f"/api/models/{repository}/revision/{revision}"
        self.files[path] = json.dumps(answer).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path.partition("?")[0], request.headers.get("Range")
        self.asked.append((path, wanted))
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.end_headers()
            return
        status = self.statuses.pop(0) if self.statuses else 200 if path in self.files else 404
        content = self.files[path] if status == 200 else b""
        total = len(content)
        start = 0
        if status == 200 and wanted and self.knows_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status, content = 206, content[start:]
        request.send_response(status)
        headers = {"Content-Length": str(len(content))} if self.says_length else {}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        for name, value in {**headers, **self.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content[: self.cuts.pop(0)] if self.cuts else content)


@contextmanager
def serve_files() -> Iterator[FileServer]:
    """On this machine, on any free port."""
    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who hangs up in the middle is what is tested here."""

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), name="files")
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
