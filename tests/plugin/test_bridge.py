"""The bridge against a worker of the test's own, over real sockets and a real ring.

The source is saturated red and blue, the painter returns grey: one coloured pixel in the ring is a
raw pixel that leaked.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import brushcast.bridge as module
from brushcast import poison
from brushcast.bridge import Bridge
from brushcast.config import BridgeConfig
from brushcast.frame import Frame, Pixels, Size, model_size
from brushcast.link_rate import CodecWish
from brushcast.notice import Notice
from brushcast.panel.backend import (
    ChangeLook,
    NoticeSeen,
    ObsState,
    Pause,
    SwitchBadge,
    SwitchMode,
    SwitchObsCamera,
)
from brushcast.playout import Kind, Shown
from brushcast.ring import Ring
from brushcast.wire.messages import WorkerStatus
from tests.plugin.grey_worker import GreyWorker

SECOND_NS = 1_000_000_000
OUTPUT = Size(320, 180)
MODEL = Size(128, 80)


class ColourSource:
    """Saturated pictures at 30 per second."""

    title, size, rate_fps = "colours", OUTPUT, 30.0

    def __init__(self) -> None:
        self._seq = 0

    def read(self, stop: threading.Event) -> Frame | None:
        if stop.wait(1 / 30):
            return None
        pixels = np.zeros((OUTPUT.height, OUTPUT.width, 3), np.uint8)
        pixels[:, :160, 0] = pixels[:, 160:, 2] = 250
        self._seq += 1
        return Frame(pixels, self._seq, time.monotonic_ns())

    def close(self) -> None:
        pass


class Stage:
    """A bridge that runs, and everything that it said and showed."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        endpoint: str,
        *,
        fixed_size: bool = True,
        remote: bool = False,
        codec: CodecWish = "auto",
        user_presets: Path | None = None,
        user_folder: str = "",
        **preferred: Any,
    ) -> None:
        self.notice = Notice(Path(user_folder) if user_folder else None)
        monkeypatch.setattr(module, "open_source", lambda *_: ColourSource())
        self.said: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(module, "say", lambda event, **data: self.said.append((event, data)))
        self.ring = Ring.create(OUTPUT)
        config = BridgeConfig(
            source="colours", preset="ink", endpoint="", remote=remote, ring=str(self.ring.path),
            panel=None, panel_token="", output_size=OUTPUT, model_size=MODEL, rate_fps=30,
            fit="crop", steps=0, user_presets=str(user_presets or ""), fixed_size=fixed_size,
            user_folder=user_folder, codec=codec, **preferred,
        )  # fmt: skip
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.bridge = Bridge(config, self.messages)
        self.kinds: list[Kind] = []
        self.leaked = False
        self._thread = threading.Thread(target=self.bridge.run, name="bridge")
        self._thread.start()
        self.worker_is("STARTING", "")
        self.worker_is("READY", endpoint)

    def worker_is(self, state: str, endpoint: str) -> None:
        message = {"command": "worker", "state": state, "endpoint": endpoint, "message": ""}
        self.messages.put(message)

    def watch(self, until: Callable[[], bool], seconds: float = 8.0) -> bool:
        """Look at the ring all the time until something is true; False when it never was."""
        ends, number = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            picture = self.ring.newest(number)
            if picture is not None:
                number = picture.number
                self.kinds.append(picture.kind)
                styled = picture.kind in (Kind.LIVE, Kind.HELD)
                self.leaked = self.leaked or (styled and saturation(picture.pixels_HWC) > 100)
            if until():
                return True
            time.sleep(0.005)
        return False

    def figures(self) -> dict[str, Any]:
        return self.bridge._board.statistics()

    def stop(self) -> None:
        self.messages.put(None)
        self._thread.join(10)

    def close(self) -> None:
        self.stop()
        self.ring.close()
        self.ring.unlink()


def saturation(pixels_HWC: Pixels) -> float:
    """Mean spread of the channels: 0 for grey, 250 for the source."""
    return float(np.ptp(pixels_HWC, axis=2).mean())


@pytest.fixture
def worker() -> Iterator[GreyWorker]:
    worker = GreyWorker()
    yield worker
    worker.die()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, worker: GreyWorker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(monkeypatch, worker.endpoint, user_folder=str(tmp_path / "settings"))
    yield stage
    stage.close()


