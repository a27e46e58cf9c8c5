"""The worker as a process of its own, as the supervisor starts it."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from brushcast import codec
from brushcast.errors import ConfigError, OutOfMemory
from brushcast.frame import Size
from brushcast.wire import events as wire
from brushcast.wire.curve import BRIDGES
from brushcast.wire.link import LOCAL_TIMES, ClientLink
from brushcast.wire.messages import Codec, StreamState
from brushcast.wire.sockets import Context, Dialler, parse_endpoint
from brushcast.wire.zap import new_keys
from brushcast_worker import serve
from brushcast_worker.compile_cache import INDUCTOR
from brushcast_worker.config import ServeConfig
from brushcast_worker.engine import EngineInfo
from brushcast_worker.serve import _warmed_up, _welcome, credit_frames
from tests.worker.conftest import moving
from tests.worker.served import HANGING, PATIENCE_S, STATE, Worker, feed


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
    """A warm-up that fails as often as it is told."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.tries = failures, error, 0

    def __call__(self) -> list[int]:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error
        return [9, 5]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a damaged kernel of an earlier start."""
    monkeypatch.setattr(serve, "compiled_folder", lambda: tmp_path)
    monkeypatch.setenv(INDUCTOR, str(tmp_path / "a"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kernel").write_bytes(b"damaged")
    return tmp_path / "a" / "kernel"


@pytest.mark.parametrize("far", [False, True])
def test_only_who_may_be_far_away_offers_h264_and_more_credit(far: bool) -> None:
    info = EngineInfo(
        name="e", device="cpu", device_name="a CPU", dtype="float32", chunk_frames=4,
        steps=(1, 2), default_steps=1, default_size=Size(512, 288), size_multiple=16,
        description="",
    )  # fmt: skip
    welcome = _welcome(info, 1_000_000_000, far=far)
    assert ("h264" in welcome.codecs) is far
    assert (welcome.credit_frames > credit_frames(info) + 8) is far


def test_a_damaged_compile_cache_is_built_anew_once(compiled: Path) -> None:
    warm = Warming(1, RuntimeError("device kernel image is invalid"))
    assert _warmed_up(warm) == [9, 5]
    assert warm.tries == 2
    assert not compiled.exists()
    warm = Warming(2, RuntimeError("another reason"))
    with pytest.raises(RuntimeError, match="another reason"):
        _warmed_up(warm)
    assert warm.tries == 2


@pytest.mark.parametrize("error", [OutOfMemory("80 GB wanted"), ConfigError("no such size")])
def test_what_the_cache_is_not_to_blame_for_ends_the_start(
    compiled: Path, error: Exception
) -> None:
    warm = Warming(1, error)
    with pytest.raises(type(error)):
        _warmed_up(warm)
    assert compiled.exists()


def test_without_a_compile_cache_nothing_is_tried_twice(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INDUCTOR)
    warm = Warming(1, RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        _warmed_up(warm)
    assert warm.tries == 1
    assert compiled.exists()


def test_beyond_this_machine_it_listens_with_keys_and_says_when_nobody_is_paired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    anywhere, context = parse_endpoint("tcp://0.0.0.0:0"), Context()
    config = ServeConfig(bind=anywhere, keys=new_keys(), bridges=tmp_path / "keys" / BRIDGES)
    socket = serve._listen(context, anywhere, config)
    assert "brushcast-worker pair" in caplog.text
    assert not socket.admits(b"\0" * 37)
    socket.close()
    near = parse_endpoint("tcp://127.0.0.1:0")
    socket = serve._listen(context, near, ServeConfig(bind=near))
    assert socket.admits(b"\0" * 37), "loopback has no list"
    socket.close()
    with pytest.raises(ConfigError, match="beyond this machine"):
        serve._listen(context, anywhere, ServeConfig(bind=near))
    context.term()


@pytest.fixture
def camera() -> Iterator[Callable[[str], None]]:
    """Starts a camera for an endpoint."""
    stop, threads = threading.Event(), list[threading.Thread]()
    yield lambda endpoint: threads.append(feed(endpoint, stop))
    stop.set()
    for thread in threads:
        thread.join(10)


def test_a_model_that_hangs_does_not_outlive_the_parent(
    started: list[Worker], camera: Callable[[str], None]
) -> None:
    """The guard would take minutes here: what ends it is the end of standard input."""
    started.append(worker := Worker("--supervised", program=(HANGING, "0", "loop")))
    camera(worker.event("listening")["endpoint"])
    assert worker.says("stuck")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.5)
    assert worker.hang_up() == 1


def test_a_model_that_hangs_ends_its_process_with_a_sentence(
    started: list[Worker], camera: Callable[[str], None]
) -> None:
    started.append(worker := Worker("--supervised", program=(HANGING, "6", "loop")))
    camera(worker.event("listening")["endpoint"])
    assert worker.process.wait(PATIENCE_S) == 1
    assert worker._errors[0] == "stuck\n"
    ended = "the worker ends itself: the model did not come back within "
    assert worker._errors[-1].startswith(ended)


def test_a_parent_that_dies_while_the_model_is_loaded_leaves_no_worker(
    started: list[Worker],
) -> None:
    started.append(worker := Worker("--supervised", program=(HANGING, "0", "load")))
    assert worker.says("stuck")
    assert worker.hang_up() == 1


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[str, Callable[[float], list[str]]]]:
    """A notify socket's path, and what was heard there within so many seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))

        def heard(seconds: float) -> list[str]:
            found, ends = list[str](), time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                listening.settimeout(left)
                try:
                    found += listening.recv(4096).decode().split("\n")
                except TimeoutError:
                    break
            return found

        yield str(tmp_path / "notify"), heard


@pytest.mark.skipif(os.name != "posix", reason="UNIX sockets")
def test_systemd_hears_of_a_start_and_an_end(
    started: list[Worker], systemd: tuple[str, Callable[[float], list[str]]]
) -> None:
    """READY once it is warm and listens, signs of life though nobody wants pictures, STOPPING."""
    path, heard = systemd
    started.append(worker := Worker("--json", NOTIFY_SOCKET=path, WATCHDOG_USEC="30000000"))
    ends, words = time.monotonic() + PATIENCE_S, list[str]()
    while not words and time.monotonic() < ends:
        words = heard(0.1)
    assert words[0] == "READY=1"
    told = [json.loads(worker._lines.get(timeout=1))["event"] for _ in range(2)]
    assert told == ["listening", "ready"], "loading takes longer than that second"
    words += heard(3)
    assert words[1].startswith("STATUS=pocket on ")
    assert words.count("READY=1") == 1
    assert "WATCHDOG=1" in words
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(PATIENCE_S) == 0
    assert "STOPPING=1" in heard(0.5)


@pytest.mark.skipif(os.name != "posix", reason="UNIX sockets")
def test_systemd_gets_no_sign_of_life_from_a_process_that_is_stuck_as_a_whole(
    started: list[Worker],
    camera: Callable[[str], None],
    systemd: tuple[str, Callable[[float], list[str]]],
) -> None:
    """In C, with the interpreter's lock: its own guard cannot end it, so systemd must."""
    path, heard = systemd
    worker = Worker(
        "--json", program=(HANGING, "2", "held"), NOTIFY_SOCKET=path, WATCHDOG_USEC="30000000"
    )
    started.append(worker)
    endpoint = worker.event("listening")["endpoint"]
    assert "WATCHDOG=1" in heard(2.5)
    camera(endpoint)
    assert worker.says("stuck")
    heard(0.2)  # what was on its way
    assert heard(3) == []
    assert worker.process.poll() is None
