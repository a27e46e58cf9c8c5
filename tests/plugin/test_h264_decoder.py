"""The decoder's process may die, hang or lie: it costs pictures, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from brushcast import h264_decoder
from brushcast.errors import MalformedMessage
from brushcast.frame import Pixels, Size
from brushcast.h264 import Encoder
from brushcast.h264_chain import NUMBER
from brushcast.h264_decoder import WAITING_MOST, Decoder
from tests.plugin.moving import clip_pictures, psnr_db

SIZE = Size(128, 80)
PATIENCE_S = 20


class Rig:
    """A decoder, and what it gave back."""

    def __init__(self, *command: str, prepared: bool = False) -> None:
        self.wakes = threading.Semaphore(0)
        self.encoder = Encoder()
        self.taken: list[tuple[int, Pixels | None]] = []
        self.decoder: Decoder[int] = Decoder(
            self.wakes.release, command or h264_decoder.COMMAND, prepared=prepared
        )

    def put(self, number: int) -> Pixels:
        picture_HWC = clip_pictures(SIZE, 12)[number % 12]
        self.decoder.put(number, self.encoder.encode(picture_HWC, 4000), SIZE)
        return picture_HWC

    def wait(self, count: int) -> list[tuple[int, Pixels | None]]:
        self.until(lambda: len(self.taken) >= count)
        return self.taken

    def until(self, true: Callable[[], object]) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < ends_s, self.taken
            self.wakes.acquire(timeout=0.02)
            self.decoder.tick(time.monotonic_ns())
            self.taken += self.decoder.take()

    @property
    def good(self) -> list[bool]:
        return [picture is not None for _, picture in self.taken]


@pytest.fixture
def rigs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rig]]:
    monkeypatch.setattr(h264_decoder, "FIRST_BACKOFF_S", 0.05)
    made: list[Rig] = []
    yield made
    for rig in made:
        rig.decoder.close()
        assert rig.decoder.pid is None


@pytest.fixture
def rig(rigs: list[Rig]) -> Rig:
    rigs.append(Rig())
    return rigs[-1]


def test_pictures_come_back_in_order(rig: Rig) -> None:
    sent = [rig.put(number) for number in range(12)]
    assert [number for number, _ in rig.wait(12)] == list(range(12))
    for (_, back_HWC), picture_HWC in zip(rig.taken, sent, strict=True):
        assert back_HWC is not None
        assert back_HWC.shape == picture_HWC.shape
        assert psnr_db(back_HWC, picture_HWC) > 30


def test_a_process_that_is_shot_costs_pictures_until_the_next_keyframe(rig: Rig) -> None:
    rig.put(0), rig.put(1)
    rig.wait(2)
    assert rig.decoder.pid is not None
    os.kill(rig.decoder.pid, signal.SIGKILL)
    rig.put(2), rig.put(3)
    rig.wait(4)
    assert rig.good == [True, True, False, False]
    assert rig.decoder.deaths == 1
    rig.until(lambda: rig.decoder.pid is not None)
    rig.encoder.restart()
    rig.put(4), rig.put(5)
    rig.wait(6)
    assert rig.good[4:] == [True, True]


def test_a_hole_in_the_chain_is_noticed(rig: Rig) -> None:
    rig.put(0)
    rig.encoder.encode(clip_pictures(SIZE, 12)[1], 4000)  # and never sent
    rig.put(2), rig.put(3)
    rig.encoder.restart()
    rig.put(4), rig.put(5)
    rig.wait(5)
    assert rig.good == [True, False, False, True, True]
    assert rig.decoder.deaths == 0


def test_damaged_pictures_cost_themselves_and_the_chain(rig: Rig) -> None:
    rig.put(0)
    payload = bytes(rig.encoder.encode(clip_pictures(SIZE, 12)[1], 4000))
    rig.decoder.put(1, payload[:12], SIZE)
    rig.put(2)
    rig.wait(3)
    assert rig.good == [True, False, False]


def test_what_must_not_be_tried_is_refused_at_once(rig: Rig) -> None:
    payload = bytes(rig.encoder.encode(clip_pictures(SIZE, 12)[0], 4000))
    with pytest.raises(MalformedMessage, match="H.264 of 128x80, declared 80x128"):
        rig.decoder.put(0, payload, Size(80, 128))
    with pytest.raises(MalformedMessage, match="picture 5 of its chain, keyframe: True"):
        rig.decoder.put(0, NUMBER.pack(5) + payload[4:], SIZE)
    for rubbish in (b"", b"\0\0", payload[:4], b"\0\0\0\0rubbish"):
        with pytest.raises(MalformedMessage):
            rig.decoder.put(0, rubbish, SIZE)
    assert rig.decoder.pid is None, "nothing was started for that"


def test_a_process_that_hangs_is_killed_and_the_next_one_works(
    rigs: list[Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h264_decoder, "JOB_LIMIT_NS", 200_000_000)
    code = "import os, time; os.write(1, b'H264'); time.sleep(600)"
    rigs.append(hangs := Rig(sys.executable, "-c", code))
    begun_s = time.monotonic()
    hangs.put(0)
    hangs.wait(1)
    assert hangs.good == [False]
    assert hangs.decoder.deaths == 1
    assert time.monotonic() - begun_s < 20
    hangs.decoder._command = list(h264_decoder.COMMAND)
    hangs.until(lambda: hangs.decoder.pid is not None)
    monkeypatch.setattr(h264_decoder, "JOB_LIMIT_NS", 20_000_000_000)
    hangs.encoder.restart()
    hangs.put(1)
    hangs.wait(2)
    assert hangs.good[-1]


@pytest.mark.parametrize(
    "answer",
    [
        "b'HTTP'",
        "b'H264' + bytes([255, 255, 255, 255])",
        "b'H264' + (128 * 80 * 3 - 1).to_bytes(4) + bytes(128 * 80 * 3)",
        "b'H264' + (128 * 80 * 3).to_bytes(4) + bytes(100)",
    ],
)
def test_a_process_that_lies_is_not_believed(rigs: list[Rig], answer: str) -> None:
    code = f"import os, sys; os.write(1, {answer}); sys.stdin.buffer.read(20)"
    rigs.append(lies := Rig(sys.executable, "-c", code))
    lies.put(0)
    lies.wait(1)
    assert lies.good == [False]
    assert lies.decoder.deaths >= 1


def test_one_that_never_starts_is_tried_ever_more_rarely(rigs: list[Rig]) -> None:
    rigs.append(never := Rig("/nonexistent/python"))
    for number in range(20):
        never.encoder.restart()
        never.put(number)
    never.wait(20)
    assert set(never.good) == {False}
    assert 1 <= never.decoder.deaths < 6


def test_too_many_that_wait_are_refused(rigs: list[Rig]) -> None:
    code = "import time; time.sleep(600)"
    rigs.append(slow := Rig(sys.executable, "-c", code))
    for number in range(WAITING_MOST):
        slow.put(number)
    slow.until(lambda: slow.decoder._jobs.qsize() < WAITING_MOST)  # one is being waited for
    slow.put(WAITING_MOST)
    with pytest.raises(MalformedMessage, match=f"more than {WAITING_MOST} pictures wait"):
        slow.put(WAITING_MOST + 1)
    slow.decoder.close()
    assert not slow.decoder._thread.is_alive()


def test_a_prepared_one_is_there_before_the_first_picture(rigs: list[Rig]) -> None:
    rigs.append(early := Rig(prepared=True))
    early.until(lambda: early.decoder.pid is not None)
    pid = early.decoder.pid
    early.put(0)
    early.wait(1)
    assert early.good == [True]
    assert early.decoder.pid == pid


def test_it_is_told_no_secrets(rigs: list[Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRUSHCAST_CANARY", "secret")
    code = (
        "import os, sys; head = b'H264';"
        "rgb = bytes([200 if 'BRUSHCAST_CANARY' in os.environ else 9]) * (128 * 80 * 3);"
        "os.write(1, head + len(rgb).to_bytes(4) + rgb); sys.stdin.buffer.read()"
    )
    rigs.append(spy := Rig(sys.executable, "-c", code))
    spy.put(0)
    spy.wait(1)
    back_HWC = spy.taken[0][1]
    assert back_HWC is not None
    assert np.all(back_HWC == 9)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_when_its_owner_is_shot() -> None:
    code = """
import time
from tests.plugin.test_h264_decoder import Rig
rig = Rig(prepared=True)
rig.put(0); rig.wait(1)
print(rig.decoder.pid, flush=True)
time.sleep(600)
"""
    import subprocess

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    ends_s = time.monotonic() + PATIENCE_S
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < ends_s:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")
