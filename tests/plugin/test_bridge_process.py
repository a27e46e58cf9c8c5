"""The bridge's process, as the supervisor starts it: what it says before there is a picture."""

import json
import subprocess
import sys
from typing import Any


def bridge_process(*lines: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code and its events, with standard input closed after the lines."""
    done = subprocess.run(
        [sys.executable, "-m", "brushcast", "bridge-process"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_without_a_configuration_it_leaves() -> None:
    assert bridge_process() == (0, [])


def test_a_configuration_that_cannot_be_is_one_event_and_code_2() -> None:
    code, events = bridge_process({"source": "testcard"})
    assert code == 2
    assert [event["event"] for event in events] == ["error"]
    assert "wrong keys" in events[0]["message"]
