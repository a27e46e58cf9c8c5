"""A worker elsewhere: over a relay that is as slow, narrow or broken as the test wants it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brushcast.wire.messages import Codec
from tests.e2e.product import LEAK_MOST, Product, pictures, write_source
from tests.faults.relay import Relay
from tests.faults.watermark import leak
from tests.plugin.grey_worker import GreyWorker
from tests.plugin.test_bridge import Stage

PATIENCE_S = 40


@pytest.fixture
def worker() -> Iterator[GreyWorker]:
    made = GreyWorker()
    made.codecs = "raw jpeg h264"
    yield made
    made.die()


@pytest.fixture
def relay(worker: GreyWorker) -> Iterator[Relay]:
    port = int(worker.endpoint.rpartition(":")[2])
    with Relay(("127.0.0.1", port), latency_s=0.02) as relay:
        yield relay


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, relay: Relay) -> Iterator[Stage]:
    stage = Stage(monkeypatch, f"tcp://127.0.0.1:{relay.port}", remote=True, codec="h264")
    yield stage
    stage.close()


def styled(stage: Stage, more: int) -> bool:
    """Whether so many more pictures come."""
    before = stage.figures()["styled"]
    return stage.watch(lambda: stage.figures()["styled"] >= before + more, PATIENCE_S)


def test_h264_goes_both_ways(far: Stage, worker: GreyWorker) -> None:
    assert styled(far, 30)
    assert set(worker.came) == {Codec.H264}
    link = far.figures()["link"]
    assert link["codec"] == "h264"
    assert link["keyframes"] == 1
    assert link["network_ms"] >= 40
    assert link["decoder_deaths"] == 0
    parts = [link[name] for name in ("network_ms", "worker_ms", "playout_ms")]
    assert abs(sum(parts) - far.figures()["delay_ms"]) < 100, "both are of now, but not of one now"
    assert not far.leaked


def test_after_a_cut_a_keyframe_comes_first(far: Stage, relay: Relay) -> None:
    assert styled(far, 10)
    keyframes = far.figures()["link"]["keyframes"]
    assert relay.cut() == 1
    assert far.watch(lambda: far.figures()["reconnects"] == 1, PATIENCE_S)
    assert styled(far, 10)
    link = far.figures()["link"]
    assert link["keyframes"] == keyframes + 1
    assert far.figures()["dropped"].get("undecodable", 0) == 0
    assert not far.leaked


def test_the_bridges_decoder_may_be_shot(far: Stage) -> None:
    assert styled(far, 10)
    unpacker = far.bridge._exchange._unpacker
    for number in range(3):
        assert unpacker.decoder is not None
        assert unpacker.decoder.pid is not None
        os.kill(unpacker.decoder.pid, signal.SIGKILL)
        assert styled(far, 10), number
    link = far.figures()["link"]
    assert link["decoder_deaths"] >= 3, "a swamped machine may cost one more"
    assert link["keyframes_asked"] >= 3
    assert far.figures()["reconnects"] == 0, "pictures were lost, not the worker"
    assert not far.leaked


def test_the_workers_decoder_may_be_shot(far: Stage, worker: GreyWorker) -> None:
    assert styled(far, 10)
    keyframes = far.figures()["link"]["keyframes"]
    assert worker.unpacker.decoder is not None
    assert worker.unpacker.decoder.pid is not None
    os.kill(worker.unpacker.decoder.pid, signal.SIGKILL)
    assert styled(far, 20)
    assert far.figures()["link"]["keyframes"] > keyframes, "asked for, and sent"
    assert far.figures()["reconnects"] == 0


def test_auto_begins_with_jpeg_and_a_narrow_link_makes_it_h264(
    monkeypatch: pytest.MonkeyPatch, relay: Relay, worker: GreyWorker
) -> None:
    relay.set(bytes_per_s=25_000)  # 0.2 Mb/s: the small picture's JPEGs want three times that
    stage = Stage(monkeypatch, f"tcp://127.0.0.1:{relay.port}", remote=True)
    try:
        assert stage.watch(lambda: Codec.H264 in worker.came, PATIENCE_S)
        assert worker.came[0] is Codec.JPEG
        assert styled(stage, 30)
        assert stage.figures()["link"]["codec"] == "h264"
    finally:
        stage.close()


def test_a_worker_that_knows_no_h264_gets_jpeg_though_asked(
    monkeypatch: pytest.MonkeyPatch, relay: Relay, worker: GreyWorker
) -> None:
    worker.codecs = "raw jpeg"
    stage = Stage(monkeypatch, f"tcp://127.0.0.1:{relay.port}", remote=True, codec="h264")
    try:
        assert styled(stage, 10)
        assert set(worker.came) == {Codec.JPEG}
        assert stage.figures()["link"]["codec"] == "jpeg"
    finally:
        stage.close()


def test_a_black_hole_ends_and_the_picture_comes_back(far: Stage, relay: Relay) -> None:
    assert styled(far, 10)
    relay.black_hole(True)
    assert far.watch(lambda: far.figures()["reconnects"] >= 1, PATIENCE_S)
    relay.black_hole(False)
    assert styled(far, 10)
    assert not far.leaked


@pytest.mark.slow
def test_the_product_over_ten_megabits_and_a_tenth_of_a_second(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the light install has no worker")
    source = tmp_path / "bars.mp4"
    write_source(source)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "brushcast_worker", "serve", "--bind"]
    with subprocess.Popen([*command, f"tcp://127.0.0.1:{port}"], stdout=subprocess.PIPE) as serving:
        try:
            assert serving.stdout is not None
            assert b"listening" in serving.stdout.readline()
            with Relay(("127.0.0.1", port), latency_s=0.1, bytes_per_s=1_250_000) as relay:
                worker = f"tcp://127.0.0.1:{relay.port}"
                product = Product(
                    tmp_path, source, "--worker", worker, "--codec", "h264", "--for", "25"
                )
                code, _, err = product.wait()
        finally:
            serving.terminate()
    assert code == 0, err
    report = product.report()
    assert report["frames_styled"] > 12, "however busy the machine"
    link = report["link"]
    assert link["codec"] == "h264"
    assert link["network_ms"] > 150
    assert link["worker_ms"] > 0
    assert json.dumps(link)
    seen = pictures(product.output)
    assert max(map(leak, seen)) < LEAK_MOST, "a raw picture reached the sink"
