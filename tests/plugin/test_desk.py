"""The desk: wishes are visible at once and reach the bridge in order."""

import dataclasses

import cv2
import numpy as np
import pytest

from brushcast.desk import Desk
from brushcast.errors import InputError, PresetError
from brushcast.frame import Size
from brushcast.panel.backend import (
    ChangeLook,
    LookState,
    NoticeSeen,
    ObsState,
    OutputState,
    PanelBackend,
    PanelState,
    Pause,
    PortState,
    ProductState,
    SinkState,
    SourceState,
    SwitchBadge,
    SwitchObsCamera,
    SwitchSink,
    Which,
    WorkerPhase,
    WorkerState,
)
from brushcast.panel.cards import preset_cards
from brushcast.presets import load_presets
from tests.plugin.panel.fake_backend import fake_state


@pytest.fixture
def desk() -> Desk:
    presets = load_presets()
    desk = Desk(presets, presets["ink"])
    desk.post(
        PanelState(
            state=ProductState.LIVE,
            message="",
            worker=WorkerState(state=WorkerPhase.READY),
            look=LookState(preset="ink", prompt="", strength=0.6, seed=7, steps=2),
            presets=preset_cards(presets.values()),
            source=SourceState(spec="testcard", title="Test card", state=PortState.LIVE),
            sinks=(SinkState(id="null", title="Null", kind="null", on=True, state=PortState.LIVE),),
            output=OutputState(size=Size(1280, 720), fps=30),
            version="0",
        )
    )
    return desk


def test_it_is_what_the_panel_expects(desk: Desk) -> None:
    backend: PanelBackend = desk
    assert backend.snapshot().look.preset == "ink"


def test_a_wish_is_visible_at_once_and_taken_once(desk: Desk) -> None:
    desk.request(ChangeLook(preset="neon", strength=0.9))
    look = desk.snapshot().look
    assert (look.preset, look.strength, look.applied) == ("neon", 0.9, False)
    assert "neon" in desk.look.prompt
    assert desk.take_changes() == [ChangeLook(preset="neon", strength=0.9)]
    assert desk.take_changes() == []
    assert desk.snapshot().look.applied


def test_going_back_is_seen_at_once_and_gives_way_to_a_newer_wish(desk: Desk) -> None:
    ink = desk.look
    desk.request(ChangeLook(preset="neon"))
    desk.take_changes()
    desk.go_back(ink)
    assert desk.snapshot().look.preset == "ink"
    assert desk.take_changes() == [], "nobody asked for it"
    desk.request(ChangeLook(preset="oil"))
    desk.go_back(ink)
    assert desk.look.name == "oil"


def test_a_wish_that_cannot_be_leaves_everything_as_it_was(desk: Desk) -> None:
    with pytest.raises(PresetError, match="unknown preset"):
        desk.request(ChangeLook(preset="absent"))
    with pytest.raises(PresetError, match="strength"):
        desk.request(ChangeLook(strength=7.0))
    with pytest.raises(InputError, match="unknown sink 'zoom'"):
        desk.request(SwitchSink(id="zoom", on=True))
    assert desk.snapshot().look.preset == "ink"
    assert desk.take_changes() == []


def test_the_camera_of_obs_wants_obs(desk: Desk) -> None:
    with pytest.raises(InputError, match="websocket server is not there"):
        desk.request(SwitchObsCamera(on=True))
    state = desk.snapshot()
    desk.post(dataclasses.replace(state, obs=ObsState(message="it is off")))
    with pytest.raises(InputError, match="OBS's camera cannot be switched: it is off"):
        desk.request(SwitchObsCamera(on=False))
    assert desk.take_changes() == []
    desk.post(dataclasses.replace(state, obs=ObsState(connected=True)))
    desk.request(SwitchObsCamera(on=True))
    assert desk.take_changes() == [SwitchObsCamera(on=True)]


def test_pausing_is_seen_by_both_sides(desk: Desk) -> None:
    desk.request(Pause(on=True))
    assert desk.paused
    assert desk.snapshot().paused


def test_a_preview_is_encoded_once_per_picture(desk: Desk) -> None:
    assert desk.preview("after") is None
    desk.show("after", np.full((720, 1280, 3), (200, 30, 60), np.uint8), 1)
    preview = desk.preview("after")
    assert preview is not None
    assert desk.preview("after") is preview
    decoded = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (360, 640, 3)
    assert np.abs(decoded[180, 320, ::-1].astype(int) - (200, 30, 60)).max() < 6


def test_a_preset_that_came_later_may_be_asked_for_and_one_that_went_may_not(desk: Desk) -> None:
    presets = load_presets()
    presets["mine"] = dataclasses.replace(presets["ink"], name="mine", prompt="soft chalk")
    del presets["ink"]
    desk.presets_changed(presets)
    assert desk.look.name == "ink", "what is shown stays"
    desk.request(ChangeLook(preset="mine"))
    assert desk.look.prompt == "soft chalk"
    with pytest.raises(PresetError, match="unknown preset 'ink'"):
        desk.request(ChangeLook(preset="ink"))


def test_painted_previews_say_ai_until_it_is_switched_off(desk: Desk) -> None:
    white = np.full((720, 1280, 3), 255, np.uint8)
    white.setflags(write=False)
    darkest = []

    def look(which: Which) -> None:
        preview = desk.preview(which)
        assert preview is not None
        pixels = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        darkest.append(int(pixels[:180, :320].min()))

    desk.show("before", white, 1)
    look("before")
    desk.show("after", white, 1)  # the card
    look("after")
    desk.show("after", white, 2, painted=True)
    look("after")
    assert desk.snapshot().badge
    desk.request(SwitchBadge(on=False))
    assert not desk.snapshot().badge
    look("after")  # the same picture
    assert [level < 150 for level in darkest] == [False, False, True, False]
    assert desk.take_changes() == [SwitchBadge(on=False)]


def test_the_notice_is_there_until_it_was_read() -> None:
    presets = load_presets()
    desk = Desk(presets, presets["ink"], notice=True)
    desk.post(fake_state())
    assert desk.snapshot().notice
    desk.request(NoticeSeen())
    assert not desk.snapshot().notice
