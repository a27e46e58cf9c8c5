"""The process that decodes H.264 from outside, and may die of it. Its parent is h264_decoder.

Standard input brings jobs: what `JOB` packs (bytes, width, height, whether a chain begins), then
the byte stream. Standard output answers: `READY` once, then for each job how many bytes follow,
3 * width * height of RGB or none. It ends with its input. Before the first job it gives away what a
decoder has no need of: files, memory without end, core dumps.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.codec.context import Flags, ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

JOB = struct.Struct("!IHHB")
ANSWER = struct.Struct("!I")
MATRIX = "ITU709"  # what our encoders use
READY = b"H264"
MORE_MEMORY_BYTES = 768 * 2**20  # than when it was ready: 16 pictures of 4096x2304 take a third


def main() -> None:
    """Serve until the input ends."""
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever prints does not answer
    limit_this_process()
    answers.write(READY)
    answers.flush()
    serve(jobs, answers)


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer every job in order. Raises nothing for what is in it, as far as Python can tell."""
    decoder = new_decoder()
    while len(head := jobs.read(JOB.size)) == JOB.size:
        length, width, height, fresh = JOB.unpack(head)
        stream = jobs.read(length)
        if fresh:
            decoder = new_decoder()
        rgb = decoded(decoder, stream, width, height)
        answers.write(ANSWER.pack(len(rgb)) + rgb)
        answers.flush()


def new_decoder() -> VideoCodecContext:
    """Holds nothing back, conceals nothing."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count, decoder.thread_type = 1, ThreadType.NONE
    decoder.flags |= Flags.low_delay
    decoder.options = {"err_detect": "explode", "ec": "0"}
    return decoder


def decoded(decoder: VideoCodecContext, stream: bytes, width: int, height: int) -> bytes:
    """The picture's RGB bytes; none when it is no whole picture of that size."""
    try:
        frames = decoder.decode(av.Packet(stream))
    except (av.error.FFmpegError, ValueError, MemoryError):
        return b""
    if len(frames) != 1 or not isinstance(frame := frames[0], VideoFrame) or frame.is_corrupt:
        return b""
    if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
        return b""
    return frame.to_ndarray(format="rgb24", src_colorspace=MATRIX).tobytes()


def limit_this_process() -> None:
    """On POSIX: no file may grow, no core is dumped, memory is bounded."""
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return  # not Linux: what is mapped is not known, and a guess could be too little
    most = pages * resource.getpagesize() + MORE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
