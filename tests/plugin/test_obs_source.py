"""The source OBS, with a ring that the test writes and a clock that is a number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brushcast.errors import SourceError
from brushcast.frame import Size
from brushcast.obs_source import POLL_S, SEEK_S, ObsSource
from brushcast.playout import Kind
from brushcast.ring import Form, Ring

S = 1_000_000_000
SIZE = Size(64, 48)


class FakeTime(threading.Event):
    """A clock, and a stop event whose waits make it go on; what is planned happens on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1000 * S
        self.waits: list[float] = []
        self.plans: list[tuple[int, object]] = []

    def clock_ns(self) -> int:
        return self.now_ns

    def at(self, seconds: float, do: object) -> None:
        self.plans.append((1000 * S + round(seconds * S), do))

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now_ns += round(timeout * S)
        for plan in [plan for plan in self.plans if plan[0] <= self.now_ns]:
            self.plans.remove(plan)
            plan[1]()  # type: ignore[operator]
        return self.is_set()


class Obs:
    """The script's side."""

    def __init__(self, path: Path, time: FakeTime) -> None:
        self.path, self.time = path, time
        self.ring: Ring | None = None
        self.source = ObsSource(path, Size(1280, 720), 30.0, clock_ns=time.clock_ns)

    def start(self, size: Size = SIZE) -> None:
        if self.ring is not None:
            self.ring.close()
        self.ring = Ring.create(size, self.path, Form.BGRA)

    def push(self, value: int, age_s: float = 0.0, shape: tuple[int, int] = (48, 64)) -> None:
        """A picture with `value` as its blue; its alpha means nothing."""
        assert self.ring is not None
        pixels = np.empty((*shape, 4), np.uint8)
        pixels[:] = (value, 10, 200, 77)
        then = self.time.now_ns - round(age_s * S)
        self.ring.write(pixels, Kind.LIVE, seq=5, captured_ns=then, now_ns=then)

    def read(self) -> tuple[int, Size, int]:
        """(blue, size, captured) of the next picture."""
        frame = self.source.read(self.time)
        assert frame is not None
        assert (frame.pixels_HWC[..., :2] == (200, 10)).all()
        assert np.ptp(frame.pixels_HWC[..., 2]) == 0
        return int(frame.pixels_HWC[0, 0, 2]), frame.size, frame.captured_ns


@pytest.fixture
def fake() -> FakeTime:
    return FakeTime()


@pytest.fixture
def obs(tmp_path: Path, fake: FakeTime) -> Iterator[Obs]:
    made = Obs(tmp_path / "obs-in", fake)
    yield made
    made.source.close()
    if made.ring is not None:
        made.ring.close()


