"""What OBS shows: the product's pictures while they are fresh, else the card, and nothing else."""

from __future__ import annotations

import ctypes as c
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brushcast_script import picture
from brushcast_script.picture import CARD, CARD_SIZE, Shown, _card
from tests.obs_scripts.brushcast_script.test_ring import i420_ring
from tests.obs_scripts.conftest import FakeObs, until

PAINTED = bytes([9]) * 16


@pytest.fixture
def shown(fake: FakeObs, tmp_path: Path) -> Iterator[Shown]:
    made = Shown(fake, lambda: tmp_path / "obs-out")  # type: ignore[arg-type]  # acts like it
    yield made
    made.close()
    assert fake.weak == 0
    assert all(source.references <= 1 for source in fake.sources.values())


def stamp(path: Path, seq: int = 1) -> None:
    """A ring whose newest picture is of this moment."""
    i420_ring(path.with_suffix(".new"), 64, 48, seq=seq)
    data = bytearray(path.with_suffix(".new").read_bytes())
    slot_bytes = int.from_bytes(data[16:24], "little")
    at = 4096 + (seq - 1) % 4 * slot_bytes + 24
    data[at : at + 8] = time.monotonic_ns().to_bytes(8, "little")
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").replace(path)


def test_the_card_from_the_first_moment(fake: FakeObs, shown: Shown) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    until(lambda: fake.sources[number].pushed)
    width, height, start = fake.sources[number].pushed[0]
    assert (width, height) == CARD_SIZE
    assert start == zlib.decompress(CARD.read_bytes())[:16]
    assert not shown.live


def test_fresh_pictures_then_the_card_again(fake: FakeObs, shown: Shown, tmp_path: Path) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    stamp(tmp_path / "obs-out")
    until(lambda: (64, 48, PAINTED) in fake.sources[number].pushed)
    assert (shown.pictures, shown.torn) == (1, 0)
    pushed = len(fake.sources[number].pushed)
    until(lambda: len(fake.sources[number].pushed) > pushed)  # it grew old
    assert fake.sources[number].pushed[-1][2] != PAINTED
    assert not shown.live
    stamp(tmp_path / "obs-out", seq=2)  # another ring: the product came back
    until(lambda: fake.sources[number].pushed[-1][2] == PAINTED)


def test_an_old_picture_is_never_shown(fake: FakeObs, shown: Shown, tmp_path: Path) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    i420_ring(tmp_path / "obs-out", 64, 48)  # written 6 ns after the machine's start
    until(lambda: len(fake.sources[number].pushed) > 1)
    assert all(start != PAINTED for _, _, start in fake.sources[number].pushed)


def test_hidden_is_the_card_whatever_is_painted(
    fake: FakeObs, shown: Shown, tmp_path: Path
) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    stamp(tmp_path / "obs-out")
    until(lambda: shown.pictures == 1)
    shown.hide(True)
    pushed = len(fake.sources[number].pushed)
    stamp(tmp_path / "obs-out", seq=2)
    until(lambda: shown._after == 2)  # it was seen
    until(lambda: len(fake.sources[number].pushed) > pushed)
    assert all(start != PAINTED for _, _, start in fake.sources[number].pushed[pushed:])
    shown.hide(False)
    stamp(tmp_path / "obs-out", seq=3)
    until(lambda: fake.sources[number].pushed[-1][2] == PAINTED)


def test_a_destroyed_source_is_not_pushed_to(fake: FakeObs, shown: Shown) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    assert shown.source() == number
    fake.destroy(number)
    shown.card_now()
    assert shown.source() is None


def test_the_card_is_left_behind(fake: FakeObs, tmp_path: Path) -> None:
    shown = Shown(fake, lambda: tmp_path / "obs-out")  # type: ignore[arg-type]
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    stamp(tmp_path / "obs-out")
    until(lambda: (64, 48, PAINTED) in fake.sources[number].pushed)
    shown.close()
    assert fake.sources[number].pushed[-1][2] != PAINTED


def test_sources_from_before_a_reload_are_found(fake: FakeObs, tmp_path: Path) -> None:
    first = Shown(fake, lambda: tmp_path / "obs-out")  # type: ignore[arg-type]
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    first.close()
    late = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast 2", None, None)
    again = Shown(fake, lambda: tmp_path / "obs-out")  # type: ignore[arg-type]
    for source in (number, late):
        fake.sources[source].pushed.clear()
    again.card_now()
    assert all(fake.sources[source].pushed for source in (number, late))
    again.close()
    assert fake.weak == 0


def test_the_card_takes_the_shape_of_what_will_come(fake: FakeObs, shown: Shown) -> None:
    number = fake.obs_source_create(picture.SOURCE_ID, b"Brushcast", None, None)
    shown.shape(480, 480)
    until(lambda: fake.sources[number].pushed and fake.sources[number].pushed[-1][0] == 480)
    assert fake.sources[number].pushed[-1][1] == 480


@pytest.mark.parametrize("size", [(640, 360), (480, 480), (320, 480), (1280, 720)])
def test_the_card_is_cut_from_its_middle(size: tuple[int, int]) -> None:
    (width, height), (wide, high) = size, CARD_SIZE
    whole = np.frombuffer(zlib.decompress(CARD.read_bytes()), np.uint8)[: wide * high]
    made = np.frombuffer(bytes(_card(size)), np.uint8)
    assert len(made) == width * height * 3 // 2
    luma = made[: width * height].reshape(height, width)
    middle = whole.reshape(high, wide)[high // 2, wide // 2]
    assert abs(int(luma[height // 2, width // 2]) - int(middle)) < 12
    assert abs(luma.mean() - whole.mean()) < 12
    assert c.sizeof(_card(size)) == len(made)


def test_it_is_the_products_own_card() -> None:
    from media.render_obs_card import card_i420

    ours = np.frombuffer(zlib.decompress(CARD.read_bytes()), np.uint8).astype(int)
    assert np.abs(ours - np.frombuffer(card_i420(), np.uint8)).max() <= 2
