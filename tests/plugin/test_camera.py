"""The camera process: what it shows, what it says, and that it never stops by itself."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brushcast.camera import CameraConfig, run_camera
from brushcast.card import Composer
from brushcast.clip import Clip
from brushcast.errors import ConfigError, SinkError
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind
from brushcast.provenance import Origin
from brushcast.ring import Ring
from tests.plugin.paper_camera import SIZE, Rig, S

PERIOD_NS = S / 30
ADVICE = "virtual camera"


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    return Rig(monkeypatch, tmp_path)


def is_card(pixels: Pixels, name: str) -> bool:
    return np.array_equal(pixels, Composer(SIZE).card(name))


# ---------------------------------------------------------------------- the picture


def test_without_a_ring_there_is_the_card_at_the_full_rate(rig: Rig) -> None:
    offers = rig.run(2)
    assert len(offers) == pytest.approx(60, abs=1)
    assert all(is_card(picture.pixels_HWC, "starting") for _, picture in offers)
    assert all(picture.seq == -1 for _, picture in offers)


def test_the_first_picture_is_what_the_ring_holds_and_else_the_card(rig: Rig) -> None:
    """One that replaces a dead one shows no card in between."""
    rig.make_ring()
    rig.write(7)
    rig.run(0.2)
    firsts = [picture for _, picture in rig.recorder.offers[:2]]
    assert [picture.pixels_HWC[0, 0, 0] for picture in firsts] == [7, 7]


def test_the_ring_is_found_shown_and_missed(rig: Rig) -> None:
    rig.clock.at(0.5, rig.make_ring)
    for step in range(30):
        rig.clock.at(1 + step / 30, lambda step=step: rig.write(step))
    offers = rig.run(5)
    shown = [picture.pixels_HWC[0, 0, 0] for when, picture in offers if picture.seq > 0]
    assert sorted(set(shown)) == list(range(30))
    last_live = max(when for when, picture in offers if picture.seq > 0)
    assert 2.9 <= last_live <= 3.0  # held up to a second after it was written last
    for when, picture in offers:
        if when > 3.0:
            assert is_card(picture.pixels_HWC, "reconnecting")


def test_what_a_dead_bridge_called_live_is_held(rig: Rig) -> None:
    rig.make_ring()
    for number in range(15):
        rig.clock.at(number / 30, lambda number=number: rig.write(number))
    rig.run(1.2)
    stopped = rig.events[-1][1]
    assert 20 <= stopped["shown"]["live"] <= 23  # half a second, and a quarter more
    assert 13 <= stopped["shown"]["held"] <= 16  # the rest


def test_what_a_dead_bridge_called_live_is_held_once_it_is_too_old(rig: Rig) -> None:
    """It was nearly that when the bridge died (40 times shot in a soak: 12 pictures)."""
    rig.make_ring()
    rig.clock.at(0.1, lambda: rig.write(9, live_for_s=0.1))
    rig.run(0.4)
    stopped = rig.events[-1][1]
    assert 3 <= stopped["shown"]["live"] <= 4
    assert stopped["shown"]["held"] >= 4


def test_a_bridge_that_comes_back_is_shown_at_once(rig: Rig) -> None:
    rig.make_ring()
    for step in range(150):
        if not 30 <= step < 100:
            rig.clock.at(step / 30 + 0.01, lambda: rig.write(9))
    offers = rig.run(5)
    back = [when for when, picture in offers if when > 2.5 and picture.seq > 0]
    assert back[0] <= 100 / 30 + 0.06


def test_a_ring_that_was_replaced_is_attached_anew(rig: Rig) -> None:
    rig.make_ring()
    rig.clock.at(0.5, lambda: rig.write(1))

    def replace() -> None:
        assert rig.ring is not None
        rig.ring.close()
        rig.make_ring()

    rig.clock.at(2.0, replace)
    for step in range(30):
        rig.clock.at(3 + step / 30, lambda: rig.write(200))
    offers = rig.run(4)
    assert any(picture.pixels_HWC[0, 0, 0] == 200 for when, picture in offers if when < 3.5)


def test_a_picture_that_stays_is_offered_as_the_very_same_array(rig: Rig) -> None:
    """By that the sinks know that they have converted it already."""
    rig.make_ring(Size(320, 240))
    for step in range(5):
        rig.clock.at(step / 10, lambda: rig.write(55, size=Size(320, 240)))
    offers = rig.run(0.5)
    live = [picture.pixels_HWC for _, picture in offers if picture.seq > 0]
    assert len(live) > 10
    assert len({id(pixels) for pixels in live}) <= 5
    assert all((pixels == 55).all() for pixels in live)


# ---------------------------------------------------------------------- the pace


def test_ticks_keep_an_absolute_schedule_without_drift(rig: Rig) -> None:
    rig.clock.late_ns = 3_000_000  # every sleep is 3 ms too long
    offers = rig.run(10)
    assert len(offers) == pytest.approx(300, abs=1)
    gaps = np.diff([when for when, _ in offers])
    assert gaps == pytest.approx(1 / 30, abs=1e-4)


def test_a_stall_is_followed_by_no_burst_and_the_tick_numbers_keep_time(rig: Rig) -> None:
    def stall() -> None:
        rig.clock.now_ns += round(0.25 * S)

    rig.clock.at(1, stall)
    offers = rig.run(2)
    gaps = np.diff([when for when, _ in offers])
    assert max(gaps) < 0.32
    assert min(gaps) > 0.001
    assert sum(gap < 0.030 for gap in gaps) <= 1
    ticks = [picture.tick for _, picture in offers]
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == pytest.approx(60, abs=2)


# ---------------------------------------------------------------------- what it says


def test_it_says_ready_and_stopped_with_the_figures(rig: Rig) -> None:
    rig.make_ring()
    for step in range(60):
        rig.clock.at(step / 60, lambda: rig.write(3))
    rig.run(2)
    names = [name for name, _ in rig.events]
    assert (names[0], names[-1]) == ("ready", "stopped")
    stopped = rig.events[-1][1]
    assert stopped["frames_out"] == pytest.approx(60, abs=1)
    assert stopped["fps"] == pytest.approx(30, abs=0.6)
    assert stopped["seconds"] == pytest.approx(2, abs=0.05)
    assert stopped["pace_ms"]["max"] == pytest.approx(1000 / 30, abs=1)
    assert sum(stopped["shown"].values()) == stopped["frames_out"]
    assert stopped["repeats"] > 0
    assert list(stopped["spreads"].values()) == [rig.recorder.spreads()]
    json.dumps(stopped)


def test_the_end_of_the_messages_is_a_stop(rig: Rig) -> None:
    rig.clock.at(0.5, lambda: rig.messages.put(None))
    assert len(rig.run(60)) < 20


def test_a_switch_reaches_its_sink_and_nonsense_is_ignored(rig: Rig) -> None:
    def ask() -> None:
        rig.messages.put({"command": "sink", "id": "null", "on": False})
        rig.messages.put({"command": "sink", "id": "other", "on": False})
        rig.messages.put({"command": "dance"})

    rig.clock.at(0.5, ask)
    assert [offer for _, offer in rig.run(1) if isinstance(offer, bool)] == [False]


def test_painted_pictures_say_so_and_the_card_does_not(rig: Rig) -> None:
    rig.make_ring()
    kinds = (Kind.LIVE, Kind.HELD, Kind.BLURRED, Kind.CARD)
    for step, kind in enumerate(kinds):
        rig.clock.at(0.4 * step, lambda kind=kind, step=step: rig.write(step, kind=kind))
    offers = rig.run(3.5)
    badges = {int(picture.pixels_HWC[0, 0, 0]): picture.badge for _, picture in offers[5:45]}
    assert badges == {0: "top-left", 1: "top-left", 2: "top-left", 3: None}
    assert is_card(offers[-1][1].pixels_HWC, "reconnecting")
    assert offers[-1][1].badge is None


def test_the_badge_is_switched_while_it_runs(rig: Rig) -> None:
    rig.make_ring()
    rig.clock.at(0.1, lambda: rig.write(9))
    for seconds, badge in ((0.3, None), (0.5, "bottom-right"), (0.7, "sideways")):
        message = {"command": "badge", "badge": badge}
        rig.clock.at(seconds, lambda message=message: rig.messages.put(message))
    offers = [picture for _, picture in rig.run(0.9) if picture.seq > 0]
    assert list(dict.fromkeys(picture.badge for picture in offers)) == [
        "top-left", None, "bottom-right",
    ]  # fmt: skip
    assert len({id(picture.pixels_HWC) for picture in offers}) == 1, "the same picture throughout"


GOOD = {
    "ring": "/r", "size": "64x48", "rate_fps": 30, "sinks": ["null"], "off": [], "restarted": False,
    "badge": "top-left", "origin": {"engine": "pocket", "look": "ink"},
}  # fmt: skip


def test_a_configuration_is_read_strictly() -> None:
    config = CameraConfig.from_json(GOOD)
    assert (config.size, config.sinks, config.restarted) == (SIZE, ("null",), False)
    assert config.badge == "top-left"
    assert config.origin == Origin(engine="pocket", look="ink")
    with pytest.raises(ConfigError, match="colour"):
        CameraConfig.from_json({**GOOD, "colour": "red"})
    with pytest.raises(ConfigError, match="wanted an even number"):
        CameraConfig.from_json({**GOOD, "size": "63x48"})
    with pytest.raises(ConfigError, match="wanted 1 to 240"):
        CameraConfig.from_json({**GOOD, "rate_fps": 0})
    with pytest.raises(ConfigError, match="wanted nothing or one of top-left"):
        CameraConfig.from_json({**GOOD, "badge": "middle"})


# ---------------------------------------------------------------------- with real sinks


def test_a_sink_that_cannot_be_opened_ends_the_start_but_not_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    events: list[tuple[str, dict[str, Any]]] = []
    table = {**GOOD, "ring": str(tmp_path / "none"), "sinks": ["camera:/dev/none", "null"]}

    def emit(event: str, **data: Any) -> None:
        events.append((event, data))
        messages.put(None)

    def run(*, restarted: bool) -> None:
        run_camera(CameraConfig.from_json({**table, "restarted": restarted}), messages, emit)

    with pytest.raises(SinkError, match=ADVICE):
        run(restarted=False)
    run(restarted=True)
    assert events[0][0] == "stats", "nothing was waited for"
    states = {row["id"]: row["state"] for row in events[0][1]["sinks"]}
    assert states == {"camera-none": "FAILED", "null": "LIVE"}


def test_a_sink_that_was_switched_off_is_not_opened_by_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "o.mp4"
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    told: list[dict[str, Any]] = []

    def emit(event: str, **data: Any) -> None:
        told.append(data)
        messages.put(None)

    table = {**GOOD, "ring": str(tmp_path / "none"), "sinks": [f"file:{file}", "null"]}
    run_camera(
        CameraConfig.from_json({**table, "off": ["file-o-mp4"], "restarted": True}), messages, emit
    )
    states = {row["id"]: row["state"] for row in told[0]["sinks"]}
    assert states == {"file-o-mp4": "OFF", "null": "LIVE"}
    assert not file.exists()


def test_two_sinks_of_one_name_are_refused(tmp_path: Path) -> None:
    table = {**GOOD, "sinks": [f"file:{tmp_path}/a b.mp4", f"file:{tmp_path}/a_b.mp4"]}
    with pytest.raises(ConfigError, match="two sinks are called file-a-b-mp4"):
        run_camera(CameraConfig.from_json(table), queue.Queue(), lambda event, **data: None)


class Process:
    """The real process, driven as the supervisor does."""

    def __init__(self, **table: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "brushcast.camera"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.send({**GOOD, "size": "320x180", **table})

    def send(self, message: dict[str, Any]) -> None:
        self.stdin.write(json.dumps(message) + "\n")
        self.stdin.flush()

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of that kind."""
        for line in self.stdout:
            data: dict[str, Any] = json.loads(line)
            if data["event"] == kind:
                return data
        raise AssertionError(f"it ended without saying {kind}")

    def end(self) -> int:
        self.stdin.close()
        code = self.process.wait(15)
        self.stdout.close()
        return code


