"""One sink per thread: a stuck or failing one is reported and never disturbs another."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from brushcast import sink_thread as module
from brushcast.badge import Corner
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.sink import SinkSpec
from brushcast.sink_thread import OutputPicture, SinkThread

SIZE = Size(4, 4)
PIXELS = np.zeros((4, 4, 3), np.uint8)
MS = 1_000_000


class FakeSink:
    """A sink whose every step can fail or hang."""

    title = "fake"

    def __init__(self) -> None:
        self.ticks: list[int] = []
        self.badges: list[Corner | None] = []
        self.opened = self.closed = 0
        self.refuse_open = self.refuse_write = ""
        self.go_on = threading.Event()
        self.go_on.set()

    def open(
        self, size: Size, rate_fps: float, first_HWC: Pixels, badge: Corner | None = None
    ) -> None:
        self.badges.append(badge)
        if self.refuse_open:
            raise SinkError(self.refuse_open)
        self.opened += 1

    def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
        self.badges.append(badge)
        self.go_on.wait(10)
        if self.refuse_write:
            raise SinkError(self.refuse_write)
        self.ticks.append(tick)

    def close(self) -> None:
        self.closed += 1


class Clock:
    """A clock that is moved by hand."""

    now_ns = 10**12

    def __call__(self) -> int:
        return self.now_ns


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Rig:
    """A started thread, fed by hand."""

    def __init__(self, kind: str = "camera", sink: FakeSink | None = None) -> None:
        self.sink = sink or FakeSink()
        self.clock = Clock()
        self.thread = SinkThread(SinkSpec(kind), self.sink, SIZE, 30, self.clock)  # type: ignore[arg-type]
        self.tick = 100
        self.thread.start()

    def feed(self, seq: int = -1, captured_ns: int = -1) -> None:
        """One picture, and until it was taken."""
        self.tick += 1
        self.clock.now_ns += 33 * MS
        self.thread.offer(OutputPicture(PIXELS, self.tick, seq, captured_ns))
        wait_for(lambda: not self.thread._offers._items)
        time.sleep(0.005)

    def phase(self) -> str:
        return str(self.thread.stats()["state"])


def test_it_opens_with_the_first_picture_and_counts_what_is_written() -> None:
    rig = Rig()
    assert rig.phase() == "OPENING"
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    for _ in range(5):
        rig.feed()
    wait_for(lambda: len(rig.sink.ticks) == 5)
    stats = rig.thread.stats()
    rig.thread.stop()
    assert rig.sink.ticks == [1, 2, 3, 4, 5]
    assert (stats["id"], stats["kind"], stats["on"], stats["frames"]) == (
        "camera",
        "camera",
        True,
        6,
    )
    assert stats["gap_ms"]["max"] == pytest.approx(33)
    assert rig.sink.closed >= 1


def test_latency_is_counted_once_per_styled_picture() -> None:
    rig = Rig()
    rig.feed()
    for seq in (1, 1, 1, 2, 2, -1):
        rig.feed(seq, rig.clock.now_ns - 67 * MS)
    wait_for(lambda: len(rig.sink.ticks) == 6)
    spreads = rig.thread.spreads()
    for name, table in spreads.items():
        assert table["count"] == rig.thread.stats()[name]["count"] > 0
        counts = [count for _, count in table["up_to"]]
        assert counts == sorted(counts)
    latency = rig.thread.stats()["capture_to_sink_ms"]
    rig.thread.stop()
    assert latency["count"] == 2
    assert latency["max"] == pytest.approx(100)


def test_a_file_gets_every_picture_though_its_disk_is_slow_for_a_moment() -> None:
    rig = Rig("file")
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.sink.go_on.clear()
    rig.feed()  # is being written
    for tick in range(module.FILE_DEPTH):
        rig.thread.offer(OutputPicture(PIXELS, rig.tick + 1 + tick, -1, -1))
    assert rig.thread.stats()["dropped"] == 0
    rig.sink.go_on.set()
    wait_for(lambda: len(rig.sink.ticks) == 1 + module.FILE_DEPTH)
    rig.thread.stop()
    assert rig.sink.ticks == list(range(1, 2 + module.FILE_DEPTH))


def test_a_stuck_sink_takes_the_newest_and_counts_the_others() -> None:
    rig = Rig()
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.sink.go_on.clear()
    rig.feed()
    for _ in range(5):
        rig.tick += 1
        rig.thread.offer(OutputPicture(PIXELS, rig.tick, -1, -1))  # none of these waits
    assert rig.thread.stats()["dropped"] == 4
    rig.sink.go_on.set()
    wait_for(lambda: rig.sink.ticks == [1, 6])
    rig.thread.stop()


def test_a_sink_that_fails_says_why_and_stays_failed() -> None:
    rig = Rig("file")
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.sink.refuse_write = "out.mp4: cannot be written (no space left on device)"
    rig.feed()
    wait_for(lambda: rig.phase() == "FAILED")
    rig.clock.now_ns += 10 * module.RETRY_NS
    rig.feed()
    rig.feed()
    assert rig.thread.stats()["message"] == rig.sink.refuse_write
    assert rig.thread.failure == rig.sink.refuse_write
    assert rig.sink.opened == 1
    rig.thread.stop()


def test_a_camera_that_was_lost_comes_back_by_itself() -> None:
    rig = Rig("camera")
    rig.feed()
    rig.sink.refuse_write = rig.sink.refuse_open = "the device is gone"
    rig.feed()
    wait_for(lambda: rig.phase() == "FAILED")
    rig.feed()
    assert rig.sink.opened == 1  # not at every picture
    rig.clock.now_ns += module.RETRY_NS
    rig.feed()
    assert rig.phase() == "FAILED"
    rig.sink.refuse_write = rig.sink.refuse_open = ""
    rig.clock.now_ns += module.RETRY_NS
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.thread.stop()


def test_a_failed_sink_is_opened_anew_when_it_is_switched_on() -> None:
    sink = FakeSink()
    sink.refuse_open = "busy"
    rig = Rig("file", sink)
    rig.feed()
    wait_for(lambda: rig.phase() == "FAILED")
    sink.refuse_open = ""
    rig.thread.switch(True)
    assert rig.thread.failure is None
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.thread.stop()


def test_it_is_switched_off_and_on() -> None:
    rig = Rig()
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.thread.switch(False)
    rig.feed()
    wait_for(lambda: rig.phase() == "OFF")
    assert rig.sink.closed == 1
    assert not rig.thread.stats()["on"]
    rig.thread.switch(True)
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    assert rig.sink.opened == 2
    rig.thread.stop()


def test_auto_without_a_camera_is_off_and_says_why() -> None:
    sink = FakeSink()
    sink.refuse_open = "virtual camera: there is none"
    rig = Rig("auto", sink)
    rig.feed()
    assert rig.thread.wait_until_settled(10)
    stats = rig.thread.stats()
    assert (stats["on"], stats["state"], stats["kind"]) == (False, "OFF", "camera")
    assert stats["message"] == sink.refuse_open
    assert rig.thread.failure is None
    rig.thread.stop()


def test_the_badge_reaches_the_sink_from_its_first_picture_on() -> None:
    sink = FakeSink()
    rig = Rig("file", sink)
    for badge in ("top-left", "top-left", None):
        rig.tick += 1
        rig.thread.offer(OutputPicture(PIXELS, rig.tick, 1, 1, badge))
    wait_for(lambda: len(sink.badges) == 3)
    assert sink.badges == ["top-left", "top-left", None]
    rig.thread.stop()


def test_a_bug_in_a_sink_is_reported_and_does_not_spread() -> None:
    class Buggy(FakeSink):
        def write(self, pixels_HWC: Pixels, tick: int, badge: Corner | None = None) -> None:
            raise ZeroDivisionError("division by zero")

    rig = Rig("null", Buggy())
    rig.feed()
    rig.feed()
    wait_for(lambda: rig.phase() == "FAILED")
    assert "ZeroDivisionError" in rig.thread.stats()["message"]
    rig.thread.offer(OutputPicture(PIXELS, 500, -1, -1))
    rig.thread.stop()


def test_a_sink_that_never_returns_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "JOIN_S", 0.05)
    rig = Rig()
    rig.feed()
    wait_for(lambda: rig.phase() == "LIVE")
    rig.sink.go_on.clear()
    rig.feed()
    rig.thread.stop()
    rig.sink.go_on.set()
