"""One run with a worker on another machine, everything that it prints and logs at its most
talkative, and every file that it makes: no secret where none belongs, and nothing that another user
could read.

What is there on purpose, and is looked away from: the panel's address with its token, printed once
on the line "Panel:" for the person who started the run; and the files whose contents are secrets.
"""

from __future__ import annotations

import base64
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from brushcast.panel.access import new_token
from brushcast.wire.curve import BRIDGE_KEY, WORKER_KEY, read_keys
from tests.e2e.machines import Machine, Serving, free_port, own_address, pair_machines
from tests.e2e.product import Product, write_source
from tests.e2e.test_remote import panel_of, state_of, wait_for

pytest.importorskip("torch", reason="the light install has no worker")

WHERE = str(own_address())
pytestmark = [
    pytest.mark.skipif(own_address() is None, reason="no address beyond loopback"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
PROMPT = "xyzzycanary plughcanary"  # words that nothing else says
ASKED_FOR = ("out.mp4", "report.json", "bars.mp4")  # the user's own files, with his own umask


@dataclass
class Seen:
    """What one run printed, and the files that were there while it ran and after it."""

    token: str
    secrets: dict[str, bytes]
    printed: str
    panel_lines: list[str]
    files: dict[str, bytes]
    modes: dict[str, int]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("secrets")
    old = os.umask(0)  # nothing is private by luck
    try:
        yield watch(folder)
    finally:
        os.umask(old)


def watch(folder: Path) -> Seen:
    """Pair, serve, run, look, stop."""
    there = Machine(folder / "gpu", BRUSHCAST_LOG="DEBUG")
    here = Machine(folder / "studio", BRUSHCAST_LOG="DEBUG")
    settings = here.home / "brushcast"
    (settings / "presets").mkdir(parents=True)
    token = new_token()
    (settings / "panel-token").write_text(token)
    (settings / "panel-token").chmod(0o600)
    (settings / "presets" / "mine.toml").write_text(f'title = "Mine"\nprompt = "{PROMPT}"\n')
    given = set(tree(folder))
    port = free_port(WHERE)
    one_time = pair_machines(there, here, WHERE, port)
    write_source(folder / "bars.mp4")
    os.environ["BRUSHCAST_LOG"] = "DEBUG"
    serving = Serving(there, f"tcp://0.0.0.0:{port}", "-v")
    product = Product(
        here.home, folder / "bars.mp4", "--preset", "mine", "--sink", "obs",
        "--worker", f"tcp://{WHERE}:{port}",
    )  # fmt: skip
    try:
        panel = panel_of(product)
        wait_for(panel, lambda state: state["state"] == "LIVE")
        time.sleep(2)
        state_of(panel)
        paths = [*tree(folder), *shared_memory(product)]
        modes = {str(path): path.lstat().st_mode for path in paths if path not in given}
        files = contents(paths)
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in product.children("")]
        product.process.send_signal(signal.SIGINT)
        code, out, err = product.wait()
        assert code == 0, err
    finally:
        os.environ.pop("BRUSHCAST_LOG")
        product.process.kill()
        product.process.communicate()
        serving.close()
    for path in set(tree(folder)) - given:
        modes.setdefault(str(path), path.lstat().st_mode)
    files |= contents(tree(folder))
    secrets = {"the pairing's": one_time.encode()}
    for machine, name in ((here, BRIDGE_KEY), (there, WORKER_KEY)):
        keys = read_keys(machine.home / "brushcast" / "keys" / name)
        assert keys is not None
        secrets[f"{name}, raw"] = keys.secret
        secrets[f"{name}, hex"] = keys.secret.hex().encode()
        secrets[f"{name}, base64"] = base64.b64encode(keys.secret)[:-1]
    printed = "".join([out, err, *commands, *there.printed, *here.printed])
    return Seen(token, secrets, printed, [panel], files, modes)


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def shared_memory(product: Product) -> list[Path]:
    """The rings that the children have mapped, and their folders."""
    found = set()
    for pid in product.children("process"):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            path = Path(line.split(maxsplit=5)[-1])
            if path.name in ("ring", "obs-out", "obs-in") and path.exists():
                found |= {path, path.parent}
    assert found, "no ring is mapped"
    return sorted(found)


def contents(paths: list[Path]) -> dict[str, bytes]:
    """Of the plain files, up to some size: pictures are none of it."""
    return {
        str(path): path.read_bytes()
        for path in paths
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 4 << 20
    }


def without_panel_line(printed: str, token: str) -> str:
    """Less the one line that is there to be read."""
    lines = printed.splitlines()
    shown = [line for line in lines if line.startswith("Panel:") and token in line]
    assert len(shown) <= 1
    return "\n".join(line for line in lines if line not in shown)


def test_the_run_talked(seen: Seen) -> None:
    """Or the other tests would prove nothing."""
    for who in (
        "brushcast.supervisor: ",
        "brushcast_worker.server: ",
        "bridge: ",
        "bridge-process",
    ):
        assert who in seen.printed
    assert seen.token in seen.panel_lines[0]


def test_nothing_that_is_printed_or_logged_holds_a_secret(seen: Seen) -> None:
    printed = without_panel_line(seen.printed, seen.token)
    assert seen.token not in printed
    for whose, secret in seen.secrets.items():
        assert secret not in printed.encode(), whose
    for word in PROMPT.split():
        assert word not in printed, "what somebody wants to be painted as is nobody's business"


def test_secrets_are_in_no_file_but_their_own(seen: Seen) -> None:
    homes = {"panel-token", "run.json", BRIDGE_KEY, WORKER_KEY}
    for name, data in seen.files.items():
        own = Path(name).name
        for whose, secret in {**seen.secrets, "the panel's": seen.token.encode()}.items():
            assert secret not in data or own in homes, f"{whose} secret in {name}"
        assert PROMPT.encode() not in data or own == "mine.toml", name
    assert {"panel-token", "run.json"} <= {Path(name).name for name in seen.files}


def test_every_file_that_a_run_makes_is_the_users_alone(seen: Seen) -> None:
    open_ones = {
        name: f"{stat.S_IMODE(mode):04o}"
        for name, mode in seen.modes.items()
        if Path(name).name not in ASKED_FOR and not private(name, seen.modes)
    }
    assert not open_ones
    made = {Path(name).name for name in seen.modes}
    assert {"run.json", "ring", "obs-out", BRIDGE_KEY, WORKER_KEY, "bridges.json"} <= made


def private(name: str, modes: dict[str, int]) -> bool:
    """Neither read nor written nor entered by others."""
    return not stat.S_IMODE(modes[name]) & 0o077
