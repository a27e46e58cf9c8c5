"""Stands for the product in tests: `run ... --lifeline`, the run file and the API of docs/API.md.

How it behaves is said by BEHAVIOUR: `good`, `dies` (one line, code 2), `deaf` (no run file) or
`stays` (does not end with its standard input).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BEHAVIOUR = os.environ.get("BEHAVIOUR", "good")
FOLDER = Path(os.environ["BRUSHCAST_RUNTIME_DIR"])
STATE: dict[str, Any] = {
    "state": "LIVE",
    "message": "Live.",
    "advice": "",
    "paused": False,
    "version": "9.9",
    "look": {"preset": "ink", "strength": 0.5},
    "presets": [{"name": name, "title": name.title()} for name in ("ink", "oil", "neon")],
    "arguments": sys.argv[1:],
    "told": [],
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(STATE if self.path == "/api/v1/state" else None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        STATE["told"].append([self.path.removeprefix("/api/v1/"), body])
        if self.path.endswith("/look"):
            STATE["look"].update(body)
        else:
            STATE["paused"] = body.get("action") == "pause"
        self._answer(STATE)

    def _answer(self, table: Any) -> None:
        good = self.headers["Authorization"] == "Bearer secret" and table is not None
        text = json.dumps(table if good else {"error": "no"}).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None: ...


if BEHAVIOUR == "dies":
    sys.exit("brushcast: camera 7 is not there")
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
if BEHAVIOUR != "deaf":
    table = {"format": 1, "pid": os.getpid(), "url": url, "token": "secret", "source": "obs"}
    (FOLDER / "run.part").write_text(json.dumps(table))
    (FOLDER / "run.part").replace(FOLDER / "run.json")
sys.stdin.buffer.read()
while BEHAVIOUR == "stays":
    threading.Event().wait(1)
(FOLDER / "run.json").unlink(missing_ok=True)
