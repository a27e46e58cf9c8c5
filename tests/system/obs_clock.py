"""A clock inside a real OBS, for `tests/e2e/obs_hops.py`: a source "clock" whose pictures say when
they were pushed, and an ear on the program that reads such pictures. Runs under OBS's Python; the
figures go to the file that OBS_CLOCK_LOG names, a line each, milliseconds: drawn, left OBS."""

from __future__ import annotations

import ctypes as c
import os
import sys
import threading
import time

sys.path.insert(0, os.environ["OBS_CLOCK_SCRIPTS"])

from brushcast_script import libobs  # noqa: E402
from brushcast_script.libobs import KEPT, SourceFrame, VideoData  # noqa: E402

BITS = 24  # of microseconds / 64: it turns over after 17 minutes
WIDTH, HEIGHT = 640, 360
RawVideo = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(VideoData))


def now():
    return time.monotonic_ns() // 64000 & (1 << BITS) - 1


def row_of(value, width):
    """Luminance of a row: a block a bit."""
    block = width // BITS
    row = b"".join((b"\xeb" if value >> bit & 1 else b"\x10") * block for bit in range(BITS))
    return row.ljust(width, b"\x80")


def value_of(row, width):
    block = width // BITS
    return sum((row[bit * block + block // 2] > 128) << bit for bit in range(BITS))


def late_ms(value, at):
    return ((at - value) & (1 << BITS) - 1) * 0.064


class Clock:
    def __init__(self):
        self.obs = libobs.load()
        library = c.CDLL(libobs._path("libobs", "", ""))
        add = library.obs_add_raw_video_callback
        add.argtypes, add.restype = [c.c_void_p, c.c_void_p, c.c_void_p], None
        remove = library.obs_remove_raw_video_callback
        remove.argtypes, remove.restype = [c.c_void_p, c.c_void_p, c.c_void_p], None
        self.remove = remove
        self.heard = RawVideo(self.hear)
        self.stop = threading.Event()
        self.log = open(os.environ["OBS_CLOCK_LOG"], "a", buffering=1)
        add(None, self.heard, None)
        self.thread = threading.Thread(target=self.push)
        self.thread.start()

    def hear(self, _, frame):
        data = frame.contents
        at = data.data[0] + data.linesize[0] * (HEIGHT // 2)
        value, drawn = value_of(c.string_at(at, WIDTH), WIDTH), data.timestamp // 64000
        self.log.write(f"{late_ms(value, drawn):.2f} {late_ms(value, now()):.2f}\n")

    def push(self):
        memory = c.create_string_buffer(b"\x80" * (WIDTH * HEIGHT * 3 // 2))
        frame = SourceFrame()
        frame.width, frame.height, frame.format = WIDTH, HEIGHT, libobs.I420
        frame.range = libobs.RANGE_PARTIAL
        frame.linesize[0], frame.linesize[1], frame.linesize[2] = WIDTH, WIDTH // 2, WIDTH // 2
        base = c.addressof(memory)
        frame.data[0], frame.data[1], frame.data[2] = (
            base,
            base + WIDTH * HEIGHT,
            base + WIDTH * HEIGHT * 5 // 4,
        )
        self.obs.video_format_get_parameters(
            libobs.CS_709, libobs.RANGE_PARTIAL, c.addressof(frame.color_matrix),
            c.addressof(frame.color_range_min), c.addressof(frame.color_range_max),
        )  # fmt: skip
        while not self.stop.wait(1 / 60):
            c.memmove(base, row_of(now(), WIDTH) * HEIGHT, WIDTH * HEIGHT)
            frame.timestamp = time.monotonic_ns()
            source = self.obs.obs_get_source_by_name(b"clock")
            if source:
                self.obs.obs_source_set_async_unbuffered(source, True)
                self.obs.obs_source_output_video2(source, c.byref(frame))
                self.obs.obs_source_release(source)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.remove(None, self.heard, None)
        self.log.close()


def _register():
    """The kind "brushcast_clock", once."""
    obs = libobs.load()
    name = c.create_string_buffer(b"Clock")
    calls = [
        libobs.GetName(lambda _: c.addressof(name)),
        libobs.Create(lambda _, source: obs.bmalloc(8)),
    ]
    pointers = [c.cast(call, c.c_void_p).value for call in calls]
    flags = libobs.SOURCE_VIDEO | libobs.SOURCE_ASYNC | libobs.SOURCE_DO_NOT_DUPLICATE
    info = libobs.SourceInfo(
        b"brushcast_clock", libobs.SOURCE_INPUT, flags, *pointers, obs.address_of_bfree
    )
    obs.obs_register_source_s(c.byref(info), libobs.SOURCE_INFO_BYTES)
    KEPT["clock"] = name, calls, info


def script_load(settings):
    if "clock" not in KEPT:
        _register()
    KEPT["running clock"] = Clock()


def script_unload():
    KEPT.pop("running clock").close()
