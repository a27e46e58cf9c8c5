"""The worker as a process of its own, as the supervisor starts it."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brushcast import codec
from brushcast.errors import ConfigError, OutOfMemory
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast.wire import events as wire
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, StreamState
from brushcast.wire.sockets import Context, Dialler, parse_endpoint
from brushcast_worker import serve
from brushcast_worker.compile_cache import INDUCTOR
from brushcast_worker.engine import EngineInfo
from brushcast_worker.serve import _warmed_up, credit_frames
from tests.worker.conftest import SIZE, moving

PATIENCE_S = 120
STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=96, height=64
)


class Worker:
    """The process; its events by name."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "brushcast_worker", "serve", "--engine", "pocket-random"]
        self.process = subprocess.Popen(
            [*command, "--device", "cpu", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events), threading.Thread(target=self._read_errors)
        ]  # fmt: skip
        for reader in self._readers:
            reader.start()

    def event(self, name: str) -> dict[str, Any]:
        line = self._lines.get(timeout=PATIENCE_S)
        event: dict[str, Any] = json.loads(line)
        assert event["event"] == name, (event, self._errors)
        return event

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hang_up(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors += self.process.stderr


@pytest.fixture
def started() -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.close()


def ask(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_figures_and_health_on_a_port_of_their_own(started: list[Worker]) -> None:
    worker = Worker("--supervised", "--bind", "tcp://127.0.0.1:0", "--metrics", "0")
    started.append(worker)
    address = worker.event("metrics")["address"]
    health = address.removesuffix("metrics")
    assert ask(f"{health}livez") == (200, "loading\n")
    assert ask(f"{health}readyz")[0] in (200, 503)
    endpoint = worker.event("listening")["endpoint"]
    worker.event("ready")
    assert len(restyle(endpoint, STATE, 8)) == 8
    ends_s = time.monotonic() + PATIENCE_S
    while "brushcast_worker_pictures_total 8.0" not in (text := ask(address)[1]):
        assert time.monotonic() < ends_s, text
        time.sleep(0.1)
    assert 'engine="pocket' in text
    assert "brushcast_worker_batches_total 0.0" not in text
    assert ask(f"{health}livez") == (200, "live\n")
    assert ask(f"{health}readyz")[0] == 200
    assert worker.hang_up() == 0


def restyle(endpoint: str, state: StreamState, count: int) -> dict[int, bytes]:
    """Sends pictures as credit allows; the results by seq."""
    link = ClientLink(state, client="t", version="0", times=LOCAL_TIMES, rng=random.Random(0))
    context = Context()
    dialler = Dialler(context, parse_endpoint(endpoint), link)
    link.start(time.monotonic_ns())
    pictures, painted, seq = moving(count), dict[int, bytes](), 0
    end_s = time.monotonic() + PATIENCE_S
    while len(painted) < count:
        assert time.monotonic() < end_s, (len(painted), link.state, link.refusal)
        dialler.wait(time.monotonic_ns(), None, 20_000_000)
        for event in dialler.service(time.monotonic_ns()):
            assert not isinstance(event, wire.Refused | wire.Lost | wire.FrameRefused), event
            if isinstance(event, wire.Result):
                painted[event.header.seq] = event.payload
        while link.credit and seq < count:
            link.send_frame(
                codec.encode(pictures[seq], Codec.RAW),
                seq=seq,
                captured_ns=seq,
                width=state.width,
                height=state.height,
                codec=Codec.RAW,
                now_ns=time.monotonic_ns(),
                end=state.lossless and seq == count - 1,
            )
            seq += 1
        dialler.flush()
    dialler.close(time.monotonic_ns())
    context.term()
    return painted


def test_a_lossless_stream_from_end_to_end(started: list[Worker]) -> None:
    """Ten pictures, two and a half chunks: each comes back painted; the worker ends with us."""
    started.append(worker := Worker("--supervised"))
    endpoint = worker.event("listening")["endpoint"]
    ready = worker.event("ready")
    assert ready["engine"] == "pocket"
    assert ready["device"] == "cpu"
    painted = restyle(endpoint, _lossless(), 10)
    assert sorted(painted) == list(range(10))
    for seq, source in enumerate(moving(10)):
        styled = np.frombuffer(painted[seq], np.uint8).reshape(64, 96, 3)
        assert np.abs(styled.astype(int) - source).mean() > 1
    assert worker.hang_up() == 0


def test_a_spare_is_warm_but_listens_only_once_told(started: list[Worker]) -> None:
    started.append(worker := Worker("--supervised", "--standby"))
    worker.event("standby")
    with pytest.raises(queue.Empty):
        worker._lines.get(timeout=0.3)
    worker.tell({"command": "serve"})
    endpoint = worker.event("listening")["endpoint"]
    worker.event("ready")
    assert len(restyle(endpoint, _lossless(), 4)) == 4


def test_a_spare_whose_parent_leaves_ends(started: list[Worker]) -> None:
    started.append(worker := Worker("--supervised", "--standby"))
    worker.event("standby")
    assert worker.hang_up() == 0


def test_a_port_in_use_is_one_line_and_exit_code_2(started: list[Worker]) -> None:
    started.append(first := Worker("--supervised"))
    endpoint = first.event("listening")["endpoint"]
    started.append(second := Worker("--supervised", "--bind", endpoint))
    assert endpoint.rpartition(":")[2] in second.event("error")["message"]
    assert second.process.wait(PATIENCE_S) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_is_the_parents_affair_and_term_ends_it(started: list[Worker]) -> None:
    started.append(worker := Worker("--supervised"))
    worker.event("listening")
    worker.event("ready")
    worker.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.5)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(PATIENCE_S) == 0


def _lossless() -> StreamState:

    return dataclasses.replace(STATE, lossless=True)


@pytest.mark.parametrize(
    ("default", "steps", "late", "wanted"),
    [(1, (1, 2), 0, 8), (2, (1, 2, 3, 4), 0, 16), (2, (1, 2, 3, 4), 3, 19), (1, (1,), 0, 8)],
)
def test_credit_is_enough_for_the_most_steps_and_for_what_comes_late(
    default: int, steps: tuple[int, ...], late: int, wanted: int
) -> None:
    """Beside what a stream batch holds a whole chunk must find room, or nothing goes on."""
    info = EngineInfo(
        name="fake", device="cpu", device_name="fake", dtype="float32", chunk_frames=4,
        steps=steps, default_steps=default, default_size=Size(64, 64), size_multiple=16,
        description="", late_frames=late,
    )  # fmt: skip
    assert credit_frames(info) == wanted
    assert credit_frames(info) - late >= 4 * max(steps)


class Warming:
    """A loop that fails to warm up as often as it is told."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.sizes = failures, error, list[Size]()

    def warm_up(self, preset: Preset, size: Size) -> int:
        self.sizes.append(size)
        if len(self.sizes) <= self.failures:
            raise self.error
        return 5


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a damaged kernel of an earlier start."""
    monkeypatch.setattr(serve, "compiled_folder", lambda: tmp_path)
    monkeypatch.setenv(INDUCTOR, str(tmp_path / "a"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kernel").write_bytes(b"damaged")
    return tmp_path / "a" / "kernel"


def test_a_damaged_compile_cache_is_built_anew_once(compiled: Path) -> None:
    loop: Any = Warming(1, RuntimeError("device kernel image is invalid"))
    assert _warmed_up(loop, SIZE) == 5
    assert loop.sizes == [SIZE, SIZE]
    assert not compiled.exists()
    loop = Warming(2, RuntimeError("another reason"))
    with pytest.raises(RuntimeError, match="another reason"):
        _warmed_up(loop, SIZE)
    assert len(loop.sizes) == 2


@pytest.mark.parametrize("error", [OutOfMemory("80 GB wanted"), ConfigError("no such size")])
def test_what_the_cache_is_not_to_blame_for_ends_the_start(
    compiled: Path, error: Exception
) -> None:
    loop: Any = Warming(1, error)
    with pytest.raises(type(error)):
        _warmed_up(loop, SIZE)
    assert compiled.exists()


def test_without_a_compile_cache_nothing_is_tried_twice(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INDUCTOR)
    loop: Any = Warming(1, RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        _warmed_up(loop, SIZE)
    assert len(loop.sizes) == 1
    assert compiled.exists()
