"""Some faults of each kind, on any machine: nothing raw, the picture comes back, nothing is left.

How quickly is measured on a quiet machine by `make faults`: docs/RELIABILITY.md.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brushcast.frame import Size
from tests.faults.bridge_tap import LEAK_VARIABLE
from tests.faults.link_faults import another_version
from tests.faults.oracle import Verdict
from tests.faults.relay import Relay
from tests.faults.remote import RemoteWorker, flood
from tests.faults.rig import SOURCE, Rig

pytest.importorskip("torch", reason="the light install has no worker")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One product for all: each fault finds what the last one left."""
    with Rig(tmp_path_factory.mktemp("faults") / "run") as made:
        made.live()
        yield made


def survive(rig: Rig, fault: Callable[[], object]) -> Verdict:
    """Live before and after; nothing raw, nothing foreign, no blank picture in between."""
    rig.live()
    with rig.watch() as seen:
        fault()
        rig.live_since(time.monotonic_ns())
        time.sleep(0.3)
    verdict = seen()
    assert verdict.raw == 0, f"{verdict.raw} raw pictures, {verdict.leak} of one at most"
    assert verdict.foreign == 0
    assert verdict.blank == 0
    assert verdict.pictures > 5
    return verdict


def test_a_worker_that_is_shot(rig: Rig) -> None:
    pid = rig.pid("worker")

    def shoot() -> None:
        rig.kill("worker")
        rig.restarted(pid)

    survive(rig, shoot)
    assert rig.pid("worker") != pid


def test_a_worker_that_stands_still_is_replaced(rig: Rig) -> None:
    pid = rig.pid("worker")

    def stop() -> None:
        rig.kill("worker", signal.SIGSTOP)
        rig.restarted(pid, 60)

    verdict = survive(rig, stop)
    assert verdict.shown.get("held", 0) + verdict.shown.get("blurred", 0) > 0
    assert rig.lost_ns(), "the bridge noticed"


def test_a_bridge_that_is_shot(rig: Rig) -> None:
    pid = rig.pid("bridge")

    def shoot() -> None:
        rig.kill("bridge")
        rig.restarted(pid)

    verdict = survive(rig, shoot)
    assert rig.pid("bridge") != pid
    assert verdict.gap_most_ms < 1000, "the camera process waited for a bridge"


def test_a_camera_process_that_is_shot(rig: Rig) -> None:
    pid = rig.pid("camera")

    def shoot() -> None:
        rig.kill("camera")
        rig.restarted(pid)

    survive(rig, shoot)
    assert rig.pid("camera") != pid


@pytest.mark.parametrize("kind", ["nan", "constant"])
def test_pictures_that_are_none_are_never_shown(rig: Rig, kind: str) -> None:
    def spoil() -> None:
        rig.order(kind)
        time.sleep(1.5)
        rig.order("")

    verdict = survive(rig, spoil)
    assert verdict.shown.get("held", 0) > 0, "nothing was held: nothing was spoilt"


@pytest.mark.parametrize("order", ["once memory", "once raise", "once crash"])
def test_an_engine_that_fails_once(rig: Rig, order: str) -> None:
    def fail() -> None:
        rig.order(order)
        rig.until(rig.order_was_taken, 60, order)

    survive(rig, fail)


def test_a_source_that_changes_its_size_goes_and_comes_back(rig: Rig) -> None:
    def change() -> None:
        rig.obs.plays(Size(480, 270))
        rig.live_since(time.monotonic_ns())
        rig.obs.plays(None)
        rig.until(lambda: rig.state().get("source", {}).get("state") == "failed", 30, "failed")
        rig.obs.plays(SOURCE)

    survive(rig, change)


def test_z_nothing_is_left_at_the_end(rig: Rig) -> None:
    """The last of those that share the product."""
    row = rig.end()
    assert row.met, f"{row.missed} {row.note}"


def test_a_leak_put_in_by_hand_is_seen(tmp_path: Path) -> None:
    """A tenth of the source in each painted picture: what all of the above looks for."""
    with Rig(tmp_path / "run", environment={LEAK_VARIABLE: "0.1"}) as leaking:
        leaking.live()
        with leaking.watch() as seen:
            time.sleep(1.0)
        assert seen().raw > 5
        assert seen().leak == pytest.approx(0.1, abs=0.03)
        leaking.until(lambda: leaking.raw_in_obs() > 5, 20, "the leak in OBS's ring")


def test_a_link_that_is_cut_and_a_link_that_swallows(tmp_path: Path) -> None:
    with RemoteWorker(tmp_path) as worker, Relay(worker.address) as relay:
        address = f"tcp://127.0.0.1:{relay.port}"
        with Rig(tmp_path / "run", "--worker", address, remote=True, steps=worker.steps) as far:
            survive(far, relay.cut)

            def swallow() -> None:
                begun_ns = time.monotonic_ns()
                relay.black_hole(True)
                far.noticed(begun_ns)
                relay.black_hole(False)

            survive(far, swallow)
            lost = len(far.lost_ns())
            survive(far, lambda: flood(worker.address, messages=2000, oversize=1))
            assert len(far.lost_ns()) == lost, "another client's rubbish cost us the connection"


def test_a_worker_of_another_version_is_told_and_not_hammered(tmp_path: Path) -> None:
    row = another_version(tmp_path / "run")
    told = {check.figure: check for check in row.checks}
    assert told["the sentence names both versions"].met, row.note
    assert told["greetings in 4 s"].met
    assert told["raw"].met
