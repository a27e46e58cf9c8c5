"""Picture: the OBS source "Brushcast", which shows what the product painted.

An async source whose pictures are pushed from a thread of ours. Without a fresh picture of the
product it shows the card, never anything else.
"""

from __future__ import annotations

import ctypes as c
import logging
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brushcast_script import libobs
from brushcast_script.libobs import KEPT, Libobs
from brushcast_script.ring import Picture, RingError, RingReader

log = logging.getLogger(__name__)

SOURCE_ID = b"brushcast_picture"
SOURCE_NAME = "Brushcast"
STALE_NS = 1_000_000_000
CARD_EVERY_S = 0.5  # a source that was made meanwhile gets one, too
POLL_S = 0.002
QUIET_SHARE = 0.6  # of a period: so long after a picture no other is looked for
LOOK_AGAIN_S = 0.25
CARD = Path(__file__).with_name("card.i420.z")
CARD_SIZE = (640, 360)


class Shown:
    """Feeds every "Brushcast" source from a thread of its own. The rest is for any thread."""

    def __init__(self, obs: Libobs, path: Callable[[], Path]) -> None:
        """path: of the ring that the product writes."""
        self._obs, self._path = obs, path
        self._sources = _register(obs)
        self._reader: RingReader | None = None
        self._looked_s = 0.0
        self._after = 0
        self._fresh_ns = 0  # when the last picture was written
        self._card = _Frame(obs, *CARD_SIZE)
        self._card_memory = _card(CARD_SIZE)
        self._card.point_to(c.addressof(self._card_memory))
        self._carded_s = 0.0
        self._period_s = 1 / 30
        self.hidden = False  # the panic card: whatever the product paints
        self.live = False
        self.size = CARD_SIZE
        self.torn = self.pictures = 0
        self._frame: _Frame | None = None
        self._sources.open()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="brushcast picture", daemon=True)
        self._thread.start()

    def shape(self, width: int, height: int) -> None:
        """The card's size from now on: the one that pictures will have."""
        if (width, height) != self.size:
            memory, card = _card((width, height)), _Frame(self._obs, width, height)
            card.point_to(c.addressof(memory))
            self._card_memory, self._card, self.size = memory, card, (width, height)
            self._carded_s = 0.0

    def hide(self, hidden: bool) -> None:
        """The card from now on, whatever the product paints; or no longer."""
        self.hidden = hidden
        if hidden:
            self.card_now()

    def card_now(self) -> None:
        """To every source, before anything else: one that was just made shows it at once."""
        self._push(self._card)

    def source(self) -> int | None:
        """One of our sources, with a reference; None if there is none."""
        found: list[int] = []

        def take(source: int) -> None:
            if not found and not self._obs.obs_source_removed(source):
                found.append(self._obs.obs_source_get_ref(source))

        self._sources.each(take)
        return found[0] if found else None

    def close(self) -> None:
        """Stop and wait; the sources are left with the card."""
        self._stop.set()
        self._thread.join(5)
        if self.pictures:
            said = "%d pictures were shown, %d of them written over while OBS took them"
            log.info(said, self.pictures, self.torn)
        self.card_now()
        self._sources.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _run(self) -> None:
        wait_s = POLL_S
        while not self._stop.wait(wait_s):
            try:
                wait_s = self._period_s * QUIET_SHARE if self._show() else POLL_S
                if self._reader is None:
                    wait_s = LOOK_AGAIN_S / 5
            except Exception:  # noqa: BLE001 (the thread's top: it is said and tried again)
                log.exception("a picture could not be shown")
                self._lose()
                wait_s = LOOK_AGAIN_S

    def _show(self) -> bool:
        """True: a new picture was shown."""
        now_ns = time.monotonic_ns()
        picture = self._newest(now_ns)
        if picture is not None and now_ns - picture.written_ns < STALE_NS:
            self._after = picture.number
            self._fresh_ns = picture.written_ns
            if not self.hidden:
                self._push_picture(picture)
                return True
        stale = now_ns - self._fresh_ns >= STALE_NS
        self.live = not stale and not self.hidden
        if (stale or self.hidden) and time.monotonic() - self._carded_s > CARD_EVERY_S:
            self._carded_s = time.monotonic()
            self._push(self._card)
        return False

    def _newest(self, now_ns: int) -> Picture | None:
        if self._reader is not None and now_ns - self._fresh_ns > STALE_NS // 2:
            if self._reader.replaced():
                self._lose()
        if self._reader is None:
            if time.monotonic() - self._looked_s < LOOK_AGAIN_S:
                return None
            self._looked_s = time.monotonic()
            try:
                self._reader = RingReader(self._path())
            except RingError as error:
                log.debug("%s", error)
                return None
        return self._reader.newest(self._after)

    def _lose(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._after = None, 0

    def _push_picture(self, picture: Picture) -> None:
        frame = self._frame
        if frame is None or frame.size != (picture.width, picture.height):
            frame = self._frame = _Frame(self._obs, picture.width, picture.height)
        frame.point_to(picture.address)
        self._push(frame)
        self.pictures += 1
        assert self._reader is not None
        if not self._reader.still(picture):
            self.torn += 1

    def _push(self, frame: _Frame) -> None:
        frame.raw.timestamp = time.monotonic_ns()
        raw = c.byref(frame.raw)
        self._sources.each(lambda source: self._obs.obs_source_output_video2(source, raw))


class _Frame:
    """An I420 picture of BT.709, as OBS wants to be told of it."""

    def __init__(self, obs: Libobs, width: int, height: int) -> None:
        self.size = width, height
        self.raw = raw = libobs.SourceFrame()
        raw.width, raw.height, raw.format = width, height, libobs.I420
        raw.range = libobs.RANGE_PARTIAL
        raw.linesize[0], raw.linesize[1], raw.linesize[2] = width, width // 2, width // 2
        obs.video_format_get_parameters(
            libobs.CS_709,
            libobs.RANGE_PARTIAL,
            c.addressof(raw.color_matrix),
            c.addressof(raw.color_range_min),
            c.addressof(raw.color_range_max),
        )

    def point_to(self, address: int) -> None:
        width, height = self.size
        self.raw.data[0] = address
        self.raw.data[1] = address + width * height
        self.raw.data[2] = address + width * height * 5 // 4


def _card(size: tuple[int, int]) -> Any:
    """The card, cut to that shape and scaled to that size, in memory of its own."""
    (width, height), (wide, high) = size, CARD_SIZE
    flat = zlib.decompress(CARD.read_bytes())
    planes, at = [], 0
    for halved in (1, 2, 2):
        w, h = wide // halved, high // halved
        planes.append(_scaled(flat[at : at + w * h], (w, h), (width // halved, height // halved)))
        at += w * h
    return c.create_string_buffer(b"".join(planes), width * height * 3 // 2)


def _scaled(plane: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """Nearest, its middle: a card is flat, and this needs nothing but Python."""
    scale = min(old[0] / new[0], old[1] / new[1])
    columns, rows = (
        [min(o - 1, int((o - n * scale) / 2 + (i + 0.5) * scale)) for i in range(n)]
        for o, n in zip(old, new, strict=True)
    )
    lines = {
        row: bytes(map(plane[row * old[0] : (row + 1) * old[0]].__getitem__, columns))
        for row in set(rows)
    }
    return b"".join(lines[row] for row in rows)


class _Registered:
    """The source's kind, once for OBS's life, and every source of it while we are loaded.

    Sources are destroyed by a thread of libobs at any time, also when OBS closes and its Python is
    gone: so that is done by libobs's own `bfree`, and sources are known by weak references.
    """

    def __init__(self, obs: Libobs) -> None:
        self._obs = obs
        self._lock = threading.Lock()
        self._weak: list[int] = []
        self._open = False
        self._name = c.create_string_buffer(SOURCE_NAME.encode())
        self._callbacks: list[Any] = [
            libobs.GetName(lambda _: c.addressof(self._name)),
            libobs.Create(self._create),
        ]
        pointers = [c.cast(callback, c.c_void_p).value for callback in self._callbacks]
        flags = libobs.SOURCE_VIDEO | libobs.SOURCE_ASYNC | libobs.SOURCE_DO_NOT_DUPLICATE
        self._info = libobs.SourceInfo(
            SOURCE_ID, libobs.SOURCE_INPUT, flags, *pointers, obs.address_of_bfree
        )
        obs.obs_register_source_s(c.byref(self._info), libobs.SOURCE_INFO_BYTES)

    def open(self) -> None:
        """Find what was made before."""
        self._open = True

        def found(_: int, source: int) -> bool:
            if self._obs.obs_source_get_unversioned_id(source) == SOURCE_ID:
                self._note(source)
            return True

        self._obs.obs_enum_sources(libobs.EnumSources(found), None)

    def close(self) -> None:
        """Let go of all."""
        self._open = False
        with self._lock:
            while self._weak:
                self._obs.obs_weak_source_release(self._weak.pop())

    def each(self, act: Callable[[int], None]) -> None:
        """With every source that there is, held meanwhile."""
        with self._lock:
            for weak in self._weak[:]:
                source = self._obs.obs_weak_source_get_source(weak)
                if not source:
                    self._obs.obs_weak_source_release(weak)
                    self._weak.remove(weak)
                    continue
                act(source)
                self._obs.obs_source_release(source)

    def _note(self, source: int) -> None:
        self._obs.obs_source_set_async_unbuffered(source, True)
        with self._lock:
            self._weak.append(self._obs.obs_source_get_weak_source(source))

    def _create(self, settings: int, source: int) -> int:
        if self._open:
            self._note(source)
        made: int = self._obs.bmalloc(8)
        return made


def _register(obs: Libobs) -> _Registered:
    if "picture" not in KEPT:
        KEPT["picture"] = _Registered(obs)
    found: _Registered = KEPT["picture"]
    return found
