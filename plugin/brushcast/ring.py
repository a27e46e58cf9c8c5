"""Ring: the newest picture, shared between processes through one mapped file.

One writer (the bridge), any number of readers (the camera process, the panel's preview, the OBS
script). A reader never waits for the writer and the writer never for a reader; a writer that dies
in the middle of a picture leaves the others readable.

The file, little-endian; offsets in bytes:

    0     magic "BRUSHRNG"      8   u32 version        12  u32 slots
    16    u64 slot_bytes        24  u32 max_width      28  u32 max_height
    64    u64 completed: how many pictures were ever written; the newest is in slot (completed - 1)
    % slots 4096  the slots, slot_bytes each:
          0   u64 lock: 2 n - 1 while picture n (1, 2, ...) is being written into it, 2 n when it is
          whole 8   i64 seq             16  i64 captured_ns    24  i64 written_ns (monotonic clock
          of this host) 32  u32 width           36  u32 height         40  u32 kind (playout.Kind)
          4096  pixels, [H W 3] uint8 RGB without padding

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
from pathlib import Path

import numpy as np

from brushcast.errors import SourceError
from brushcast.frame import Pixels, Size
from brushcast.playout import Kind

MAGIC = b"BRUSHRNG"
VERSION = 1
SLOTS = 4  # newest, being written, and two that slow readers may still be copying
PAGE_BYTES = 4096
ATTEMPTS = 8  # a reader that is overtaken so often in a row is told that nothing is new

_HEADER = struct.Struct("<8sIIQII")
_COMPLETED = 64 // 8
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class RingPicture:
    """What a reader gets: its own copy. number: rises with every picture written.

    pixels_HWC: [H W 3] uint8 RGB. seq, captured_ns: of the styled picture in it, -1 for the card.
    written_ns: monotonic.
    """

    pixels_HWC: Pixels
    number: int
    kind: Kind
    seq: int
    captured_ns: int
    written_ns: int


class Ring:
    """One mapping of the ring. Every process and every thread that reads has its own; writing is
    for one thread of one process.
    """

    def __init__(self, path: Path, mapping: mmap.mmap, owns_folder: bool) -> None:
        self.path = path
        self._mapping = mapping
        self._owns_folder = owns_folder
        header: tuple[bytes, int, int, int, int, int] = _HEADER.unpack_from(mapping)
        _, _, self._slots, self._slot_bytes, width, height = header
        self.max_size = Size(width, height)
        self._bytes: Pixels = np.frombuffer(mapping, np.uint8)
        self._words = self._bytes[: self._bytes.size // 8 * 8].view(np.uint64)
        self._fence = threading.Lock()
        stat = os.stat(path)
        self._identity = (stat.st_dev, stat.st_ino)

    @classmethod
    def create(cls, max_size: Size, path: Path | None = None) -> Ring:
        """Make a new, empty ring (0600) that holds pictures of up to max_size, and map it.

        path: default a file in a new 0700 folder, in shared memory where there is such a place.
        What is at `path` is replaced. Raises SourceError.
        """
        slot_bytes = PAGE_BYTES + _page_round(3 * max_size.area_px)
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
            raise SourceError(f"picture ring {path}: {error.strerror or error}") from None
        if os.name == "nt":
            attached = cls.attach(path)
            attached._owns_folder = owns_folder
            return attached
        return cls(path, mapping, owns_folder)

    @classmethod
    def attach(cls, path: Path | str) -> Ring:
        """Map a ring that exists. Raises SourceError when there is none, or something else is
        there.
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
            and slot_bytes >= PAGE_BYTES + 3 * width * height
            and mapped_bytes >= PAGE_BYTES + slots * slot_bytes
        )
        if magic != MAGIC or version != VERSION or not whole:
            mapping.close()
            raise SourceError(
                f"picture ring {path}: wanted magic {MAGIC!r}, version {VERSION}; "
                f"saw {magic!r}, {version}, {mapped_bytes} bytes"
            )
        return cls(path, mapping, owns_folder=False)

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
        now_ns: int | None = None,
    ) -> None:
        """Publish a picture ([H W 3] uint8 RGB, at most max_size); it is copied. The one writer's
        thread.
        """
        height, width, channels = pixels_HWC.shape
        fits = height * width <= self.max_size.area_px
        assert channels == 3 and pixels_HWC.dtype == np.uint8, pixels_HWC.shape  # noqa: PT018
        assert fits, f"{width}x{height} into a ring for {self.max_size}"
        number = self.written + 1
        start = self._slot_start((number - 1) % self._slots)
        lock = start // 8
        self._words[lock] = 2 * number - 1
        self._barrier()
        signed = self._words[lock + 1 : lock + 4].view(np.int64)
        signed[:] = (seq, captured_ns, time.monotonic_ns() if now_ns is None else now_ns)
        sizes = self._bytes[start + 32 : start + 44].view(np.uint32)
        sizes[:] = (width, height, int(kind))
        target = self._bytes[start + PAGE_BYTES : start + PAGE_BYTES + 3 * width * height]
        np.copyto(target.reshape(height, width, 3), pixels_HWC)
        self._barrier()
        self._words[lock] = 2 * number
        self._barrier()
        self._words[_COMPLETED] = number

    def newest(
        self, after: int = 0, allocate: Callable[[tuple[int, int, int]], Pixels] | None = None
    ) -> RingPicture | None:
        """The newest whole picture as an owned copy; None when there is none with a number above
        `after`.

        allocate: makes the array to copy into, given its shape (H, W, 3); default: a new one.
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
            sizes = self._bytes[start + 32 : start + 44].view(np.uint32)
            width, height, kind = (int(value) for value in sizes)
            if not (0 < width * height <= self.max_size.area_px and kind <= Kind.BLURRED):
                continue
            shape = (height, width, 3)
            if copy is None or copy.shape != shape:  # kept over attempts: fresh memory is slow
                copy = np.empty(shape, np.uint8) if allocate is None else allocate(shape)
            source = self._bytes[start + PAGE_BYTES : start + PAGE_BYTES + 3 * width * height]
            np.copyto(copy, source.reshape(shape))
            self._barrier()
            if int(self._words[lock]) == before:
                return RingPicture(copy, number, Kind(kind), seq, captured_ns, written_ns)
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
