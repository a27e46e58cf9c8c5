"""The product as the script's child: started, asked, told, restarted, and ended with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brushcast_script import folders, product
from brushcast_script.libobs import KEPT
from brushcast_script.product import Product, Wanted
from tests.obs_scripts.conftest import until

DOUBLE = Path(__file__).parent.parent / "product_double.py"
WANTED = Wanted("ink", 640, 480)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """With an installed product: the double."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(folders, "config_folder", lambda: tmp_path / "config")
    (tmp_path / "config").mkdir()
    install = {"format": 1, "command": [sys.executable, str(DOUBLE)]}
    (tmp_path / "config" / "install.json").write_text(json.dumps(install))
    return tmp_path / "run"


@pytest.fixture
def kept(runtime: Path) -> Iterator[Product]:
    KEPT.pop("child", None)
    made = Product(folders.runtime_folder)
    yield made
    made.close()
    assert not made._thread.is_alive()
    end_of_obs()


def end_of_obs() -> None:
    """What happens to a child that was kept."""
    child, _, _ = KEPT.pop("child", (None, None, 0))
    if child is not None:
        child.stdin.close()
        try:
            child.wait(5)
        finally:
            child.kill()
            child.wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_started_asked_told_and_ended(kept: Product, runtime: Path) -> None:
    assert kept.state.phase == "off"
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    arguments = " ".join(kept.state.shown["arguments"])
    assert arguments == (
        "run --source obs --sink obs --panel 127.0.0.1:0 --preset ink --lifeline"
        " --output-size 640x480 --fps 30"
    )
    assert kept.state.message == "Live."
    assert kept.state.presets == [("ink", "Ink"), ("oil", "Oil"), ("neon", "Neon")]
    kept.tell("look", {"preset": "oil"})
    until(lambda: kept.state.shown["look"]["preset"] == "oil")
    pid = json.loads((runtime / "run.json").read_text())["pid"]
    kept.want(None)
    until(lambda: kept.state.phase == "off")
    until(lambda: not alive(pid))


def test_a_reload_leaves_it_running(kept: Product, runtime: Path) -> None:
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    url = kept.state.url
    kept.close()
    again = Product(folders.runtime_folder)
    again.want(WANTED)
    until(lambda: again.state.phase == "running", 10)
    assert again.state.url == url
    again.want(None)
    until(lambda: again.state.phase == "off")
    until(lambda: not (runtime / "run.json").exists())
    again.close()
    assert "child" not in KEPT


def test_with_obs_it_ends_and_is_waited_for(kept: Product, runtime: Path) -> None:
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    child = kept._child
    kept.want(None)
    kept.close()
    assert child is not None
    assert child.poll() is not None
    assert "child" not in KEPT


def test_a_reload_while_the_panel_is_being_restarted_ends_nothing(
    kept: Product, runtime: Path
) -> None:
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    kept.close()
    child, wanted, started_s = KEPT["child"]
    KEPT["child"] = child, wanted, started_s - 2 * product.START_S  # it runs for long
    (runtime / "run.json").rename(runtime / "later.json")
    again = Product(folders.runtime_folder)
    again.want(WANTED)
    time.sleep(3 * product.EVERY_S)
    (runtime / "later.json").rename(runtime / "run.json")
    until(lambda: again.state.phase == "running", 10)
    assert again._child is child
    again.close()


def test_another_shape_is_another_run_and_another_preset_is_not(kept: Product) -> None:
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    first = kept.state.url
    kept.want(Wanted("oil", 640, 480))
    time.sleep(3 * product.EVERY_S)
    assert kept.state.url == first
    kept.want(Wanted("oil", 1280, 720, camera=True))
    until(lambda: kept.state.phase == "running" and kept.state.url != first, 10)
    assert kept.state.shown["arguments"][5:7] == ["--sink", "camera"]


