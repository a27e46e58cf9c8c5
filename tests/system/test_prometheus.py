"""The dashboard's questions and the alerts' rules, asked of a real Prometheus that scrapes the real
product as docs/METRICS.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana"
PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="wants Prometheus (Debian: prometheus)"),
]
# Without a GPU, without OBS, and before anything broke.
UNKNOWN_HERE = r"brushcast_(gpu_|obs_|recovery_)"
PATIENCE_S = 120.0


def test_every_question_of_the_dashboard_has_an_answer(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "brushcast", "run", "--source", "testcard", "--sink", "null"]
    product = subprocess.Popen(
        [*command, "--panel", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        with prometheus(tmp_path, panel_of(product)) as ask:
            ends_s = time.monotonic() + PATIENCE_S
            unanswered = questions()
            while unanswered and time.monotonic() < ends_s:
                time.sleep(1)
                unanswered = [question for question in unanswered if not ask(question)]
                unanswered = [one for one in unanswered if not re.search(UNKNOWN_HERE, one)]
            assert unanswered == []
            groups = ask.get("rules")["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert len(rules) >= 10
            assert {rule["health"] for rule in rules} == {"ok"}
    finally:
        product.terminate()
        product.communicate(timeout=60)


class Ask:
    """A Prometheus at that address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, question: str) -> list[Any]:
        """What an expression is now. Fails where it is none."""
        found: list[Any] = self.get("query?" + urllib.parse.urlencode({"query": question}))[
            "result"
        ]
        return found

    def get(self, what: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/{what}", timeout=10) as got:
                return json.load(got)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{what}: {error.read().decode()[:300]}") from None


@contextmanager
def prometheus(folder: Path, panel: str) -> Iterator[Ask]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "scrape_configs": [
            {"job_name": "brushcast",
             "authorization": {"credentials_file": str(folder / "brushcast" / "panel-token")},
             "static_configs": [{"targets": [panel]}]},
        ],
        "rule_files": [str(GRAFANA / "alerts.yml")],
    }  # fmt: skip
    (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
    assert PROMETHEUS is not None
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    ask = Ask(address)
    try:
        ends_s = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < ends_s:
            try:
                ask.get("status/runtimeinfo")
                break
            except OSError:
                time.sleep(0.3)
        yield ask
    finally:
        process.kill()
        process.wait()


def panel_of(product: subprocess.Popen[str]) -> str:
    """HOST:PORT, from what `run` says."""
    assert product.stdout is not None
    for line in product.stdout:
        if found := re.search(r"http://([0-9.]+:[0-9]+)/", line):
            return found[1]
    raise AssertionError("the product ended")


def questions() -> list[str]:
    """All expressions of the dashboard, as Grafana would send them."""

    def targets(panels: list[dict[str, Any]]) -> Iterator[str]:
        for panel in panels:
            yield from (target["expr"] for target in panel.get("targets", []))
            yield from targets(panel.get("panels", []))

    board = json.loads((GRAFANA / "brushcast.json").read_text(encoding="utf-8"))
    found = [
        question.replace("$__rate_interval", "20s").replace("$job", ".*")
        for question in targets(board["panels"])
    ]
    assert len(found) > 30
    assert not [question for question in found if "$" in question]
    return found
