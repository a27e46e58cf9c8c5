"""A worker that means ill, against the real bridge: whatever it says, nothing but grey pictures and
our own cards is shown, the output goes on, and the bridge stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from brushcast import codec
from brushcast.playout import Kind as Shown
from brushcast.wire.events import FrameArrived
from brushcast.wire.messages import (
    Codec,
    Flags,
    Header,
    Kind,
    Parts,
    Pong,
    Welcome,
    WorkerStatus,
    pack,
    pack_control,
)
from brushcast.wire.server_link import ServerLink
from tests.plugin.grey_worker import GreyWorker
from tests.plugin.test_bridge import MODEL, Stage

RED = np.zeros((MODEL.height, MODEL.width, 3), np.uint8) + np.array([250, 0, 0], np.uint8)
MB = 1 << 20


def says(answer: Callable[[ServerLink, Header], list[Parts]]) -> type[GreyWorker]:
    """A worker that answers each frame with these messages, and with nothing else."""

    class Hostile(GreyWorker):
        def _serve(self, link: ServerLink) -> None:
            for event in link.events():
                if isinstance(event, FrameArrived):
                    link._in_flight.clear()  # answered in our own way
                    link._outgoing += answer(link, event.header)

    return Hostile


def result(frame: Header, pixels_HWC: Any = RED, **changes: Any) -> Parts:
    height, width, _ = pixels_HWC.shape
    header = replace(
        frame, kind=Kind.RESULT, flags=Flags.NONE, codec=Codec.RAW, width=width, height=height,
        stride=3 * width,
    )  # fmt: skip
    return pack(replace(header, **changes), codec.encode(pixels_HWC, Codec.RAW))


def bomb() -> bytes:
    """A small JPEG that unpacks into 200 MB."""
    done, jpeg = cv2.imencode(".jpg", np.zeros((8192, 8192, 3), np.uint8))
    assert done
    return bytes(jpeg)


BOMB = bomb()


def jpeg_bomb(frame: Header) -> Parts:
    header = replace(
        frame, kind=Kind.RESULT, flags=Flags.NONE, codec=Codec.JPEG, width=8192, height=8192,
        stride=3 * 8192,
    )  # fmt: skip
    return pack(header, BOMB)


ATTACKS: dict[str, Callable[[ServerLink, Header], list[Parts]]] = {
    "a frame that was never sent": lambda _, f: [result(f, seq=f.seq + 1_000_000)],
    "an older epoch": lambda _, f: [result(f, epoch=f.epoch - 1)],
    "a later epoch": lambda _, f: [result(f, epoch=f.epoch + 1)],
    "another session": lambda _, f: [result(f, session=f.session ^ 1)],
    "another capture time": lambda _, f: [result(f, captured_ns=f.captured_ns + 1)],
    "a state that is not yet": lambda _, f: [result(f, revision=f.revision + 7)],
    "a larger picture": lambda _, f: [result(f, np.zeros((2048, 2048, 3), np.uint8))],
    "a JPEG bomb": lambda _, f: [jpeg_bomb(f)],
    "a frame of its own": lambda _, f: [result(f, kind=Kind.FRAME)],
    "half a message": lambda _, f: [result(f)[:1]],
}


@pytest.fixture
def stage_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[GreyWorker]], Stage]]:
    opened: list[tuple[Stage, GreyWorker]] = []

    def open_stage(kind: type[GreyWorker]) -> Stage:
        worker = kind()
        opened.append((Stage(monkeypatch, worker.endpoint), worker))
        return opened[-1][0]

    yield open_stage
    for stage, worker in opened:
        stage.close()
        worker.die()


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_of_what_it_sends_is_shown(
    name: str,
    stage_with: Callable[[type[GreyWorker]], Stage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[Header] = []
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda *given: decoded.append(given[0]) or decode(*given))
    stage = stage_with(says(ATTACKS[name]))
    assert stage.watch(
        lambda: stage.bridge._link is not None and stage.bridge._link.connections > 0
    )
    written = stage.ring.written
    assert stage.watch(lambda: stage.ring.written > written + 10), "the output goes on"
    assert set(stage.kinds) == {Shown.CARD}
    assert stage.figures()["styled"] == 0
    assert not decoded, "refused by what its header says: a bomb costs nothing"


def test_a_second_answer_to_a_frame_is_none(
    stage_with: Callable[[type[GreyWorker]], Stage],
) -> None:
    """Credit is not given back twice, or a worker could have us send without end."""
    grey = np.full_like(RED, 99)
    stage = stage_with(says(lambda _, f: [result(f, grey), result(f), result(f), result(f)]))
    assert stage.watch(lambda: stage.figures()["styled"] > 20)
    link = stage.bridge._link
    assert link is not None
    assert link.dropped["unknown_seq"] > 20
    assert 0 <= link.credit <= 2
    assert not stage.leaked


@pytest.mark.parametrize(
    "likes",
    [
        {"default_width": 2, "default_height": 2, "size_multiple": 1024},
        {"default_width": 8192, "default_height": 8192},
        {"default_width": 8192, "default_height": 2},
        {"chunk_frames": 256, "credit_frames": 256, "warmup_ms": 600_000},
        {"chunk_frames": 256, "credit_frames": 1},
    ],
    ids=str,
)
def test_whatever_it_likes_the_bridge_goes_on(
    likes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liking(GreyWorker):
        def _welcome(self) -> Welcome:
            return replace(super()._welcome(), **likes)

    worker = Liking()
    stage = Stage(monkeypatch, worker.endpoint, fixed_size=False)
    try:
        assert stage.watch(lambda: stage.figures()["styled"] > 5)
        assert not stage.leaked
        state = stage.bridge._state
        assert state.width * state.height <= 1.2 * stage.bridge._config.output_size.area_px
        assert min(state.width, state.height) >= 16
    finally:
        stage.close()
        worker.die()


def test_a_flood_of_words_does_not_stop_the_pictures(
    stage_with: Callable[[type[GreyWorker]], Stage],
) -> None:
    def flood(link: ServerLink, frame: Header) -> list[Parts]:
        header = replace(link._header(Kind.PONG), seq=1)
        status = WorkerStatus(engine_fps=1e9, step_ms=1e9, queue_frames=2**64 - 1, rung="x" * 200)
        pong = pack_control(header, Pong(revision=frame.revision, status=status))
        words: list[Parts] = [pong, [b"rubbish", b""]]
        return [*(words * 400), result(frame, np.full_like(RED, 99))]

    stage = stage_with(says(flood))
    assert stage.watch(
        lambda: stage.bridge._link is not None and stage.bridge._link.status is not None
    )
    written = stage.ring.written
    assert stage.watch(lambda: stage.ring.written > written + 10), "the output goes on"
    assert not stage.leaked
    assert len(stage.figures()["rungs"]) < 1000