def test_first_the_card_then_painted_pictures_and_never_the_camera(stage: Stage) -> None:
    assert stage.watch(lambda: stage.figures()["styled"] > 30)
    assert stage.kinds[0] is Kind.CARD
    assert stage.kinds[-1] is Kind.LIVE
    assert not stage.leaked


def test_what_it_tells_of_itself_is_what_happens(stage: Stage, worker: GreyWorker) -> None:
    telemetry = stage.bridge._telemetry
    assert not telemetry.health.ready(time.monotonic_ns()).good

    def value(name: str) -> Any:
        found = [point.value for point in telemetry.points() if point.metric.name == name]
        return found[0] if found else None

    assert stage.watch(lambda: len(telemetry.history(-1)["at_s"]) >= 2)
    assert stage.watch(lambda: value("brushcast_picture_samples_total") > 0)
    assert telemetry.health.ready(time.monotonic_ns()).word == "ready"
    assert telemetry.health.live(time.monotonic_ns()).good
    assert value("brushcast_frames_styled_total") > 30
    assert stage.watch(lambda: value("brushcast_link_round_trip_seconds") is not None)
    assert any(age_ms for age_ms in telemetry.history(-1)["latency_ms"])
    worker.die()
    assert stage.watch(lambda: not telemetry.health.ready(time.monotonic_ns()).good)
    assert telemetry.health.live(time.monotonic_ns()).good
    stage.worker_is("BACKOFF", worker.endpoint)
    assert stage.watch(lambda: any(alert.name == "worker" for alert in alerts(stage)))


def alerts(stage: Stage) -> Any:
    return stage.bridge._desk.snapshot().alerts


def test_a_new_look_reaches_the_worker(stage: Stage, worker: GreyWorker) -> None:
    assert stage.watch(lambda: stage.figures()["styled"] > 3)
    stage.bridge._desk.request(ChangeLook(preset="neon", strength=0.9))
    assert stage.watch(lambda: worker.states[-1].preset == "neon")
    assert worker.states[-1].strength == 0.9
    assert [state.fixed_size for state in worker.states] == [True] * len(worker.states)


@pytest.mark.parametrize("fixed_size", [False, True])
def test_pictures_are_as_large_as_the_worker_likes_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, worker: GreyWorker, fixed_size: bool
) -> None:
    worker.likes = Size(160, 96)
    stage = Stage(monkeypatch, worker.endpoint, fixed_size=fixed_size)
    wanted = MODEL if fixed_size else model_size(OUTPUT, 160 * 96)
    try:
        assert wanted != MODEL or fixed_size
        assert stage.watch(lambda: stage.figures()["styled"] > 10)
        assert (worker.states[-1].width, worker.states[-1].height) == (wanted.width, wanted.height)
        assert stage.figures()["model_size"] == str(wanted)
        assert not stage.leaked
    finally:
        stage.close()


def test_a_worker_that_is_gone_is_held_then_carded_and_comes_back(
    stage: Stage, worker: GreyWorker
) -> None:
    assert stage.watch(lambda: stage.figures()["styled"] > 10)
    endpoint = worker.endpoint
    worker.die()
    stage.worker_is("BACKOFF", endpoint)
    assert stage.watch(lambda: stage.kinds[-1] is Kind.CARD)
    seen = stage.kinds[:]
    assert Kind.BLURRED in seen
    second = GreyWorker(endpoint)
    try:
        styled = stage.figures()["styled"]
        stage.worker_is("READY", endpoint)
        assert stage.watch(lambda: stage.figures()["styled"] > styled + 10)
        assert stage.watch(lambda: stage.kinds[-1] is Kind.LIVE)
        assert second.states[0].preset == "ink", "the state was replayed"
        assert stage.figures()["reconnects"] == 1
    finally:
        second.die()
    assert not stage.leaked