def feed(ring: Ring, stop: threading.Event) -> None:
    seq = 0
    while not stop.wait(1 / 30):
        seq += 1
        pixels = np.full((180, 320, 3), 150, np.uint8)
        ring.write(pixels, Kind.LIVE, seq=seq, captured_ns=time.monotonic_ns())


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_process_records_ignores_ctrl_c_survives_its_bridge_and_ends_cleanly(
    tmp_path: Path,
) -> None:
    ring = Ring.create(Size(320, 180), tmp_path / "ring")
    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(ring, stop))
    feeder.start()
    out = tmp_path / "out.mp4"
    process = Process(ring=str(ring.path), sinks=["null", f"file:{out}"])
    ready = process.event("ready")
    assert [row["state"] for row in ready["sinks"]] == ["LIVE", "LIVE"]
    process.process.send_signal(signal.SIGINT)
    process.event("stats")
    stop.set()  # the bridge is gone
    feeder.join()
    for _ in range(3):
        stats = process.event("stats")
    assert stats["shown"]["card"] > 10
    process.send({"command": "sink", "id": "file-out-mp4", "on": False})
    process.event("stats")
    process.send({"command": "sink", "id": "file-out-mp4", "on": True})
    process.event("stats")
    process.event("stats")
    process.send({"command": "stop"})
    stopped = process.event("stopped")
    assert process.end() == 0
    ring.close()
    assert stopped["capture_to_sink_ms"]["count"] > 5
    with Clip(out) as clip:
        values = [int(picture.pixels_HWC[90, 160, 0]) for picture in clip.pictures()]
    assert 150 in values  # the live part; then the card
    with Clip(tmp_path / "out-2.mp4") as clip:
        assert len(list(clip.pictures())) > 5


def test_the_end_of_standard_input_ends_the_process(tmp_path: Path) -> None:
    process = Process(ring=str(tmp_path / "none"))
    process.event("ready")
    assert process.end() == 0


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"sinks": ["file:/no/such/folder/a.mp4"]}, "there is no folder"),
        ({"sinks": ["nonsense"]}, "wanted auto"),
        ({"size": "321x180"}, "wanted an even number"),
    ],
)
def test_wrong_input_is_one_event_and_exit_code_2(change: dict[str, Any], seen: str) -> None:
    process = Process(**change)
    assert seen in process.event("error")["message"]
    assert process.end() == 2
