"""Children: real processes that speak JSON lines."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


STUCK = """
import sys, time
from brushcast.child import read_messages
messages = read_messages()
assert messages.get(timeout=10) == {"command": "go"}
print("stuck", flush=True)
while True:
    sum(range(1000))
"""


@contextmanager
def run(
    code: str, stdout: int | None = None, stderr: int | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """A child that is gone afterwards, whatever the test found."""
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr
    ) as child:
        late = threading.Timer(20, child.kill)  # what a test waits for ends
        late.start()
        try:
            yield child
        finally:
            late.cancel()
            child.kill()


def test_a_child_that_is_stuck_in_a_loop_ends_with_its_parent() -> None:
    with run(STUCK, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write('{"command": "go"}\n')
        child.stdin.flush()
        assert child.stdout.readline() == "stuck\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.stdin.close()  # what the parent's death looks like
        assert child.wait(30) == 1


DEAF = """
from brushcast.child import read_messages
messages = read_messages()
import time
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="how much a pipe holds")
def test_a_child_that_takes_no_messages_ends_with_its_parent_all_the_same() -> None:
    with run(DEAF) as child:
        assert child.stdin is not None
        for _ in range(5000):  # far more than its queue and the pipe hold together
            child.stdin.write('{"command": "camera", "stats": {"frames_out": 123456}}\n')
        child.stdin.close()
        assert child.wait(30) == 1


TALKATIVE = """
import sys
from brushcast.child import say
for number in range(60):
    say("stats", number=number, text="x" * (20 if number % 3 else 9000))
print("done", file=sys.stderr, flush=True)
sys.stdin.readline()
say("stats", number=-1, text="x" * 9000)
"""


@pytest.mark.skipif(os.name != "posix", reason="how much a pipe holds")
def test_a_parent_that_hangs_stops_no_child() -> None:
    """It is there, its pipes are open, and nobody reads: 180 kB for a pipe of 64."""
    with run(TALKATIVE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stderr.readline() == "done\n"
        read = [child.stdout.readline() for _ in range(2)]
        os.set_blocking(child.stdout.fileno(), False)
        time.sleep(0.1)
        while line := child.stdout.readline():
            read.append(line)
        os.set_blocking(child.stdout.fileno(), True)
        child.stdin.write("\n")
        child.stdin.flush()
        read.append(child.stdout.readline())
    numbers = [json.loads(line)["number"] for line in read]
    assert numbers == [*sorted(numbers[:-1]), -1], "whole lines, in order, and it is heard again"
    assert 3 <= len(numbers) < 60
