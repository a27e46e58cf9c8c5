"""What was compiled is found again; it is bounded, the user's own, and never stops a start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brushcast_worker.compile_cache import (
    INDUCTOR,
    TRITON,
    forget_compiled,
    keep_compiled,
    size_bytes,
    tidy,
)

VERSIONS = ("0.1", "2.11.0+cu130", "NVIDIA H200")


@pytest.fixture(autouse=True)
def no_folder_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is set is unset again."""
    for name in (INDUCTOR, TRITON):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def filled(folder: Path, count: int, used_s: int) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "kernel").write_bytes(bytes(count))
    os.utime(folder, (used_s, used_s))
    return folder


def test_each_version_and_gpu_has_a_private_folder_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "compiled"
    keep_compiled(root, VERSIONS)
    folder = Path(os.environ[INDUCTOR])
    assert folder == root / "0.1_2.11.0+cu130_NVIDIA-H200".replace("_", "-")
    assert Path(os.environ[TRITON]).is_relative_to(folder)
    if os.name == "posix":
        assert [x.stat().st_mode & 0o777 for x in (root, folder)] == [0o700, 0o700]


def test_an_odd_name_stays_in_the_root(tmp_path: Path) -> None:
    keep_compiled(tmp_path, ("../../x", "a/b"))
    assert Path(os.environ[INDUCTOR]).resolve().parent == tmp_path


def test_a_folder_that_others_could_write_is_made_private(tmp_path: Path) -> None:
    root = tmp_path / "compiled"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    keep_compiled(root, VERSIONS)
    assert os.name != "posix" or root.stat().st_mode & 0o777 == 0o700


def test_who_set_a_folder_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INDUCTOR, "/elsewhere")
    keep_compiled(tmp_path, VERSIONS)
    assert os.environ[INDUCTOR] == "/elsewhere"
    assert not list(tmp_path.iterdir())
    assert not forget_compiled(tmp_path)


def test_where_nothing_can_be_kept_the_start_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    keep_compiled(tmp_path / "file" / "compiled", VERSIONS)
    assert INDUCTOR not in os.environ
    assert "not kept" in caplog.text


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    old, new = filled(tmp_path / "old", 400, 1000), filled(tmp_path / "new", 400, 2000)
    used = filled(tmp_path / "used", 400, 500)
    tidy(tmp_path, used, size_bytes(tmp_path) - 300)
    assert not old.exists()
    assert new.exists()
    assert (used / "deep" / "kernel").exists()


def test_a_single_folder_that_grew_too_large_begins_anew(tmp_path: Path) -> None:
    used = filled(tmp_path / "used", 5000, 1000)
    tidy(tmp_path, used, 2000)
    assert used.is_dir()
    assert not list(used.iterdir())


def test_what_is_forgotten_is_ours_alone(tmp_path: Path) -> None:
    root = tmp_path / "compiled"
    assert not forget_compiled(root), "nothing was kept"
    keep_compiled(root, VERSIONS)
    folder = Path(os.environ[INDUCTOR])
    (folder / "kernel").write_bytes(b"damaged")
    other = filled(root / "other", 10, 1000)
    assert forget_compiled(root)
    assert not list(folder.iterdir())
    assert other.exists()


COMPILE = """
import sys, torch
from pathlib import Path
from brushcast_worker.compile_cache import keep_compiled
keep_compiled(Path(sys.argv[1]), ("a", "b"))
x = torch.arange(1000.0)
with torch.inference_mode():
    y = torch.compile(lambda x: (x * 2 + 1).relu() - x.sin())(x)
torch.testing.assert_close(y, (x * 2 + 1).relu() - x.sin())
from torch._dynamo.utils import counters
print(counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants g++ on a CPU")
def test_the_second_start_finds_it_and_a_damaged_entry_is_built_anew(tmp_path: Path) -> None:
    def start() -> int:
        done = subprocess.run(
            [sys.executable, "-c", COMPILE, str(tmp_path)], capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return int(done.stdout)

    assert start() == 0
    assert start() > 0
    kept = [x for x in tmp_path.rglob("*") if x.is_file() and x.suffix not in (".h", ".gch")]
    tables = [x for x in kept if "fxgraph" in x.parts or "aotautograd" in x.parts]
    assert tables
    for path in tables:
        path.write_bytes(b"\x80garbage")
    assert start() == 0
