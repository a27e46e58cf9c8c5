"""The sound's offset: the rule, and that what was found comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ConfigError, ObsError, ObsRequestError
from brushcast.obs_sound import SoundKeeper, SoundOffset, SoundRecord

S = 1_000_000_000


class Rule:
    """A rule that is asked once a second, and obeyed."""

    def __init__(self, original_ms: int = 0) -> None:
        self.offset_ms = original_ms
        self.changes: list[tuple[int, int]] = []
        self.now_s = 0
        self._rule = SoundOffset(original_ms)

    def run(self, seconds: int, delay_ms: Callable[[int], float | None]) -> Rule:
        for _ in range(seconds):
            self.now_s += 1
            set_ms = self._rule.decide(self.offset_ms, delay_ms(self.now_s), self.now_s * S)
            if set_ms is not None:
                self.offset_ms = set_ms
                self.changes.append((self.now_s, set_ms))
        return self


def test_the_offset_follows_the_delay_after_five_seconds() -> None:
    assert Rule().run(60, lambda now_s: 180).changes == [(6, 180)]


def test_the_users_own_offset_is_kept_below_it() -> None:
    assert Rule(-100).run(10, lambda now_s: 180).offset_ms == 80
    assert Rule(250).run(10, lambda now_s: 180).offset_ms == 430


def test_forty_milliseconds_are_not_worth_a_change() -> None:
    assert Rule().run(60, lambda now_s: 40).changes == []
    assert Rule().run(60, lambda now_s: 41).changes == [(6, 41)]


def test_what_does_not_last_five_seconds_changes_nothing() -> None:
    rule = Rule().run(10, lambda now_s: 180)
    rule.run(300, lambda now_s: 400 if now_s % 7 < 5 else 180)
    assert rule.changes == [(6, 180)]


def test_a_delay_that_wanders_is_followed_every_ten_seconds_at_most() -> None:
    rule = Rule().run(600, lambda now_s: 100 + 25 * now_s)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(rule.changes)]
    assert len(gaps) > 40
    assert min(gaps) >= 10


def test_the_median_of_the_last_seconds_counts_not_the_last_one() -> None:
    rule = Rule().run(6, lambda now_s: 9000 if now_s == 6 else 200)
    assert rule.changes == [(6, 200)]


def test_obs_s_limits_are_kept() -> None:
    assert Rule().run(20, lambda now_s: 1e12).offset_ms == 20_000
    assert Rule(19_900).run(20, lambda now_s: 500).offset_ms == 20_000
    assert Rule(100).run(20, lambda now_s: -5000.0).changes == [], "never below the user's own"


def test_no_picture_no_change() -> None:
    assert Rule().run(60, lambda now_s: None).changes == []
    rule = Rule().run(10, lambda now_s: 180)
    assert rule.run(60, lambda now_s: None).offset_ms == 180


def test_a_moment_without_a_picture_is_waited_out_and_a_long_one_begins_anew() -> None:
    assert Rule().run(10, lambda now_s: None if now_s == 3 else 180).changes == [(6, 180)]
    assert Rule().run(20, lambda now_s: None if 3 <= now_s < 8 else 180).changes == [(13, 180)]


class Obs:
    """OBS as far as sound goes."""

    def __init__(self) -> None:
        self.offsets_ms = {"lab": {"Mic": 20, "Music": 0}}
        self.collection = "lab"
        self.broken = False
        self.dies_after_setting = False
        self.asked: list[str] = []

    def ask(self, request: str, data: Any = None) -> dict[str, Any]:
        if self.broken:
            raise ObsError("gone")
        self.asked.append(request)
        if request == "GetSceneCollectionList":
            return {"currentSceneCollectionName": self.collection}
        inputs = self.offsets_ms[self.collection]
        if data["inputName"] not in inputs:
            raise ObsRequestError("no such input", code=600)
        if request == "SetInputAudioSyncOffset":
            inputs[data["inputName"]] = data["inputAudioSyncOffset"]
            if self.dies_after_setting:
                raise ObsError("gone before it answered")
        return {"inputAudioSyncOffset": inputs[data["inputName"]]}


class Stage:
    """A keeper and its OBS; `restart` is the product started again after a crash."""

    def __init__(self, path: Path, name: str = "Mic") -> None:
        self.obs = Obs()
        self.path = path / "kept" / "obs-audio.json"
        self.now_s = 0
        self.messages: list[str] = []
        self.restart(name)

    def restart(self, name: str) -> None:
        self.keeper = SoundKeeper(name, SoundRecord(self.path))

    def run(self, seconds: int = 12, delay_ms: float | None = 180) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.messages.append(self.keeper.tick(self.obs, delay_ms, self.now_s * S))

    @property
    def mic_ms(self) -> int:
        return self.obs.offsets_ms["lab"]["Mic"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_it_follows_and_gives_back(stage: Stage) -> None:
    stage.run()
    assert stage.mic_ms == 200
    assert stage.path.stat().st_mode & 0o777 == 0o600
    stage.keeper.restore(stage.obs)
    assert stage.obs.offsets_ms == {"lab": {"Mic": 20, "Music": 0}}
    assert not stage.path.exists()
    assert set(stage.messages) == {""}


def test_without_an_input_nothing_is_asked_and_nothing_is_written(tmp_path: Path) -> None:
    stage = Stage(tmp_path, name="")
    stage.run()
    stage.keeper.restore(stage.obs)
    assert stage.obs.asked == []
    assert not stage.path.parent.exists()


@pytest.mark.parametrize("name", ["", "Music", "Mic"])
def test_after_a_crash_the_next_start_gives_back(stage: Stage, name: str) -> None:
    stage.run()
    stage.restart(name)
    stage.run()
    if name == "Mic":
        assert stage.mic_ms == 200, "followed on, from the user's own 20 and not from ours"
    else:
        assert stage.mic_ms == 20
    stage.keeper.restore(stage.obs)
    assert stage.obs.offsets_ms == {"lab": {"Mic": 20, "Music": 0}}
    assert not stage.path.exists()


@pytest.mark.parametrize("done", [False, True])
def test_a_crash_in_the_middle_of_a_change_is_covered(stage: Stage, done: bool) -> None:
    """OBS did what was asked, or not, and nobody heard of it."""
    stage.run()
    stage.run(3, 500)
    stage.obs.dies_after_setting = True
    with pytest.raises(ObsError):
        stage.run(20, 500)
    assert stage.mic_ms == 520
    stage.obs.dies_after_setting = False
    if not done:
        stage.obs.offsets_ms["lab"]["Mic"] = 200
    stage.restart("")
    stage.run(1)
    assert stage.mic_ms == 20


def test_a_lost_connection_is_taken_up_again(stage: Stage) -> None:
    stage.run()
    stage.obs.broken = True
    with pytest.raises(ObsError):
        stage.run()
    with pytest.raises(ObsError):
        stage.keeper.restore(stage.obs)
    stage.keeper.lost()
    stage.obs.broken = False
    stage.run(delay_ms=400)
    assert stage.mic_ms == 420
    stage.keeper.restore(stage.obs)
    assert stage.mic_ms == 20


def test_an_obs_that_comes_back_without_what_was_set_is_followed_anew(stage: Stage) -> None:
    """It crashed before it saved its scene collection."""
    stage.run()
    stage.keeper.lost()
    stage.obs.offsets_ms["lab"]["Mic"] = 20
    stage.run()
    assert stage.mic_ms == 200
    assert stage.messages[-1] == ""


def test_what_the_user_sets_by_hand_is_his(stage: Stage) -> None:
    stage.run()
    stage.obs.offsets_ms["lab"]["Mic"] = 150
    stage.run(60)
    assert stage.mic_ms == 150
    assert "left alone" in stage.messages[-1]
    stage.keeper.restore(stage.obs)
    assert stage.mic_ms == 150
    assert not stage.path.exists()


def test_what_the_user_sets_before_we_did_is_the_original(stage: Stage) -> None:
    stage.run(3)
    stage.obs.offsets_ms["lab"]["Mic"] = -50
    stage.run()
    assert stage.mic_ms == 130
    stage.keeper.restore(stage.obs)
    assert stage.mic_ms == -50


def test_what_the_user_set_after_a_crash_is_his(stage: Stage) -> None:
    stage.run()
    stage.obs.offsets_ms["lab"]["Mic"] = 77
    stage.restart("Mic")
    stage.run(1, None)
    assert not stage.path.exists()
    stage.keeper.restore(stage.obs)
    assert stage.mic_ms == 77


def test_each_scene_collection_has_its_own(stage: Stage) -> None:
    stage.obs.offsets_ms["show"] = {"Mic": -300}
    stage.run()
    stage.obs.collection = "show"
    stage.run()
    assert stage.obs.offsets_ms == {"lab": {"Mic": 200, "Music": 0}, "show": {"Mic": -120}}
    stage.keeper.restore(stage.obs)
    assert stage.obs.offsets_ms["show"]["Mic"] == -300
    assert stage.mic_ms == 200, "OBS can change the present collection alone"
    stage.restart("")
    stage.obs.collection = "lab"
    stage.run(1)
    assert stage.mic_ms == 20


def test_an_input_that_is_not_there_is_named_and_waited_for(stage: Stage) -> None:
    del stage.obs.offsets_ms["lab"]["Mic"]
    stage.run()
    assert stage.messages[-1] == "--obs-audio 'Mic': OBS has no input of this name"
    stage.obs.offsets_ms["lab"]["Mic"] = 0
    stage.run()
    assert stage.mic_ms == 180
    assert stage.messages[-1] == ""


def test_an_input_that_is_gone_is_given_back_when_it_returns(stage: Stage) -> None:
    stage.run()
    mic = stage.obs.offsets_ms["lab"].pop("Mic")
    stage.restart("")
    stage.run(1)
    assert stage.path.exists()
    stage.obs.offsets_ms["lab"]["Mic"] = mic
    stage.restart("")
    stage.run(1)
    assert stage.mic_ms == 20


def test_what_cannot_be_remembered_is_not_changed(stage: Stage) -> None:
    stage.path.parent.write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"obs-audio\.json cannot be written"):
        stage.run()
    assert stage.mic_ms == 20


@pytest.mark.parametrize("value", [None, "20", 10**12, float("inf"), True])
def test_an_offset_that_is_none_ends_the_connection(stage: Stage, value: Any) -> None:
    stage.obs.offsets_ms["lab"]["Mic"] = value
    with pytest.raises(ObsError, match="inputAudioSyncOffset"):
        stage.run()


ROW = {"collection": "lab", "input": "Mic", "original_ms": 20, "ours_ms": [200]}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '{"format": 1}', '{"changed": {}}', '{"changed": 7}',
        '{"changed": [7]}', '{"changed": [{}]}',
        *(json.dumps({"changed": [{**ROW, **wrong}]}) for wrong in (
            {"collection": 1}, {"input": None}, {"original_ms": "20"}, {"original_ms": 1e3},
            {"original_ms": 10**10}, {"ours_ms": 200}, {"ours_ms": [True]}, {"ours_ms": ["x"]},
        )),
    ],
)  # fmt: skip
def test_a_record_that_is_none_of_ours_is_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "obs-audio.json"
    path.write_text(text)
    assert SoundRecord(path).entries == ()


def test_the_record_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "obs-audio.json"
    path.write_text(json.dumps({"changed": [{**ROW, "input": str(n)} for n in range(1000)]}))
    assert len(SoundRecord(path).entries) == 32
