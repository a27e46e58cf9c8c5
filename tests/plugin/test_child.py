"""Children: real processes that speak JSON lines."""

import queue
import sys
from pathlib import Path

import pytest

from brushcast.child import Child, ChildEvent

PROGRAM = """
import json, sys, time
def say(**data): print(json.dumps(data), flush=True)
first = json.loads(sys.stdin.readline())
say(event="hello", got=first)
for line in sys.stdin:
    message = json.loads(line)
    if message["command"] == "noise":
        print("this is no event", flush=True)
        print("last words", file=sys.stderr, flush=True)
    elif message["command"] == "die":
        sys.exit(7)
    elif message["command"] == "hang":
        time.sleep(60)
say(event="bye")
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "talkative.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "talkative"


def start(program: str) -> tuple[Child, "queue.Queue[ChildEvent]"]:
    events: queue.Queue[ChildEvent] = queue.Queue()
    return Child("talker", [program], events, first_line={"answer": 42}), events


def test_a_child_gets_its_configuration_and_is_heard(program: str) -> None:
    child, events = start(program)
    event = events.get(timeout=10)
    assert (event.kind, event.data["got"]) == ("hello", {"answer": 42})
    child.hang_up()
    assert events.get(timeout=10).kind == "bye"
    child.join()
    assert not child.alive
    assert events.get(timeout=10).data["code"] == 0


def test_its_death_is_an_event_with_its_last_words(program: str) -> None:
    child, events = start(program)
    events.get(timeout=10)
    child.send({"command": "noise"})
    child.send({"command": "die"})
    event = events.get(timeout=10)
    assert (event.kind, event.data["code"]) == ("exited", 7)
    assert event.data["last_words"] == "last words"
    child.send({"command": "anything"})  # to a dead child: no error
    child.join()


def test_a_child_that_does_not_listen_is_killed(program: str) -> None:
    child, events = start(program)
    events.get(timeout=10)
    child.send({"command": "hang"})
    child.hang_up()
    child.join(patience_s=0.3)
    assert not child.alive
    assert events.get(timeout=10).data["code"] != 0


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_children_die_with_a_parent_that_was_shot(program: str, tmp_path: Path) -> None:
    import subprocess
    import time

    parent = (
        "import queue, time; from brushcast.child import Child\n"
        f"c = Child('t', ['{program}'], queue.Queue(), first_line={{}})\n"
        "print(c.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists(), "the child outlived its parent"