def test_why_it_died_is_said_and_it_is_tried_again(
    kept: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "PATIENCE_S", (0.1, 0.1))
    monkeypatch.setenv("BEHAVIOUR", "dies")
    kept.want(WANTED)
    until(lambda: kept.state.phase == "failed", 10)
    assert kept.state.message == "brushcast: camera 7 is not there"
    until(lambda: kept._failures == 3, 20)  # then it waits for somebody
    monkeypatch.setenv("BEHAVIOUR", "good")
    time.sleep(2 * product.EVERY_S)
    assert kept.state.phase == "failed"
    kept.try_again()
    until(lambda: kept.state.phase == "running", 10)


def test_a_run_that_is_killed_is_replaced(kept: Product, runtime: Path) -> None:
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    pid = json.loads((runtime / "run.json").read_text())["pid"]
    os.kill(pid, 9)
    until(lambda: kept.state.phase == "failed")
    until(lambda: kept.state.phase == "running", 10)
    assert json.loads((runtime / "run.json").read_text())["pid"] != pid


def test_one_that_painted_is_replaced_at_once_and_for_ever(kept: Product, runtime: Path) -> None:
    kept.want(WANTED)
    for _ in range(len(product.PATIENCE_S) + 2):
        until(lambda: kept.state.phase == "running", 10)
        os.kill(json.loads((runtime / "run.json").read_text())["pid"], 9)
        until(lambda: kept.state.phase != "running", 10)
        assert kept._failures == 0


def test_a_run_of_somebody_elses_is_used_and_left(kept: Product, runtime: Path) -> None:
    command = [sys.executable, str(DOUBLE), "by hand"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        until((runtime / "run.json").exists, 10)
        kept.want(WANTED)
        until(lambda: kept.state.phase == "running", 10)
        assert kept.state.shown["arguments"] == ["by hand"]
        kept.want(None)
        until(lambda: kept.state.phase == "off")
        assert other.poll() is None
        assert other.stdin is not None
        other.stdin.close()


def test_it_ends_when_the_script_is_killed(runtime: Path) -> None:
    """Whatever happens to OBS, nothing is left running."""
    text = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from brushcast_script import folders; from brushcast_script.product import *\n"
        "from pathlib import Path; folders.config_folder = lambda: Path(sys.argv[2])\n"
        "p = Product(folders.runtime_folder); p.want(Wanted('ink', 64, 48)); time.sleep(60)"
    )
    scripts = str(Path(product.__file__).parent.parent)
    config = str(runtime.parent / "config")
    with subprocess.Popen([sys.executable, "-c", text, scripts, config]) as script:
        until((runtime / "run.json").exists, 10)
        pid = json.loads((runtime / "run.json").read_text())["pid"]
        script.kill()
    until(lambda: not alive(pid))


def test_one_that_does_not_end_is_killed(
    kept: Product, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "END_S", 0.3)
    monkeypatch.setenv("BEHAVIOUR", "stays")
    kept.want(WANTED)
    until(lambda: kept.state.phase == "running", 10)
    pid = json.loads((runtime / "run.json").read_text())["pid"]
    kept.want(None)
    until(lambda: kept.state.phase == "off" and not alive(pid))


def test_one_that_never_comes_up_is_said(kept: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "START_S", 0.5)
    monkeypatch.setenv("BEHAVIOUR", "deaf")
    kept.want(WANTED)
    until(lambda: kept.state.phase == "failed", 10)
    assert "did not answer" in kept.state.message


def test_without_an_installation_there_is_a_sentence(kept: Product, runtime: Path) -> None:
    (runtime.parent / "config" / "install.json").unlink()
    kept.want(WANTED)
    until(lambda: "not installed for this user" in kept.state.message)


@pytest.mark.parametrize("url", ["http://192.0.2.7:80", "http://127.0.0.1:x", "file:///etc", ""])
def test_a_run_file_that_leads_elsewhere_is_not_followed(
    kept: Product, runtime: Path, url: str
) -> None:
    table = {"format": 1, "pid": 1, "url": url, "token": "t", "source": "obs"}
    (runtime / "run.json").write_text(json.dumps(table))
    assert not kept._found()
    assert kept._address is None