def test_pictures_come_as_rgb_with_the_time_that_obs_gave_them(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    obs.push(1, age_s=0.004)
    assert obs.read() == (1, SIZE, fake.now_ns - 4_000_000)
    assert obs.source.size == SIZE
    obs.push(2)
    assert obs.read()[0] == 2
    fake.at(0.5, lambda: obs.push(3))
    assert obs.read()[0] == 3
    assert fake.now_ns - 1000.5 * S <= POLL_S * S, "noticed within one look"


def test_seqs_rise_and_no_picture_comes_twice(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    seqs = []
    for value in range(5):
        obs.push(value)
        frame = obs.source.read(fake)
        assert frame is not None
        seqs.append(frame.seq)
    fake.at(0.1, fake.set)
    assert obs.source.read(fake) is None
    assert seqs == [0, 1, 2, 3, 4]


def test_at_the_start_it_waits_for_the_ring_as_long_as_need_be(obs: Obs, fake: FakeTime) -> None:
    fake.at(3600, obs.start)
    fake.at(3601, lambda: obs.push(9))
    assert obs.read()[0] == 9
    assert sum(fake.waits[:-1]) < 3601
    assert min(fake.waits[:60_000]) == SEEK_S, "an hour of waiting is cheap"


def test_a_pause_is_one_sentence_and_the_end_of_it_is_a_picture(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    obs.push(1)
    obs.read()
    before_ns = fake.now_ns
    with pytest.raises(SourceError, match="OBS sends no picture: the last one came 1 s ago") as got:
        obs.source.read(fake)
    assert "\n" not in str(got.value)
    assert 1.0 <= (fake.now_ns - before_ns) / S < 1.1
    obs.source.close()
    again = ObsSource(obs.path, SIZE, 30.0, clock_ns=fake.clock_ns)
    obs.source = again
    fake.at(60, lambda: obs.push(4))
    assert obs.read()[0] == 4, "the old picture did not come again"


def test_a_ring_that_is_replaced_is_found_and_may_have_another_size(
    obs: Obs, fake: FakeTime
) -> None:
    obs.start()
    for value in range(7):
        obs.push(value)
        obs.read()
    fake.at(0.2, lambda: obs.start(Size(128, 96)))
    fake.at(0.3, lambda: obs.push(99, shape=(96, 128)))
    assert obs.read()[:2] == (99, Size(128, 96))
    assert obs.source.size == Size(128, 96)


def test_a_ring_that_goes_away_is_told_as_such_and_found_again(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    obs.push(1)
    obs.read()
    obs.path.unlink()
    with pytest.raises(SourceError, match="OBS sends no picture: it closed its side"):
        obs.source.read(fake)
    obs.source.close()
    obs.source = ObsSource(obs.path, SIZE, 30.0, clock_ns=fake.clock_ns)
    obs.start()
    obs.push(2)
    assert obs.read()[0] == 2


@pytest.mark.parametrize("age_s", [1.5, 3600, -5], ids=["old", "older", "of another boot"])
def test_what_a_dead_obs_left_is_not_shown(obs: Obs, fake: FakeTime, age_s: float) -> None:
    obs.start()
    obs.push(1, age_s=age_s)
    fake.at(2, lambda: obs.push(2))
    assert obs.read()[0] == 2


def test_a_time_of_the_future_is_no_time_of_capture(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    obs.push(1, age_s=-0.5)
    assert obs.read() == (1, SIZE, fake.now_ns)


def test_what_is_no_ring_is_told_but_not_at_once(obs: Obs, fake: FakeTime) -> None:
    obs.path.write_bytes(b"\0" * 8192)  # the script fills its header last
    fake.at(0.5, obs.start)
    fake.at(0.6, lambda: obs.push(1))
    assert obs.read()[0] == 1
    assert obs.ring is not None
    obs.path.write_bytes(b"something else")
    obs.source.close()
    obs.source = ObsSource(obs.path, SIZE, 30.0, clock_ns=fake.clock_ns)
    with pytest.raises(SourceError, match="OBS sends no picture: picture ring .* is too short"):
        obs.source.read(fake)


def test_odd_sizes_lose_their_last_row_and_column(obs: Obs, fake: FakeTime) -> None:
    obs.start()
    obs.push(1, shape=(47, 63))
    assert obs.read()[1] == Size(62, 46)
    obs.push(2, shape=(1, 1))
    with pytest.raises(SourceError, match="wanted at least 2x2 pixels, saw 1x1"):
        obs.source.read(fake)


def test_frames_are_the_readers_own(obs: Obs, fake: FakeTime) -> None:
    """The memory that a picture is copied into first is used again; a Frame's is not."""
    obs.start()
    obs.push(1)
    first = obs.source.read(fake)
    obs.push(2)
    second = obs.source.read(fake)
    assert first is not None
    assert second is not None
    assert (first.pixels_HWC[..., 2] == 1).all()
    assert (second.pixels_HWC[..., 2] == 2).all()


def test_a_stop_ends_the_wait(obs: Obs, fake: FakeTime) -> None:
    fake.at(0.3, fake.set)
    assert obs.source.read(fake) is None
