"""The exchange in a scene: the same place, the original hidden, and everything back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from brushcast_script import libobs, place
from brushcast_script.picture import SOURCE_ID, Shown
from brushcast_script.place import AlreadyThere, Placed, PlaceError
from tests.obs_scripts.conftest import FakeObs

CROP = (10, 20, 30, 40)


@pytest.fixture
def shown(fake: FakeObs, tmp_path: Path) -> Iterator[Shown]:
    made = Shown(fake, lambda: tmp_path / "obs-out")  # type: ignore[arg-type]  # acts like it
    yield made
    made.close()


@pytest.fixture
def scene(fake: FakeObs, monkeypatch: pytest.MonkeyPatch) -> int:
    """A webcam, cropped and turned, between two others."""
    number = fake.add_scene("Scene")
    fake.add_item(number, fake.add_source("Game"))
    webcam = fake.add_source("Webcam", width=1920, height=1080)
    fake.add_item(
        number, webcam, pos=(5.0, 6.0), scale=(0.5, 0.25), rot=7.0, alignment=5, crop=CROP,
        bounds_type=2, bounds_alignment=1, bounds=(300.0, 200.0), scale_filter=3, blending_mode=1,
    )  # fmt: skip
    fake.add_item(number, fake.add_source("Frame"))

    def current() -> int:
        fake.sources[number].references += 1
        return number

    monkeypatch.setattr(libobs, "current_scene", current)
    return number


def names(fake: FakeObs, scene: int) -> list[str]:
    return [fake.sources[fake.items[item].source].name for item in fake.scenes[scene]]


def test_it_takes_the_originals_place(fake: FakeObs, shown: Shown, scene: int) -> None:
    placed = place.put(fake, shown, "Webcam", [])  # type: ignore[arg-type]
    assert names(fake, scene) == ["Game", "Webcam", "Brushcast", "Frame"]
    original, ours = fake.items[placed.original], fake.items[placed.item]
    assert not original.visible
    assert ours.visible
    assert fake.sources[ours.source].kind == SOURCE_ID
    assert fake.sources[ours.source].pushed, "the card is there before the original goes"
    # Painted at 1280x720: two thirds of the original's pixels.
    assert ours.values["scale"] == pytest.approx((0.75, 0.375))
    assert ours.values["crop"] == (7, 13, 20, 27)
    for key in ("pos", "rot", "alignment", "bounds_type", "bounds_alignment", "bounds",
                "scale_filter", "blending_mode"):  # fmt: skip
        assert ours.values[key] == original.values[key], key
    assert {source.references for source in fake.sources.values()} == {0}


def test_undo_restores_the_scene(fake: FakeObs, shown: Shown, scene: int) -> None:
    webcam = fake.scenes[scene][1]
    for visible in (True, False):
        fake.items[webcam].visible = visible
        before = copy.deepcopy((fake.scenes, fake.items))
        placed = place.put(fake, shown, "Webcam", [])  # type: ignore[arg-type]
        assert not fake.items[webcam].visible
        place.undo(fake, placed)  # type: ignore[arg-type]
        assert (fake.scenes, fake.items) == before
        place.undo(fake, placed)  # type: ignore[arg-type]  # twice is no harm


def test_one_source_for_many_scenes_and_once_a_scene(
    fake: FakeObs, shown: Shown, scene: int
) -> None:
    placed = place.put(fake, shown, "Webcam", [])  # type: ignore[arg-type]
    with pytest.raises(AlreadyThere, match="Scene"):
        place.put(fake, shown, "Webcam", [placed])  # type: ignore[arg-type]
    place.put(fake, shown, "Game", [])  # type: ignore[arg-type]
    assert sum(source.kind == SOURCE_ID for source in fake.sources.values()) == 1


def test_somebody_elses_name_is_left_alone(fake: FakeObs, shown: Shown, scene: int) -> None:
    fake.add_source("Brushcast", kind=b"image_source")
    place.put(fake, shown, "Webcam", [])  # type: ignore[arg-type]
    assert "Brushcast 2" in names(fake, scene)


def test_in_a_group(fake: FakeObs, shown: Shown, scene: int) -> None:
    group = fake.add_scene("Group")
    fake.sources[group].kind = b"group"
    fake.add_item(group, fake.add_source("Phone"))
    fake.add_item(scene, group)
    placed = place.put(fake, shown, "Phone", [])  # type: ignore[arg-type]
    assert placed.scene == "Group"
    assert names(fake, group) == ["Phone", "Brushcast"]
    place.undo(fake, placed)  # type: ignore[arg-type]
    assert names(fake, group) == ["Phone"]


def test_what_is_not_there_changes_nothing(fake: FakeObs, shown: Shown, scene: int) -> None:
    before = copy.deepcopy((fake.scenes, fake.items))
    for name in ("Nobody", ""):
        with pytest.raises(PlaceError, match="not in the present scene"):
            place.put(fake, shown, name, [])  # type: ignore[arg-type]
    assert (fake.scenes, fake.items) == before


def test_held_open_and_closed(fake: FakeObs, shown: Shown, scene: int) -> None:
    placed = place.put(fake, shown, "Webcam", [])  # type: ignore[arg-type]
    place.show(fake, placed, raw=True)  # type: ignore[arg-type]
    assert fake.items[placed.original].visible
    assert not fake.items[placed.item].visible
    place.show(fake, placed, raw=False)  # type: ignore[arg-type]
    assert not fake.items[placed.original].visible
    assert fake.items[placed.item].visible


def test_the_number_of_a_deleted_item_is_not_trusted(
    fake: FakeObs, shown: Shown, scene: int
) -> None:
    game, webcam, frame = fake.scenes[scene]
    stale = Placed("Scene", item=frame, original=webcam, was_visible=True)
    assert not place.still_there(fake, stale)  # type: ignore[arg-type]
    place.undo(fake, stale)  # type: ignore[arg-type]
    assert frame in fake.scenes[scene]
    place.show(fake, stale, raw=True)  # type: ignore[arg-type]
    gone = Placed("Nowhere", 1, 2, True)
    assert not place.still_there(fake, gone)  # type: ignore[arg-type]
    assert game in fake.scenes[scene]


def test_what_is_remembered_is_checked() -> None:
    placed = Placed("Scene", 1, 2, True)
    assert Placed.from_json(placed.to_json()) == placed
    for bad in (None, [], {}, {**placed.to_json(), "item": "1"}, {**placed.to_json(), "more": 1}):
        assert Placed.from_json(bad) is None
