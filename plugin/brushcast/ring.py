"""Ring: the newest picture, shared between processes through one mapped file.

One writer, any number of readers: from the bridge to the camera process, from the OBS script to the
bridge, from the camera process to the OBS script. A reader never waits for the writer and the
writer never for a reader; a writer that dies in the middle of a picture leaves the others readable.

The file, little-endian; offsets in bytes:

    0     magic "BRUSHRNG"      8   u32 version (2)    12  u32 slots
    16    u64 slot_bytes        24  u32 max_width      28  u32 max_height
    64    u64 completed: how many pictures were ever written; the newest is in slot
          (completed - 1) % slots
    4096  the slots, slot_bytes each (a multiple of 4096):
          0   u64 lock: 2 n - 1 while picture n (1, 2, ...) is being written into it, 2 n when whole
          8   i64 seq             16  i64 captured_ns
          24  i64 written_ns (monotonic clock of this host)
          32  u32 width           36  u32 height
          40  u32 kind (playout.Kind)                  44  u32 format (Form)
          48  i64 live_until_ns, of kind LIVE (monotonic; 0: its writer does not say)
          4096  the pixels, without padding

All pictures of a ring have one format, which its writer and its readers agree on beforehand. The
OBS script has a reader and a writer of its own for this file: what changes here is a new version.

A reader takes `completed`, reads the lock (even), copies, and reads the lock again: unchanged means
that the copy is whole.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from brushcast.errors import SourceError
from brushcast.frame import MAX_SIDE_PX, Pixels, Size
from brushcast.playout import Kind

MAGIC = b"BRUSHRNG"
VERSION = 2
SLOTS = 4  # newest, being written, and two that slow readers may still be copying
PAGE_BYTES = 4096
ATTEMPTS = 8  # a reader that is overtaken so often in a row is told that nothing is new

_HEADER = struct.Struct("<8sIIQII")
_COMPLETED = 64 // 8
_SHARED_MEMORY = Path("/dev/shm")


class Form(IntEnum):
    """How the pixels of a picture lie in memory. I420: the planes Y, Cb, Cr one after the other,
    sides even, BT.709 in limited range.
    """

    RGB24 = 0
    BGRA = 1
    I420 = 2

    def bytes_of(self, width: int, height: int) -> int:
        """How many bytes a picture has."""
        area_px = width * height
        return area_px * 3 // 2 if self is Form.I420 else area_px * (3 if self is Form.RGB24 else 4)

    def shape(self, width: int, height: int) -> tuple[int, ...]:
        """[H W 3], [H W 4], or of I420 one flat row of bytes."""
        if self is Form.I420:
            return (self.bytes_of(width, height),)
        return (height, width, 3 if self is Form.RGB24 else 4)

    def can_be(self, width: int, height: int) -> bool:
        """Whether there are pictures of these sides."""
        even = self is not Form.I420 or (width % 2 == 0 and height % 2 == 0)
        return 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and even


@dataclass(frozen=True, slots=True)
class RingPicture:
    """What a reader gets: its own copy. number: rises with every picture written.

    pixels_HWC: uint8, [H W 3] RGB; of a BGRA ring [H W 4], of an I420 ring flat (`Form`). width,
    height: in pixels. seq, captured_ns: of the picture in it, -1 for the card. written_ns:
    monotonic. live_until_ns: when it is too old to be called live, also where its writer is gone by
    then; 0: nobody says.
    """

    pixels_HWC: Pixels
    number: int
    kind: Kind
    seq: int
    captured_ns: int
    written_ns: int
    form: Form
    width: int
    height: int
    live_until_ns: int = 0


class Ring:
    """One mapping of the ring. Every process and every thread that reads has its own; writing is
    for one thread of one process.
    """

    def __init__(self, path: Path, mapping: mmap.mmap, form: Form, owns_folder: bool) -> None:
        self.path = path
        self.form = form
        self._mapping = mapping
        self._owns_folder = owns_folder
        header: tuple[bytes, int, int, int, int, int] = _HEADER.unpack_from(mapping)
        _, _, self._slots, self._slot_bytes, width, height = header
        self._max_bytes = form.bytes_of(width, height)
        self._max_text = f"{width}x{height}"
        self._bytes: Pixels = np.frombuffer(mapping, np.uint8)
        self._words = self._bytes[: self._bytes.size // 8 * 8].view(np.uint64)
        self._fence = threading.Lock()
        stat = os.stat(path)
        self._identity = (stat.st_dev, stat.st_ino)

    @classmethod
    def create(cls, max_size: Size, path: Path | None = None, form: Form = Form.RGB24) -> Ring:
        """Make a new, empty ring (0600) that holds pictures of up to max_size, and map it.

        path: default a file in a new 0700 folder, in shared memory where there is such a place.
        What is at `path` is replaced. Raises SourceError.
        """
        picture_bytes = form.bytes_of(max_size.width, max_size.height)
        slot_bytes = PAGE_BYTES + _page_round(picture_bytes)
        total_bytes = PAGE_BYTES + SLOTS * slot_bytes
        owns_folder = path is None
        try:
            if path is None:
                path = _private_folder(total_bytes) / "ring"
            partial = path.with_name(path.name + ".part")
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOT_INHERITED, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle, 0, total_bytes)  # a full disk is noticed here
                else:
                    os.ftruncate(handle, total_bytes)
                mapping = mmap.mmap(handle, total_bytes)
            finally:
                os.close(handle)
            _HEADER.pack_into(
                mapping, 0, MAGIC, VERSION, SLOTS, slot_bytes, max_size.width, max_size.height
            )
            if os.name == "nt":  # a mapped file cannot be renamed there, so it is mapped anew
                mapping.close()
            os.replace(partial, path)
        except OSError as error:
            where = path or f"in {_SHARED_MEMORY} or among temporary files"
            if owns_folder and path is not None:
                shutil.rmtree(path.parent, ignore_errors=True)
            raise SourceError(
                f"picture ring {where}: {error.strerror or error}; wanted {total_bytes} bytes"
            ) from None
        if os.name == "nt":
            attached = cls.attach(path, form)
            attached._owns_folder = owns_folder
            return attached
        return cls(path, mapping, form, owns_folder)

    @classmethod
    def attach(cls, path: Path | str, form: Form = Form.RGB24) -> Ring:
        """Map a ring that exists. form: what its pictures are wanted in; others are never returned.

        Raises SourceError when there is none, or something else is there.
        """
        path = Path(path)
        try:
            handle = os.open(path, os.O_RDWR | _NOT_INHERITED)
        except OSError as error:
            raise SourceError(f"picture ring {path}: {error.strerror or error}") from None
        try:
            mapped_bytes = os.fstat(handle).st_size
            if mapped_bytes < PAGE_BYTES:
                raise SourceError(f"picture ring {path}: {mapped_bytes} bytes is too short for one")
            mapping = mmap.mmap(handle, mapped_bytes)
        except (OSError, ValueError) as error:
            raise SourceError(f"picture ring {path}: {error}") from None
        finally:
            os.close(handle)
        magic, version, slots, slot_bytes, width, height = _HEADER.unpack_from(mapping)
        whole = (
            slots > 0
            and slot_bytes % PAGE_BYTES == 0
            and form.can_be(width, height)
            and slot_bytes >= PAGE_BYTES + form.bytes_of(width, height)
            and mapped_bytes >= PAGE_BYTES + slots * slot_bytes
        )
        if magic != MAGIC or version != VERSION or not whole:
            mapping.close()
            raise SourceError(
                f"picture ring {path}: wanted magic {MAGIC!r}, version {VERSION} and room for "
                f"{form.name} pictures; saw {magic!r}, {version}, {mapped_bytes} bytes in "
                f"{slots} slots of {slot_bytes} for {width}x{height}"
            )
        return cls(path, mapping, form, owns_folder=False)

    @property
    def written(self) -> int:
        """How many pictures were ever written, by any writer."""
        return int(self._words[_COMPLETED])

    def write(
        self,
        pixels_HWC: Pixels,
        kind: Kind,
        *,
        seq: int = -1,
        captured_ns: int = -1,
        live_until_ns: int = 0,
        now_ns: int | None = None,
        size: Size | None = None,
    ) -> None:
        """Publish a picture (uint8, shaped as the ring's form says, of at most as many pixels as
        max_size has); it is copied. The one writer's thread.

        size: of the picture; needed for I420, whose pixels are flat.
        """
        if size is None:
            height, width = pixels_HWC.shape[:2]
        else:
            width, height = size.width, size.height
        shape, length = self.form.shape(width, height), self.form.bytes_of(width, height)
        assert pixels_HWC.dtype == np.uint8, pixels_HWC.dtype
        assert pixels_HWC.shape == shape, f"{pixels_HWC.shape}, wanted {shape} ({self.form.name})"
        assert length <= self._max_bytes, f"{width}x{height} into a ring for {self._max_text}"
        number = self.written + 1
        start = self._slot_start((number - 1) % self._slots)
        lock = start // 8
        self._words[lock] = 2 * number - 1
        self._barrier()
        signed = self._words[lock + 1 : lock + 4].view(np.int64)
        signed[:] = (seq, captured_ns, time.monotonic_ns() if now_ns is None else now_ns)
        sizes = self._bytes[start + 32 : start + 48].view(np.uint32)
        sizes[:] = (width, height, int(kind), int(self.form))
        self._words[lock + 6 : lock + 7].view(np.int64)[:] = live_until_ns
        target = self._bytes[start + PAGE_BYTES : start + PAGE_BYTES + length]
        np.copyto(target.reshape(shape), pixels_HWC)
        self._barrier()
        self._words[lock] = 2 * number
        self._barrier()
        self._words[_COMPLETED] = number

    def newest(
        self, after: int = 0, allocate: Callable[[tuple[int, ...]], Pixels] | None = None
    ) -> RingPicture | None:
        """The newest whole picture as an owned copy; None when there is none with a number above
        `after`.

        allocate: makes the array to copy into, given its shape; default: a new one.
        """
        copy: Pixels | None = None
        for _ in range(ATTEMPTS):
            number = self.written
            if number <= after or number == 0:
                return None
            start = self._slot_start((number - 1) % self._slots)
            lock = start // 8
            before = int(self._words[lock])
            self._barrier()
            if before != 2 * number:
                continue  # overtaken: this slot holds a newer picture already
            signed = self._words[lock + 1 : lock + 4].view(np.int64)
            seq, captured_ns, written_ns = (int(value) for value in signed)
            sizes = self._bytes[start + 32 : start + 48].view(np.uint32)
            width, height, kind, form = (int(value) for value in sizes)
            live_until_ns = int(self._words[lock + 6 : lock + 7].view(np.int64)[0])
            length = self.form.bytes_of(width, height)
            known = form == self.form and kind <= Kind.BLURRED
            if not (known and self.form.can_be(width, height) and length <= self._max_bytes):
                continue
            shape = self.form.shape(width, height)
            if copy is None or copy.shape != shape:  # kept over attempts: fresh memory is slow
                copy = np.empty(shape, np.uint8) if allocate is None else allocate(shape)
            source = self._bytes[start + PAGE_BYTES : start + PAGE_BYTES + length]
            np.copyto(copy, source.reshape(shape))
            self._barrier()
            if int(self._words[lock]) == before:
                return RingPicture(
                    *(copy, number, Kind(kind), seq, captured_ns, written_ns, self.form),
                    *(width, height, live_until_ns),
                )
        return None

    def replaced(self) -> bool:
        """Whether another ring (or nothing) is at this path by now: time to attach anew."""
        try:
            stat = os.stat(self.path)
        except OSError:
            return True
        return (stat.st_dev, stat.st_ino) != self._identity

    def close(self) -> None:
        """Unmap. The ring itself stays for the others."""
        self._bytes = self._bytes[:0].copy()
        self._words = self._bytes.view(np.uint64)
        with contextlib.suppress(BufferError):  # a view that someone still holds: unmapped with it
            self._mapping.close()

    def unlink(self) -> None:
        """Remove the file (and the folder that `create` made). For the owner, at the end; never
        raises.
        """
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self._owns_folder:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def _slot_start(self, slot: int) -> int:
        return PAGE_BYTES + slot * self._slot_bytes

    def _barrier(self) -> None:
        """Order what is before against what is after, also on processors that reorder stores
        (Apple's, ARM).

        Python has no fence; releasing a lock and taking it again is one.
        """
        with self._fence:
            pass
        with self._fence:
            pass


_NOT_INHERITED = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _page_round(length_bytes: int) -> int:
    return (length_bytes + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES


def _private_folder(wanted_bytes: int) -> Path:
    """A new 0700 folder in shared memory when it has room (containers often give it 64 MB), else
    among temporary files.
    """
    parent: Path | None = None
    if os.access(_SHARED_MEMORY, os.W_OK):
        if shutil.disk_usage(_SHARED_MEMORY).free > 2 * wanted_bytes:
            parent = _SHARED_MEMORY
    return Path(tempfile.mkdtemp(prefix="brushcast-", dir=parent))