def test_what_the_ring_calls_a_picture_changes_at_once_though_the_picture_does_not(
    monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    stage.stop()
    bridge, now_ns = stage.bridge, time.monotonic_ns()
    same = np.zeros((OUTPUT.height, OUTPUT.width, 3), np.uint8)
    kinds = [Kind.LIVE, Kind.LIVE, Kind.HELD, Kind.HELD, Kind.HELD]
    answers = [Shown(kind, same, None, 1.0, "", 7, now_ns, 99) for kind in kinds]
    written: list[tuple[Kind, int]] = []

    def write(_: object, kind: Kind, *, live_until_ns: int, **__: object) -> None:
        written.append((kind, live_until_ns))

    ring = SimpleNamespace(write=write, written=1)
    monkeypatch.setattr(bridge, "_ring", ring)
    monkeypatch.setattr(bridge._playout, "pick", lambda _: answers.pop(0))
    monkeypatch.setattr(bridge._composer, "compose", lambda _: same)
    for tick in range(1, len(kinds) + 1):
        bridge._show(now_ns + tick * 40_000_000)
    assert written == [(Kind.LIVE, 99), (Kind.HELD, 99)], "until when, for when we are gone"


def test_a_worker_that_hangs_is_reported_though_its_process_lives(
    stage: Stage, worker: GreyWorker
) -> None:
    assert stage.watch(lambda: stage.figures()["styled"] > 10)
    worker.answering = False
    assert stage.watch(lambda: any(event == "stuck" for event, _ in stage.said))


def test_a_look_that_kills_every_worker_is_given_up_for_the_last_good_one(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, worker: GreyWorker
) -> None:
    """The test is the supervisor: it starts another worker for each that died."""
    monkeypatch.setattr(poison, "PROVEN_NS", SECOND_NS // 2)
    desk, workers = stage.bridge._desk, [worker]
    assert stage.watch(lambda: stage.bridge._guard._good is not None)
    desk.request(ChangeLook(preset="neon", strength=0.9))
    try:
        for _ in range(2):
            workers[-1].dies_of = "neon"
            assert stage.watch(lambda: workers[-1].dead)
            workers[-1].die()
            stage.worker_is("BACKOFF", worker.endpoint)
            workers.append(GreyWorker(worker.endpoint))
            workers[-1].dies_of = "neon"
            stage.worker_is("READY", worker.endpoint)
        styled = stage.figures()["styled"]
        assert stage.watch(lambda: stage.figures()["styled"] > styled + 20)
        assert not workers[-1].dead
        assert {state.preset for state in workers[-1].states} == {"ink"}
        assert stage.watch(lambda: desk.snapshot().look.applied)
        look = desk.snapshot().look
        assert (look.preset, look.strength) == ("ink", worker.states[0].strength)
        assert "died twice of this look (Neon night)" in look.message
        desk.request(ChangeLook(preset="neon"))  # the user may try it again
        assert stage.watch(lambda: workers[-1].dead)
    finally:
        for other in workers[1:]:
            if not other.dead or other is workers[-1]:
                other.die()
    assert not stage.leaked


def test_results_that_are_no_pictures_are_never_shown(stage: Stage, worker: GreyWorker) -> None:
    worker.raw_bytes_instead = True
    assert stage.watch(lambda: stage.figures()["dropped"].get("malformed", 0) > 3)
    assert set(stage.kinds) == {Kind.CARD}


def test_pausing_shows_the_card_at_once_and_nothing_older_comes_back(stage: Stage) -> None:
    assert stage.watch(lambda: stage.figures()["styled"] > 10)
    stage.bridge._desk.request(Pause(on=True))
    assert stage.watch(lambda: stage.kinds[-1] is Kind.CARD)
    stage.kinds.clear()
    stage.watch(lambda: False, seconds=1.0)
    assert set(stage.kinds) <= {Kind.CARD}
    stage.bridge._desk.request(Pause(on=False))
    assert stage.watch(lambda: stage.kinds[-1] is Kind.LIVE)


def test_presets_of_the_users_folder_come_without_a_restart(
    monkeypatch: pytest.MonkeyPatch, worker: GreyWorker, tmp_path: Path
) -> None:
    stage = Stage(monkeypatch, worker.endpoint, user_presets=tmp_path)
    try:
        assert stage.watch(lambda: stage.figures()["styled"] > 3)
        (tmp_path / "bad.toml").write_text("title =")
        (tmp_path / "mine.toml").write_text('title = "Mine"\nprompt = "soft chalk"\n')
        desk = stage.bridge._desk
        assert stage.watch(lambda: "mine" in [card.name for card in desk.snapshot().presets])
        desk.request(ChangeLook(preset="mine"))
        assert stage.watch(lambda: worker.states[-1].prompt == "soft chalk")
    finally:
        stage.close()


def test_the_badge_and_the_notice_go_where_they_are_kept(stage: Stage) -> None:
    assert stage.notice.due("panel")
    assert stage.watch(lambda: bool(stage.kinds))
    assert stage.bridge._desk.snapshot().notice
    stage.bridge._desk.request(SwitchBadge(on=False))
    stage.bridge._desk.request(NoticeSeen())
    assert stage.watch(lambda: not stage.notice.due("panel"))
    assert ("badge", {"on": False}) in stage.said
    assert stage.notice.due("terminal")


def test_the_preview_of_a_painted_picture_says_ai(stage: Stage) -> None:
    stage.bridge._desk.watchers(1)
    assert stage.watch(lambda: stage.kinds[-1:] == [Kind.LIVE])
    assert stage.watch(lambda: stage.bridge._desk._pictures["after"][2])
    assert not stage.bridge._desk._pictures["before"][2]


class SlowObs:
    """OBS as the bridge sees it; the thread is tested with itself."""

    def __init__(self) -> None:
        self.pressure = False
        self.cameras: list[bool] = []
        self.posted = 0
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def post(self, _: object) -> None:
        self.posted += 1

    def switch_camera(self, on: bool) -> None:
        self.cameras.append(on)

    @property
    def state(self) -> ObsState:
        return ObsState(connected=True, version="29", pressure=self.pressure)

    report: dict[str, Any] = {"readings": 7}


@pytest.mark.parametrize("remote", [False, True])
def test_a_worker_beside_a_slow_obs_is_told_and_one_elsewhere_is_not(
    monkeypatch: pytest.MonkeyPatch, worker: GreyWorker, remote: bool
) -> None:
    obs = SlowObs()
    monkeypatch.setattr(module, "ObsThread", lambda **_: obs)
    stage = Stage(monkeypatch, worker.endpoint, remote=remote)
    try:
        assert stage.watch(lambda: stage.figures()["styled"] > 3)
        assert obs.running
        revision = worker.states[-1].revision
        obs.pressure = True
        before = obs.posted
        assert stage.watch(lambda: obs.posted > before + 2)
        if remote:
            assert worker.states[-1].revision == revision
        else:
            assert stage.watch(lambda: worker.states[-1].pressure)
            assert worker.states[-1].preset == "ink"
            assert stage.bridge._desk.snapshot().look.applied
            obs.pressure = False
            assert stage.watch(lambda: not worker.states[-1].pressure)
        assert stage.bridge._desk.snapshot().obs.version == "29"
        assert stage.figures()["obs"] == {"readings": 7}
        stage.bridge._desk.request(SwitchObsCamera(on=True))
        assert stage.watch(lambda: obs.cameras == [True])
    finally:
        stage.close()
    assert not obs.running


def test_a_worker_that_holds_is_sent_nothing_and_its_last_picture_stays(
    monkeypatch: pytest.MonkeyPatch, worker: GreyWorker
) -> None:
    stage = Stage(monkeypatch, worker.endpoint)
    try:
        assert stage.watch(lambda: stage.figures()["styled"] > 3)
        worker.status = WorkerStatus(rung="hold", takes=0)
        assert stage.watch(lambda: stage.kinds[-1:] == [Kind.HELD])
        painted, began = stage.figures()["styled"], len(stage.kinds)
        assert stage.watch(lambda: len(stage.kinds) > began + 20)  # five a second: 4 s
        assert set(stage.kinds[began:]) == {Kind.HELD}, "neither out of focus nor the card"
        assert stage.figures()["styled"] <= painted + 2
        assert stage.figures()["reconnects"] == 0, "it is not taken for a dead one"
        worker.status = WorkerStatus(rung="lower rate", takes=2)
        assert stage.watch(lambda: stage.kinds[-1:] == [Kind.LIVE])
        worker.status = WorkerStatus(rung="hold", takes=0)
        assert stage.watch(lambda: stage.kinds[-1:] == [Kind.HELD])
        worker.die()
        assert stage.watch(lambda: stage.kinds[-1:] == [Kind.CARD]), "it holds no more"
    finally:
        stage.close()


def test_what_the_user_prefers_reaches_the_worker(
    monkeypatch: pytest.MonkeyPatch, worker: GreyWorker
) -> None:
    stage = Stage(monkeypatch, worker.endpoint, mode="low-latency", target_fps=24)
    try:
        assert stage.watch(lambda: bool(worker.states))
        assert (worker.states[0].mode, worker.states[0].target_fps) == ("low-latency", 24)
        assert stage.bridge._desk.snapshot().mode == "low-latency"
        stage.bridge._desk.request(SwitchMode(mode="quality"))
        assert stage.bridge._desk.snapshot().mode == "quality"
        assert stage.watch(lambda: worker.states[-1].mode == "quality")
    finally:
        stage.close()
