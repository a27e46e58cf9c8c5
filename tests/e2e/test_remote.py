"""A worker on another machine, from the first pairing to the end of its use: the commands of two
people, over an address of this machine that is not loopback."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import Machine, Serving, free_port, own_address, pair_machines
from tests.e2e.product import LEAK_MOST, Product, pictures, write_source
from tests.faults.watermark import leak

pytest.importorskip("torch", reason="the light install has no worker")

ADDRESS = own_address()
pytestmark = pytest.mark.skipif(ADDRESS is None, reason="no address beyond loopback")
WHERE = str(ADDRESS)
PATIENCE_S = 60


def state_of(panel: str) -> dict[str, Any]:
    """The panel's state, as its page asks for it."""
    url, _, token = panel.partition("/?token=")
    request = urllib.request.Request(f"{url}/api/v1/state")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_for(panel: str, wanted: Any) -> dict[str, Any]:
    ends = time.monotonic() + PATIENCE_S
    while not wanted(state := state_of(panel)):
        assert time.monotonic() < ends, state
        time.sleep(0.1)
    return state


def panel_of(product: Product) -> str:
    assert product.process.stdout is not None
    while line := product.process.stdout.readline():
        if line.startswith("Panel:"):
            return line.split()[1]
    raise AssertionError("no panel")


def test_paired_painted_revoked_and_never_the_camera(tmp_path: Path) -> None:
    there, here = Machine(tmp_path / "gpu"), Machine(tmp_path / "studio")
    port = free_port(WHERE)
    bind, worker = f"tcp://0.0.0.0:{port}", f"tcp://{WHERE}:{port}"
    code, out, err = there.run("brushcast_worker", "serve", "--bind", bind)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "brushcast-worker pair" in err
    code, out, err = here.run("brushcast", "run", "--worker", worker, "--for", "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "brushcast pair" in err

    pair_machines(there, here, WHERE, port)
    source = tmp_path / "bars.mp4"
    write_source(source)
    serving = Serving(there, bind)
    product = Product(here.home, source, "--worker", worker)
    try:
        panel = panel_of(product)
        wait_for(panel, lambda state: state["state"] == "LIVE")
        code, out, err = there.run("brushcast_worker", "pair", "--revoke", "studio")
        assert code == 0, err
        lost = wait_for(panel, lambda state: state["state"] != "LIVE")
        assert "revoked" in json.dumps(lost)
        time.sleep(4)  # past the held picture, to the card
        product.process.send_signal(signal.SIGINT)
        code, _, err = product.wait()
        assert code == 0, err
    finally:
        product.process.kill()
        product.process.communicate()
        serving.close()
    report = product.report()
    assert report["frames_styled"] > 0
    assert report["reconnects"] == 0, "revoked is no reason to come back"
    seen = pictures(product.output)
    assert max(map(leak, seen)) < LEAK_MOST, "a raw picture reached the sink"
    assert serving.process.returncode == 0, "the worker serves on"
