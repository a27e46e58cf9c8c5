"""restyle's bookkeeping: each frame once, in order, sent again after a loss. The worker is grey."""

import dataclasses
import queue
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import brushcast.restyle as module
from brushcast.child import ChildEvent
from brushcast.errors import ChildError, ConfigError, PromptError, SourceError
from brushcast.frame import Size
from brushcast.presets import load_presets
from brushcast.recording import Recording
from brushcast.restyle import RestyleConfig, restyle_file
from tests.plugin.grey_worker import GreyWorker

SIZE = Size(160, 96)


class AnnouncedWorker:
    """A Child that says where a grey worker listens, and can be made to die once."""

    endpoint = ""
    deaths = 0
    started = 0

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        events: "queue.Queue[ChildEvent]",
        *,
        first_line: Mapping[str, Any] | None = None,
        niceness: int = 0,
    ) -> None:
        type(self).started += 1
        self._events = events
        if self.endpoint:
            events.put(ChildEvent(self, "listening", {"endpoint": self.endpoint}))  # type: ignore[arg-type]
        if self.deaths:
            type(self).deaths -= 1
            data = {"code": -9, "last_words": "shot"}
            events.put(ChildEvent(self, "exited", data))  # type: ignore[arg-type]

    def kill(self) -> None:
        pass

    def join(self) -> None:
        pass


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[GreyWorker]:
    worker = GreyWorker()
    monkeypatch.setattr(module, "Child", AnnouncedWorker)
    AnnouncedWorker.endpoint, AnnouncedWorker.deaths = worker.endpoint, 0
    AnnouncedWorker.started = 0
    yield worker
    worker.die()


def config(tmp_path: Path, count: int, **options: Any) -> RestyleConfig:
    source = tmp_path / "in.mp4"
    with Recording(source, SIZE, Fraction(25)) as recording:
        for index in range(count):
            pixels = np.full((SIZE.height, SIZE.width, 3), 10 * index % 250, np.uint8)
            recording.write(pixels, Fraction(index, 25))
    look = load_presets()["ink"]
    options = {"badge": None, **options}
    return RestyleConfig(source=source, target=tmp_path / "out.mp4", look=look, **options)


def levels(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [round(float(picture.mean())) for picture in pictures]


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_every_frame_once_and_in_order(tmp_path: Path, worker: GreyWorker, count: int) -> None:
    report = restyle_file(config(tmp_path, count), quiet=True)
    assert (report["complete"], report["frames_out"]) == (True, count)
    seen = levels(tmp_path / "out.mp4")
    assert seen == pytest.approx([60 + index % 120 for index in range(count)], abs=3)
    assert worker.states[0].lossless


def test_what_an_unknown_wording_was_taken_for_is_reported(
    tmp_path: Path, worker: GreyWorker
) -> None:
    worker.says = ("wording", "the nearest is ink")
    report = restyle_file(config(tmp_path, 4), quiet=True)
    assert (report["complete"], report["remark"]) == (True, "the nearest is ink")


def test_another_problem_ends_the_work(tmp_path: Path, worker: GreyWorker) -> None:
    worker.says = ("prompt", "nothing can be made of it")
    with pytest.raises(PromptError, match="nothing can be made"):
        restyle_file(config(tmp_path, 4), quiet=True)


def test_the_size_that_was_asked_for(tmp_path: Path, worker: GreyWorker) -> None:
    restyle_file(config(tmp_path, 3, size=Size(320, 192)), quiet=True)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (320, 192)


def test_it_is_painted_as_large_as_the_worker_likes(tmp_path: Path, worker: GreyWorker) -> None:
    worker.likes = Size(1024, 576)
    given = config(tmp_path, 3)
    with Recording(given.source, Size(1280, 720), Fraction(25)) as recording:
        for index in range(3):
            recording.write(np.zeros((720, 1280, 3), np.uint8), Fraction(index, 25))
    report = restyle_file(given, quiet=True)
    assert (report["model_size"], report["output_size"]) == ("1024x576", "1280x720")
    assert (worker.states[-1].width, worker.states[-1].height) == (1024, 576)
    chosen = restyle_file(dataclasses.replace(given, size=Size(512, 288)), quiet=True)
    assert chosen["model_size"] == "512x288"


def test_frames_without_an_answer_are_sent_to_the_next_worker(
    tmp_path: Path, worker: GreyWorker
) -> None:
    AnnouncedWorker.deaths = 2
    report = restyle_file(config(tmp_path, 30), quiet=True)
    assert report["frames_out"] == 30
    assert AnnouncedWorker.started == 3
    assert levels(tmp_path / "out.mp4") == pytest.approx([60 + i for i in range(30)], abs=3)


def test_a_worker_that_never_starts_is_an_error_with_its_last_words(
    tmp_path: Path, worker: GreyWorker
) -> None:
    AnnouncedWorker.endpoint, AnnouncedWorker.deaths = "", 9
    (tmp_path / "out.mp4").write_text("an older result")
    with pytest.raises(ChildError, match="shot"):
        restyle_file(config(tmp_path, 3), quiet=True)
    assert (tmp_path / "out.mp4").read_text() == "an older result"


def test_the_input_is_never_overwritten(tmp_path: Path, worker: GreyWorker) -> None:
    plan = config(tmp_path, 3)
    with pytest.raises(ConfigError, match="the input itself"):
        restyle_file(
            RestyleConfig(source=plan.source, target=plan.source, look=plan.look), quiet=True
        )
    with pytest.raises(SourceError, match=r"absent\.mp4"):
        restyle_file(
            RestyleConfig(
                source=tmp_path / "absent.mp4", target=tmp_path / "o.mp4", look=plan.look
            ),
            quiet=True,
        )


def test_every_picture_says_ai_unless_it_was_switched_off(
    tmp_path: Path, worker: GreyWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="brushcast.restyle")
    spread = {}
    for badge in ("top-left", None):
        restyle_file(config(tmp_path, 5, badge=badge), quiet=True)
        with av.open(str(tmp_path / "out.mp4")) as container:
            grey = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        spread[badge] = [int(np.ptp(picture)) > 60 for picture in grey]
    assert spread == {"top-left": [True] * 5, None: [False] * 5}
    assert caplog.text.count("switched off") == 1
    assert RestyleConfig.__dataclass_fields__["badge"].default == "top-left"


@pytest.mark.parametrize("own_words", [False, True])
def test_the_file_says_what_made_it_but_not_the_words(
    tmp_path: Path, worker: GreyWorker, own_words: bool
) -> None:
    given = config(tmp_path, 3, own_words=own_words)
    look = given.look.changed(prompt="my cat Murr")
    restyle_file(dataclasses.replace(given, look=look), quiet=True)
    with av.open(str(tmp_path / "out.mp4")) as container:
        comment = container.metadata["comment"]
    assert f"look {'in own words' if own_words else 'ink'})" in comment
    assert b"Murr" not in (tmp_path / "out.mp4").read_bytes()
