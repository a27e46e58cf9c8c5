"""The bridge's exchange against the worker's link, without sockets."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from brushcast.config import BridgeConfig
from brushcast.errors import MalformedMessage
from brushcast.exchange import Exchange
from brushcast.frame import Frame, Pixels, Size
from brushcast.pace import Pace
from brushcast.packing import Packer
from brushcast.wire.bodies import MAX_CREDIT_FRAMES
from brushcast.wire.events import Connected, FrameRefused, StatusReceived
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, Header, Kind, PixelFormat, StreamState, WorkerStatus
from tests.plugin.moving import clip_pictures
from tests.plugin.wire.samples import welcome

SIZE = Size(128, 80)
NS = 1_000_000_000
STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=128, height=80
)


def config(**changes: Any) -> BridgeConfig:
    values = {
        "source": "testcard", "preset": "ink", "endpoint": "", "remote": True, "ring": "",
        "panel": None, "panel_token": "", "output_size": Size(1280, 720), "model_size": SIZE,
        "fixed_size": False, "rate_fps": 30, "fit": "crop", "steps": 0, "user_presets": "",
    }  # fmt: skip
    return BridgeConfig(**{**values, **changes})


class Rig:
    """An exchange with a link that is ready."""

    def __init__(self, codecs: str = "raw jpeg h264", **changes: Any) -> None:
        self.now = 100 * NS
        self.exchange = Exchange(config(**changes), lambda: None, self.now)
        self.link = ClientLink(
            STATE, client="t", version="0", times=LOCAL_TIMES, rng=random.Random(1)
        )
        self.codecs = codecs
        self.pace = Pace(4)
        self.seq = 0
        self.connect()

    def connect(self) -> None:
        granted = welcome(credit_frames=MAX_CREDIT_FRAMES, codecs=self.codecs, revision=1)
        self.link.reconnect(self.now)
        self.link.outgoing()
        header = Header(
            kind=Kind.WELCOME, session=self.link.session, epoch=self.link.epoch, revision=1
        )
        from brushcast.wire.messages import pack_control

        self.link.receive([bytes(part) for part in pack_control(header, granted)], self.now)
        for event in self.link.events():
            self.exchange.happened(event, self.now)

    def send(self) -> tuple[Header, bytes]:
        """What went out."""
        from brushcast.wire.messages import parse

        self.seq += 1
        picture_HWC = clip_pictures(Size(256, 160), 12)[self.seq % 12]
        assert self.exchange.send(self.link, Frame(picture_HWC, self.seq, self.now), self.now)
        (parts,) = self.link.outgoing()
        message = parse([bytes(part) for part in parts])
        assert isinstance(message.body, bytes)
        return message.header, message.body

    def changes(self, fps: float = 25.0) -> dict[str, Any]:
        changes = self.exchange.changes(self.link.stream_state, self.pace, fps, self.now)
        if changes:
            revision = self.link.stream_state.revision + 1
            state = dataclasses.replace(self.link.stream_state, revision=revision, **changes)
            self.link.set_state(state, self.now)
            self.link.outgoing()
        return changes

    def take(self, count: int) -> list[tuple[Header, Pixels | None]]:
        taken: list[tuple[Header, Pixels | None]] = []
        self._until(lambda: (taken.extend(self.exchange.take(self.now)), len(taken) >= count)[1])
        return taken

    def _until(self, true: Callable[[], object]) -> None:
        ends_s = time.monotonic() + 30
        while not true():
            assert time.monotonic() < ends_s
            time.sleep(0.005)


@pytest.fixture
def rigs() -> Iterator[list[Rig]]:
    made: list[Rig] = []
    yield made
    for rig in made:
        rig.exchange.close()


def rig_of(rigs: list[Rig], *codecs: str, **changes: Any) -> Rig:
    rigs.append(Rig(*codecs, **changes))
    return rigs[-1]


def result(seq: int, codec: Codec = Codec.H264, captured_ns: int = 0) -> Header:
    return Header(
        kind=Kind.RESULT, seq=seq, width=128, height=80, stride=384, captured_ns=captured_ns,
        pixel_format=PixelFormat.RGB8, codec=codec, epoch=1,
    )  # fmt: skip


def test_a_worker_on_this_machine_gets_pictures_as_they_are(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, remote=False)
    header, payload = rig.send()
    assert header.codec is Codec.RAW
    assert len(payload) == 3 * SIZE.area_px
    assert rig.changes() == {}
    assert rig.exchange.window == MAX_CREDIT_FRAMES
    assert rig.exchange.figures(100.0, rig.now)["codec"] == "raw"


def test_one_elsewhere_gets_jpeg_at_first_and_is_told_what_is_wanted_back(rigs: list[Rig]) -> None:
    rig = rig_of(rigs)
    assert rig.send()[0].codec is Codec.JPEG
    assert rig.changes()["result_quality"] >= 70
    assert rig.changes() == {}, "said once"


def test_h264_where_it_is_wished_and_known(rigs: list[Rig]) -> None:
    known = rig_of(rigs, codec="h264")
    known.changes()
    assert [known.send()[0].codec for _ in range(2)] == [Codec.H264] * 2
    assert known.link.stream_state.result_bytes > 0
    unknown = rig_of(rigs, "raw jpeg", codec="h264")
    unknown.changes()
    assert unknown.send()[0].codec is Codec.JPEG


def test_a_frame_that_the_link_does_not_take_leaves_no_hole(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="h264")
    begun = [rig.send()[1][:4] for _ in range(2)]
    rig.link.limit(0, rig.now)
    frame = Frame(clip_pictures(SIZE, 3)[2], 50, rig.now)
    assert not rig.exchange.send(rig.link, frame, rig.now)
    rig.link.limit(9, rig.now)
    rig.seq = 50
    begun.append(rig.send()[1][:4])
    assert begun == [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\0"]


def test_another_connection_begins_with_a_keyframe(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="h264")
    rig.send(), rig.send()
    rig.connect()
    assert rig.send()[1][:4] == b"\0\0\0\0"
    assert rig.exchange.figures(0.0, rig.now)["keyframes"] == 2


def test_the_worker_asks_for_a_keyframe_and_gets_one_for_all_that_it_refused(
    rigs: list[Rig],
) -> None:
    rig = rig_of(rigs, codec="h264")
    for _ in range(4):
        rig.send()
    rig.exchange.happened(FrameRefused(2, 0, key_wanted=True), rig.now)
    assert rig.send()[1][:4] == b"\0\0\0\0"
    rig.exchange.happened(FrameRefused(3, 0, key_wanted=True), rig.now)
    rig.exchange.happened(FrameRefused(4, 0, key_wanted=True), rig.now)
    rig.exchange.happened(FrameRefused(6, 0, key_wanted=False), rig.now)
    assert rig.send()[1][:4] == b"\0\0\0\1", "those were sent before it"
    rig.exchange.happened(FrameRefused(5, 0, key_wanted=True), rig.now)
    assert rig.send()[1][:4] == b"\0\0\0\0", "the keyframe itself was refused"


def test_results_that_cannot_be_decoded_are_asked_for_anew(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="h264")
    rig.send()
    packer = Packer()
    pictures = clip_pictures(SIZE, 8)
    payloads = [packer.pack(picture_HWC, Codec.H264) for picture_HWC in pictures[:4]]
    rig.changes()
    for seq in (0, 2, 3):
        rig.exchange.put(result(seq), payloads[seq])
    assert [picture is None for _, picture in rig.take(3)] == [False, True, True]
    assert rig.changes() == {"result_keys": 1}
    assert rig.changes() == {}, "it is on its way"
    rig.now += 3 * NS
    assert rig.changes()["result_keys"] == 2, "it seems to be lost"
    packer.restart()
    rig.exchange.put(result(4), packer.pack(pictures[4], Codec.H264))
    assert rig.take(1)[0][1] is not None
    rig.now += 9 * NS
    assert "result_keys" not in rig.changes()


def test_a_result_that_is_no_picture_is_refused_and_a_keyframe_asked_for(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="h264")
    rig.send()
    rig.changes()
    with pytest.raises(MalformedMessage):
        rig.exchange.put(result(1, Codec.JPEG), b"no picture")
    assert rig.changes() == {}
    with pytest.raises(MalformedMessage):
        rig.exchange.put(result(1), b"no picture")
    assert rig.changes() == {"result_keys": 1}


def test_what_was_under_way_in_another_connection_is_forgotten(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="jpeg")
    rig.send()
    rig.exchange.put(result(1, Codec.JPEG), Packer().pack(clip_pictures(SIZE, 1)[0], Codec.JPEG))
    rig.connect()
    assert rig.exchange.take(rig.now) == []


def narrow(rig: Rig, seconds: int, bytes_per_s: float) -> None:
    """Results come at that rate, however many wait."""
    for _ in range(seconds * 4):
        rig.now += NS // 4
        rig.send()
        noise = np.random.default_rng(1).integers(0, 256, (80, 128, 3), np.uint8)
        payload = bytes(Packer().pack(noise, Codec.JPEG, quality=88))
        for _ in range(max(1, round(bytes_per_s / 4 / len(payload)))):
            rig.exchange.put(result(1, Codec.JPEG, rig.now - NS), payload)
        waited_ms = 60 * (rig.now - 100 * NS) / NS
        status = StatusReceived(
            WorkerStatus(), 1, round((20 + waited_ms) * 1e6),
            (rig.now - 100 * NS) / 1e6 - waited_ms + 5000,
        )  # fmt: skip
        rig.exchange.happened(status, rig.now)
        rig.exchange.take(rig.now)
        rig.changes()


def test_a_narrow_way_back_is_followed(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="jpeg")
    narrow(rig, 12, 20_000)
    state = rig.link.stream_state
    assert state.result_quality <= 40
    assert (state.width, state.height) != (128, 80) or state.result_quality == 30
    figures = rig.exchange.figures(900.0, rig.now)
    assert figures["budget_kbps_back"] < 1000
    assert figures["queue_ms_back"] > 100
    assert figures["window"] == rig.exchange.window < 20
    assert figures["network_ms"] > 0


def test_the_workers_ladder_hears_of_a_link_that_nothing_fits(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="jpeg", fixed_size=True)
    assert not rig.link.stream_state.network_limited
    narrow(rig, 12, 20_000)
    assert rig.link.stream_state.network_limited
    rig.pace.worker_takes(2)
    assert "network_limited" not in rig.changes()
    assert rig.exchange._rate is not None
    with patch.object(rig.exchange._rate, "decide", wraps=rig.exchange._rate.decide) as decide:
        rig.changes(fps=25.0)
    asked = decide.call_args.kwargs
    assert (asked["fps"], asked["wanted_fps"]) == (12.5, 25.0), "each may be twice as large"


def test_the_size_that_the_user_chose_and_the_workers_own_wish(rigs: list[Rig]) -> None:
    rig = rig_of(rigs)
    assert rig.exchange.fitted(Size(512, 288)) == Size(512, 288)
    assert rig.changes()["width"] == 512
    fixed = rig_of(rigs, fixed_size=True)
    fixed.exchange.happened(
        Connected(1, welcome(codecs="raw jpeg h264", default_width=1024)), fixed.now
    )
    assert "width" not in fixed.changes()


def test_a_result_that_is_larger_than_anything_asked_for_is_refused(rigs: list[Rig]) -> None:
    rig = rig_of(rigs, codec="jpeg")
    picture = Packer().pack(clip_pictures(SIZE, 1)[0], Codec.JPEG)
    with pytest.raises(MalformedMessage, match="wanted no more than the 0 pixels"):
        rig.exchange.put(result(1, Codec.JPEG), picture)
    rig.send()
    rig.exchange.put(result(1, Codec.JPEG), picture)
