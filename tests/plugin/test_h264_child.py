"""The process that decodes: its answers, and what it cannot do any more."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import pytest

from brushcast.frame import Size
from brushcast.h264 import Encoder
from brushcast.h264_chain import NUMBER
from brushcast.h264_child import ANSWER, JOB, READY, decoded, new_decoder, serve
from tests.plugin.moving import clip_pictures

SIZE = Size(128, 80)
RGB_BYTES = 3 * SIZE.area_px


@pytest.fixture(scope="module")
def streams() -> list[bytes]:
    encoder = Encoder()
    return [bytes(encoder.encode(one, 2000))[NUMBER.size :] for one in clip_pictures(SIZE, 12)]


def job(stream: bytes, size: Size = SIZE, *, fresh: bool = False) -> bytes:
    return JOB.pack(len(stream), size.width, size.height, fresh) + stream


def test_every_job_is_answered_in_order(streams: list[bytes]) -> None:
    jobs = [job(streams[0], fresh=True), job(b"\0\0\1\x65rubbish"), job(streams[0], fresh=True)]
    jobs.append(job(streams[1]))
    answers = io.BytesIO()
    serve(io.BytesIO(b"".join(jobs)), answers)
    data, lengths = answers.getvalue(), []
    while data:
        lengths.append(ANSWER.unpack(data[:4])[0])
        data = data[4 + lengths[-1] :]
    assert lengths == [RGB_BYTES, 0, RGB_BYTES, RGB_BYTES]


def test_another_size_than_declared_is_no_picture(streams: list[bytes]) -> None:
    assert len(decoded(new_decoder(), streams[0], 128, 80)) == RGB_BYTES
    assert decoded(new_decoder(), streams[0], 80, 128) == b""
    assert decoded(new_decoder(), streams[0], 126, 80) == b""


def test_two_pictures_in_one_payload_are_none(streams: list[bytes]) -> None:
    assert decoded(new_decoder(), streams[0] + streams[1], 128, 80) == b""


def test_a_picture_whose_chain_is_missing_is_none(streams: list[bytes]) -> None:
    assert decoded(new_decoder(), streams[3], 128, 80) == b""


def test_thousands_of_damaged_pictures_are_pictures_or_none(streams: list[bytes]) -> None:
    """In a process of its own: PyAV has segfaulted on truncated H.264, and may again; then this
    says so, and the one that runs the tests lives on."""
    draw = random.Random(7)
    jobs = []
    for number in range(4000):
        stream = bytearray(draw.choice(streams))
        if number % 2:
            del stream[draw.randrange(len(stream)) :]
        for _ in range(draw.randrange(4) if stream else 0):
            stream[draw.randrange(len(stream))] = draw.randrange(256)
        jobs.append(job(bytes(stream), fresh=number % 7 == 0))
    command = [sys.executable, "-m", "brushcast.h264_child"]
    done = subprocess.run(command, input=b"".join(jobs), capture_output=True, timeout=120)
    assert done.stdout[: len(READY)] == READY
    data, lengths, at = done.stdout, [], len(READY)
    while at < len(data):
        lengths.append(ANSWER.unpack(data[at : at + 4])[0])
        at += 4 + lengths[-1]
    assert set(lengths) <= {0, RGB_BYTES}
    assert done.returncode == 0, "it survived them all, this time"
    assert len(lengths) == 4000
    assert lengths.count(0) > 400


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
def test_it_can_neither_write_files_nor_take_memory_without_end(tmp_path) -> None:
    code = f"""
import os, signal
from brushcast.h264_child import limit_this_process
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit_this_process()
try:
    bytearray(2**30)
except MemoryError:
    print("no memory")
try:
    os.write(os.open({str(tmp_path / "file")!r}, os.O_WRONLY | os.O_CREAT), b"x")
except OSError as error:
    print(error.strerror)
print(len(bytearray(2**29)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["no memory", "File too large", str(2**29)], done.stderr


def test_what_is_printed_by_others_is_no_answer(streams: list[bytes]) -> None:
    code = """
import os, sys
import brushcast.h264_child as child
real = child.decoded
def loud(*given):
    os.write(1, b"libav says hello")
    print("hello")
    return real(*given)
child.decoded = loud
child.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=job(streams[0], fresh=True), capture_output=True
    )
    assert len(done.stdout) == len(READY) + 4 + RGB_BYTES
