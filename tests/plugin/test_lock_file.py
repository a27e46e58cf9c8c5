"""A lock file has one holder, and none once its holder is dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brushcast import lock_file as module
from brushcast.lock_file import LockFile

HOLDER = """
import sys, time
from pathlib import Path
from brushcast.lock_file import LockFile
lock = LockFile(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(60)
"""


def test_it_has_one_holder_and_leaves_nothing(tmp_path: Path) -> None:
    first, second = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock")
    second.release()
    assert first.acquire()
    assert first.acquire(), "it is ours already"
    assert not second.acquire()
    first.release()
    assert second.acquire()
    first.release()
    assert not first.acquire(), "releasing what is not held takes it from nobody"
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"True"
    lock = LockFile(path)
    assert not lock.acquire()
    holder.kill()
    holder.communicate()
    assert lock.acquire()
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our opening and our locking its holder lets go, and a third one takes a new file."""
    path = tmp_path / "lock"
    lock, third, times = LockFile(path), LockFile(path), []
    real = module._lock

    def slow(handle: int) -> None:
        times.append(handle)
        if len(times) == 1:
            path.unlink()
            assert third.acquire()
        real(handle)

    monkeypatch.setattr(module, "_lock", slow)
    assert not lock.acquire()
    third.release()


def test_a_folder_that_is_not_there_is_the_callers_to_explain(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LockFile(tmp_path / "none" / "lock").acquire()
