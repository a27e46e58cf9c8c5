"""Sources: their pace, their loop, and what becomes of one that is lost. The clock is a number."""

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from brushcast import source as source_module
from brushcast.errors import SourceError
from brushcast.frame import Frame, Size
from brushcast.recording import Recording
from brushcast.source import (
    FILE_BEHIND_NS,
    FileSource,
    SourceThread,
    open_source,
)

S = 1_000_000_000
SMALL = Size(64, 48)
DrawnSource = source_module.TestcardSource  # under a name that pytest does not take for tests


class FakeTime(threading.Event):
    """A clock, and a stop event whose waits make it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1000 * S
        self.slept_s = 0.0

    def clock_ns(self) -> int:
        return self.now_ns

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self.now_ns += round(timeout * S)
            self.slept_s += timeout
        return self.is_set()


def make_clip(path: Path, times_s: list[float], size: Size = SMALL) -> Path:
    with Recording(path, size, Fraction(30)) as recording:
        for index, time_s in enumerate(times_s):
            pixels = np.full((size.height, size.width, 3), 20 + 8 * index, np.uint8)
            recording.write(pixels, Fraction(time_s).limit_denominator(90_000))
    return path


def read(source: FileSource | DrawnSource, stop: threading.Event, count: int) -> list[Frame]:
    frames = [source.read(stop) for _ in range(count)]
    assert all(frame is not None for frame in frames)
    return [frame for frame in frames if frame is not None]


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_file_runs_at_its_own_rate_and_loops_without_a_seam(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", [index / 30 for index in range(20)])
    fake = FakeTime()
    source = FileSource(clip, clock_ns=fake.clock_ns)
    frames = read(source, fake, 65)
    source.close()
    assert [frame.seq for frame in frames] == list(range(65))
    steps = np.diff([frame.captured_ns for frame in frames]) / S
    assert steps == pytest.approx(1 / 30, abs=2e-3)
    assert fake.slept_s == pytest.approx(64 / 30, abs=0.02)
    first = [int(frame.pixels_HWC[20, 20, 0]) for frame in frames[:20]]
    assert [int(frame.pixels_HWC[20, 20, 0]) for frame in frames[20:40]] == first
    assert source.rate_fps == 30
    assert source.title == "a.mp4"


def test_a_variable_rate_is_kept(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.6, 0.7]
    fake = FakeTime()
    source = FileSource(make_clip(tmp_path / "a.mp4", times_s), clock_ns=fake.clock_ns)
    frames = read(source, fake, 5)
    found = [(frame.captured_ns - frames[0].captured_ns) / S for frame in frames]
    assert found == pytest.approx(times_s, abs=1e-3)


def test_a_machine_that_cannot_keep_up_gets_no_backlog(tmp_path: Path) -> None:
    fake = FakeTime()
    clip = make_clip(tmp_path / "a.mp4", [index / 30 for index in range(20)])
    source = FileSource(clip, clock_ns=fake.clock_ns)
    read(source, fake, 5)
    fake.now_ns += FILE_BEHIND_NS + 2 * S
    before_ns = fake.now_ns
    frames = read(source, fake, 4)
    assert frames[0].captured_ns == before_ns
    assert np.diff([frame.captured_ns for frame in frames]) / S == pytest.approx(1 / 30, abs=2e-3)


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", [0.0, 30.0])
    stop = threading.Event()
    for source in (FileSource(clip), DrawnSource(Size(64, 64), 0.05)):
        stop.clear()
        assert source.read(stop) is not None
        threading.Timer(0.05, stop.set).start()
        assert source.read(stop) is None
        source.close()
        source.close()


def test_the_test_card_moves_counts_and_keeps_its_rate() -> None:
    fake = FakeTime()
    source = DrawnSource(Size(320, 180), 25, clock_ns=fake.clock_ns)
    frames = read(source, fake, 50)
    assert all(frame.size == Size(320, 180) for frame in frames)
    assert np.diff([frame.captured_ns for frame in frames]).tolist() == [S // 25] * 49
    for before, after in zip(frames, frames[1:], strict=False):
        assert not np.array_equal(before.pixels_HWC, after.pixels_HWC)


@pytest.mark.parametrize(
    ("spec", "seen"),
    [
        ("obs:1", "wanted auto, camera:N, file:PATH, testcard or obs"),
        ("nonsense", "wanted auto, camera:N, file:PATH, testcard or obs"),
        ("file:", "wanted auto"),
        ("file:/no/such/clip.mp4", "no such file"),
        ("camera:99", "camera 99"),
        ("camera:/dev/null", "is no camera"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(spec: str, seen: str) -> None:
    with pytest.raises(SourceError, match=seen) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_auto_without_a_camera_is_the_bundled_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "camera_candidates", lambda: ["/dev/null"])
    source = open_source("auto")
    assert source.title in ("bundled clip", "test card")
    source.close()


class Breaking:
    """A source that gives three frames and is lost."""

    title = "breaking"
    size = Size(2, 2)
    rate_fps = 100.0
    closed = False

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._left = 3

    def read(self, stop: threading.Event) -> Frame | None:
        if stop.is_set():
            return None
        if not self._left:
            raise self._error
        self._left -= 1
        return Frame(np.zeros((2, 2, 3), np.uint8), 2 - self._left, time.monotonic_ns())

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [SourceError("camera 0: lost"), RuntimeError("a driver's bug")])
def test_a_lost_source_is_reported_and_opened_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(source_module, "REOPEN_FIRST_S", 0.01)
    monkeypatch.setattr(source_module, "REOPEN_MOST_S", 0.02)
    refused, frames = threading.Event(), []
    attempts = [SourceError("camera 0: still unplugged"), Breaking(error), Breaking(error)]

    def reopen() -> Breaking:
        what = attempts.pop(0) if attempts else SourceError("camera 0: gone for good")
        if not isinstance(what, Breaking):
            refused.set()
            raise what
        return what

    first = Breaking(error)
    thread = SourceThread(first, reopen, frames.append)
    thread.start()
    wait_for(lambda: len(frames) == 9 and "gone for good" in thread.status.message)
    assert thread.status.phase == "failed"
    thread.stop()
    assert first.closed
    assert refused.is_set()
    assert [frame.seq for frame in frames] == list(range(9))


def test_a_running_source_says_what_it_gives() -> None:
    frames: list[Frame] = []
    source = DrawnSource(Size(64, 64), 100)
    thread = SourceThread(source, lambda: source, frames.append)
    assert thread.status.phase == "opening"
    thread.start()
    wait_for(lambda: len(frames) > 2)
    status = thread.status
    thread.stop()
    assert (status.phase, status.size, status.rate_fps) == ("live", Size(64, 64), 100)
    assert status.message == ""


def test_a_silent_source_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "SILENT_AFTER_S", 0.05)
    frames: list[Frame] = []
    quiet = threading.Event()

    class Silent(Breaking):
        def read(self, stop: threading.Event) -> Frame | None:
            if self._left:
                return super().read(stop)
            quiet.set()
            stop.wait(10)
            return None

    thread = SourceThread(Silent(SourceError("")), lambda: Silent(SourceError("")), frames.append)
    thread.start()
    assert quiet.wait(10)
    wait_for(lambda: thread.status.phase == "failed")
    assert "no picture for" in thread.status.message
    thread.stop()


def test_obs_opens_before_there_is_anything_of_it_and_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "run"))
    source = open_source("obs")
    thread = SourceThread(source, lambda: source, lambda frame: None)
    thread.start()
    time.sleep(0.05)
    status = thread.status
    thread.stop()
    assert (status.phase, status.title) == ("opening", "OBS")
    assert "Tools > Scripts" in status.message


def test_a_source_whose_size_changes_says_so() -> None:
    class Growing(Breaking):
        def read(self, stop: threading.Event) -> Frame | None:
            frame = super().read(stop)
            self.size = Size(2, 2 * (3 - self._left))
            return frame

    sizes: list[Size | None] = []
    source = Growing(SourceError("over"))
    thread = SourceThread(source, lambda: source, lambda _: sizes.append(thread.status.size))
    thread.start()
    wait_for(lambda: len(sizes) == 3)
    thread.stop()
    assert sizes == [Size(2, 2), Size(2, 4), Size(2, 6)]
