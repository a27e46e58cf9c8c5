"""The sink OBS: what the script finds in its ring. The clock is a number."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.obs_rings import obs_lock
from brushcast.obs_sink import KEEP_ALIVE_NS, LOCK_PATIENCE_S, ObsSink
from brushcast.playout import Kind
from brushcast.ring import Form, Ring, RingPicture
from brushcast.sink import make_sink, parse_sink

SIZE = Size(64, 48)
S = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 500 * S

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink(clock: Clock) -> Iterator[ObsSink]:
    made = ObsSink(clock_ns=clock, sleep=clock.sleep)
    yield made
    made.close()


def colour(red: int, green: int, blue: int, size: Size = SIZE) -> Pixels:
    pixels = np.empty((size.height, size.width, 3), np.uint8)
    pixels[:] = (red, green, blue)
    return pixels


def newest(folder: Path) -> RingPicture:
    ring = Ring.attach(folder / "obs-out", Form.I420)
    picture = ring.newest()
    ring.close()
    assert picture is not None
    return picture


def test_the_first_picture_is_there_when_it_is_open(sink: ObsSink, folder: Path) -> None:
    sink.open(SIZE, 30, colour(255, 255, 255))
    picture = newest(folder)
    assert (picture.number, picture.width, picture.height) == (1, 64, 48)
    assert picture.kind is Kind.LIVE
    assert (picture.pixels_HWC[: 64 * 48] == 235).all(), "limited range"


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    # By hand, from the definition: Kr 0.2126, Kb 0.0722; 16 + 219 Y, 128 + 224 C.
    [
        ((255, 0, 0), (62.6, 102.3, 240)),
        ((0, 255, 0), (172.6, 41.7, 26.4)),
        ((0, 0, 255), (31.8, 240, 117.6)),
        ((128, 128, 128), (125.9, 128, 128)),
    ],
)
def test_colours_are_bt709_in_limited_range(
    sink: ObsSink, folder: Path, rgb: tuple[int, int, int], yuv: tuple[float, float, float]
) -> None:
    sink.open(SIZE, 30, colour(*rgb))
    flat = newest(folder).pixels_HWC
    planes = np.split(flat, [64 * 48, 64 * 48 * 5 // 4])
    for plane, wanted in zip(planes, yuv, strict=True):
        assert abs(plane.astype(float) - wanted).max() <= 1


def test_planes_lie_as_i420_says(sink: ObsSink, folder: Path) -> None:
    """Read by somebody else's I420: the same picture, red left and blue right."""
    pixels = colour(200, 40, 40)
    pixels[:, 32:] = (40, 40, 200)
    sink.open(SIZE, 30, pixels)
    flat = newest(folder).pixels_HWC.reshape(-1, 64)
    back = cv2.cvtColor(flat, cv2.COLOR_YUV2RGB_I420)  # BT.601: near enough to tell them apart
    assert back[:, :30, 0].mean() > back[:, :30, 2].mean() + 100
    assert back[:, 34:, 2].mean() > back[:, 34:, 0].mean() + 100


def test_pictures_are_brought_to_the_output_size(sink: ObsSink, folder: Path) -> None:
    sink.open(SIZE, 30, colour(9, 9, 9))
    for size in (Size(32, 24), Size(128, 96), Size(200, 100)):
        sink.write(colour(255, 255, 255, size), 1)
        picture = newest(folder)
        assert (picture.width, picture.height) == (64, 48)
        assert (picture.pixels_HWC[: 64 * 48] >= 234).all()


def test_a_picture_that_does_not_change_is_written_again_before_it_is_stale(
    sink: ObsSink, folder: Path, clock: Clock
) -> None:
    held = colour(50, 60, 70)
    sink.open(SIZE, 30, held)
    first = newest(folder)
    gaps, last_ns = [], first.written_ns
    for tick in range(1, 91):
        clock.now_ns += S // 30
        sink.write(held, tick)
        picture = newest(folder)
        if picture.written_ns != last_ns:
            gaps.append(picture.written_ns - last_ns)
            last_ns = picture.written_ns
    assert np.array_equal(picture.pixels_HWC, first.pixels_HWC)
    assert max(gaps) <= KEEP_ALIVE_NS + S // 30
    assert len(gaps) <= 15, "and not at every tick"


def test_a_new_picture_is_written_at_once(sink: ObsSink, folder: Path, clock: Clock) -> None:
    sink.open(SIZE, 30, colour(0, 0, 0))
    for tick in range(1, 9):
        clock.now_ns += 1000
        sink.write(colour(255, 255, 255), tick)
        picture = newest(folder)
        assert (picture.number, picture.seq, picture.written_ns) == (tick + 1, tick, clock.now_ns)


def test_nothing_is_left_when_it_is_closed(sink: ObsSink, folder: Path) -> None:
    sink.open(SIZE, 30, colour(1, 2, 3))
    assert sorted(os.listdir(folder)) == ["obs-out", "obs-out.lock"]
    sink.close()
    assert not os.listdir(folder)
    sink.close()
    sink.open(Size(32, 32), 30, colour(1, 2, 3))  # switched off and on
    assert newest(folder).height == 32


def test_a_second_run_is_refused_in_one_sentence_and_harms_nothing(
    sink: ObsSink, folder: Path, clock: Clock
) -> None:
    sink.open(SIZE, 30, colour(1, 2, 3))
    second = ObsSink(clock_ns=clock, sleep=clock.sleep)
    before_ns = clock.now_ns
    with pytest.raises(SinkError, match="sink obs: another run of Brushcast") as caught:
        second.open(SIZE, 30, colour(200, 200, 200))
    assert "\n" not in str(caught.value)
    assert clock.now_ns - before_ns <= (LOCK_PATIENCE_S + 1) * S
    second.close()
    sink.write(colour(255, 255, 255), 1)
    assert newest(folder).number == 2
    sink.close()
    second.open(SIZE, 30, colour(200, 200, 200))
    second.close()


def test_a_run_that_is_still_stopping_is_waited_for(folder: Path, clock: Clock) -> None:
    folder.mkdir(mode=0o700)
    stopping = obs_lock(folder)
    assert stopping.acquire()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now_ns > 501 * S:
            stopping.release()

    sink = ObsSink(clock_ns=clock, sleep=sleep)
    sink.open(SIZE, 30, colour(1, 2, 3))
    assert newest(folder).number == 1
    sink.close()


def test_a_ring_that_a_killed_process_left_is_replaced(sink: ObsSink, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "obs-out").write_bytes(struct.pack("<8sI", b"BRUSHRNG", 1))
    sink.open(SIZE, 30, colour(255, 255, 255))
    assert newest(folder).number == 1


def test_a_folder_that_cannot_be_is_one_sentence(sink: ObsSink, folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(SinkError, match="sink obs: runtime folder .*run: File exists"):
        sink.open(SIZE, 30, colour(1, 2, 3))
    folder.unlink()
    sink.open(SIZE, 30, colour(1, 2, 3))


def test_it_is_made_by_its_name() -> None:
    sink = make_sink(parse_sink("obs"))
    assert isinstance(sink, ObsSink)
    assert sink.title == "OBS"
