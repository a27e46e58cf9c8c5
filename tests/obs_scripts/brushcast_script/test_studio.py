"""What the buttons and hotkeys mean, with an OBS and a product that are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from brushcast_script import libobs, studio
from brushcast_script.product import ProductState, Wanted
from brushcast_script.studio import Settings, Studio
from brushcast_script.words import Words
from tests.obs_scripts.conftest import FakeObs, until

WORDS = Words("en-US")
SHOWN = {
    "paused": False,
    "look": {"preset": "ink", "strength": 0.95},
    "presets": [{"name": name, "title": name.title()} for name in ("ink", "oil", "neon")],
}


class FakeProduct:
    def __init__(self, runtime: Any) -> None:
        self.state = ProductState("running", "Live.", SHOWN)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.wanted: Wanted | None = None

    def want(self, wanted: Wanted | None) -> None:
        self.wanted = wanted

    def tell(self, path: str, body: dict[str, Any]) -> None:
        self.told.append((path, body))

    def try_again(self) -> None: ...

    def close(self) -> None:
        self.wanted = None


@pytest.fixture
def made(fake: FakeObs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setattr(studio, "Product", FakeProduct)
    libobs.KEPT.pop("look", None)
    scene = fake.add_scene("Scene")
    fake.add_item(scene, fake.add_source("Webcam"))

    def current() -> int:
        fake.sources[scene].references += 1
        return scene

    monkeypatch.setattr(libobs, "current_scene", current)
    built = Studio(fake)  # type: ignore[arg-type]  # acts like it
    yield built
    built.close()


def told(made: Studio) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = made.product.told  # type: ignore[attr-defined]
    return found


def test_a_chosen_source_is_captured_and_the_product_wanted_in_its_shape(made: Studio) -> None:
    made.apply(Settings(source="Webcam", preset="oil", camera=True))
    until(lambda: made.product.wanted == Wanted("oil", 640, 480, 30, True))  # type: ignore[attr-defined]
    until(lambda: ("look", {"preset": "oil"}) in told(made))
    assert made.shown.size == (640, 480)
    made.stop()
    until(lambda: made.product.wanted is None)  # type: ignore[attr-defined]
    until(lambda: made.tap.state.phase == "off")


def test_what_a_hotkey_chose_outlives_a_reload_and_the_product(made: Studio, fake: FakeObs) -> None:
    made.apply(Settings(source="Webcam", preset="oil"))
    until(lambda: ("look", {"preset": "oil"}) in told(made))
    until(lambda: made._look == ("ink", 0.95))  # chosen meanwhile
    made.product.state = ProductState("starting")
    until(lambda: made._to_tell)
    assert made.product.wanted.preset == "ink"  # type: ignore[attr-defined]
    made.product.state = ProductState("running", "Live.", SHOWN)
    until(lambda: told(made)[-1] == ("look", {"preset": "ink", "strength": 0.95}))
    made.close()
    again = Studio(fake)  # type: ignore[arg-type]
    again.apply(Settings(source="Webcam", preset="oil"))
    until(lambda: again.product.wanted == Wanted("ink", 640, 480, 30))  # type: ignore[attr-defined]
    assert told(again) == []
    again.apply(Settings(source="Webcam", preset="neon"))  # the page has the last word
    until(lambda: told(again) == [("look", {"preset": "neon"})])
    again.close()


def test_the_product_does_not_wait_for_a_source_whose_size_is_remembered(made: Studio) -> None:
    made.apply(Settings(source="Webcam"))
    until(lambda: made.captured() == {"source": "Webcam", "width": 640, "height": 480})
    made.remember([], {"source": "Later", "width": 64, "height": 48})
    made.apply(Settings(source="Later"))
    until(lambda: made.product.wanted == Wanted("ink", 64, 48, 30))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "captured",
    ["64x48", {"source": "Later"}, {"source": "Later", "width": "64", "height": 48},
     {"source": "Later", "width": 64, "height": 1 << 20}],
)  # fmt: skip
def test_a_remembered_size_that_is_none_is_let_be(made: Studio, captured: Any) -> None:
    made.remember([], captured)
    assert made.captured() == {}


def test_it_does_not_start_by_itself_where_that_is_not_wanted(made: Studio) -> None:
    made.apply(Settings(source="Webcam", on=False))
    assert not made.running
    assert made.start()
    until(lambda: made.tap.state.phase == "live")
    made.apply(Settings(source="", on=False))
    assert not made.start()


def test_looks_by_number_and_in_turn(made: Studio) -> None:
    made.preset(2)
    made.preset(9)  # there are three
    made.step_preset(1)
    made.step_preset(-1)
    made.stronger(0.1)
    made.stronger(-0.1)
    assert told(made) == [
        ("look", {"preset": "oil"}),
        ("look", {"preset": "oil"}),
        ("look", {"preset": "neon"}),
        ("look", {"strength": 1.0}),
        ("look", {"strength": 0.85}),
    ]


def test_panic_is_the_card_at_once_and_everywhere(made: Studio, fake: FakeObs) -> None:
    made.apply(Settings(source="Webcam", allow_raw=True))
    made.put(WORDS)
    made.show_raw(True)
    assert made.raw
    made.panic()
    assert made.shown.hidden
    assert not made.raw
    assert ("control", {"action": "pause"}) in told(made)
    made.show_raw(True)
    assert not made.raw, "not while the card is wanted"
    assert any("card is shown" in sentence for sentence in made.sentences(WORDS))
    made.panic()
    assert not made.shown.hidden
    assert told(made)[-1] == ("control", {"action": "resume"})


def test_the_untouched_source_only_where_it_is_allowed(made: Studio, fake: FakeObs) -> None:
    made.apply(Settings(source="Webcam"))
    made.put(WORDS)
    original = fake.items[made.placed[0].original]
    made.show_raw(True)
    assert not original.visible
    made.apply(Settings(source="Webcam", allow_raw=True))
    made.show_raw(True)
    assert original.visible
    assert any("untouched source is shown" in sentence for sentence in made.sentences(WORDS))
    made.apply(Settings(source="Webcam"))  # taken back while it is held
    assert not original.visible
    made.show_raw(False)
    assert not original.visible


def test_put_undo_and_what_is_said(made: Studio, fake: FakeObs) -> None:
    assert made.undo(WORDS) == "There is nothing to put back."
    made.apply(Settings(source="Webcam"))
    assert made.put(WORDS) == "The picture is in the scene Scene."
    assert made.put(WORDS) == "The picture is in the scene Scene already."
    remembered = [placed.to_json() for placed in made.placed]
    made.placed = []
    made.remember([*remembered, "nonsense"])
    assert made.undo(WORDS) == "The original is back."
    assert len(fake.items) == 1 or all(item.visible for item in fake.items.values())
    made.apply(Settings(source="Nobody"))
    assert "not in the present scene" in made.put(WORDS)


def test_how_things_are(made: Studio) -> None:
    made.apply(Settings(source="Webcam"))
    until(lambda: "Webcam, 640x480." in made.sentences(WORDS))
    assert made.sentences(Words("zh-CN"))[0] == "直播中。"
    gap = "The output stood still for more than 100 ms: close what else uses the processor."
    shown = {**SHOWN, "alerts": [{"name": "gap", "level": "warning", "message": gap}]}
    made.product.state = ProductState("running", "Live.", shown)
    assert made.sentences(WORDS)[-1] == gap
    assert "100 毫秒" in made.sentences(Words("zh-CN"))[-1]
    made.product.state = ProductState("failed", "no camera", shown)
    assert gap not in made.sentences(WORDS)
    assert made.sentences(WORDS)[0] == "It does not run: no camera"


def test_a_renamed_source_stays_chosen(made: Studio, fake: FakeObs) -> None:
    made.apply(Settings(source="Webcam"))
    until(lambda: made.tap.state.phase == "live")
    next(s for s in fake.sources.values() if s.name == "Webcam").name = "Camera"
    until(lambda: made.settings.source == "Camera")
    made.capture()
    until(lambda: made.tap.state.source == "Camera" and made.tap.state.phase == "live")
