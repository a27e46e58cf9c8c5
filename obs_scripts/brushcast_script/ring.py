"""Ring: the newest picture in a file that two processes map; the product's is `brushcast.ring`,
where the format (version 2) is described. Here with the standard library, by address, so that OBS's
own functions and one `memmove` do the copying.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
from dataclasses import dataclass
from pathlib import Path

MAGIC, VERSION = b"BRUSHRNG", 2
SLOTS, PAGE_BYTES, COMPLETED_AT = 4, 4096, 64
BGRA, I420 = 1, 2
LIVE, LAST_KIND = 1, 3
MOST_PX = 8192


class RingError(Exception):
    """One sentence: why there is no such ring."""


class _Header(ctypes.LittleEndianStructure):
    _fields_ = [
        ("magic", ctypes.c_char * 8),
        ("version", ctypes.c_uint32),
        ("slots", ctypes.c_uint32),
        ("slot_bytes", ctypes.c_uint64),
        ("max_width", ctypes.c_uint32),
        ("max_height", ctypes.c_uint32),
    ]


class _Slot(ctypes.LittleEndianStructure):
    _fields_ = [
        ("lock", ctypes.c_uint64),
        ("seq", ctypes.c_int64),
        ("captured_ns", ctypes.c_int64),
        ("written_ns", ctypes.c_int64),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("form", ctypes.c_uint32),
    ]


@dataclass(frozen=True)
class Picture:
    """A whole picture in the ring, where it lies. number: rises with every picture."""

    number: int
    width: int
    height: int
    form: int
    written_ns: int
    address: int


class _Mapping:
    """A mapped file, by address."""

    def __init__(self, path: Path, mapping: mmap.mmap) -> None:
        self.path, self._mapping = path, mapping
        self._held = (ctypes.c_char * len(mapping)).from_buffer(mapping)
        self._start = ctypes.addressof(self._held)
        self._fence = threading.Lock()
        found = os.stat(path)
        self._identity = found.st_dev, found.st_ino

    def header(self) -> _Header:
        return _Header.from_address(self._start)

    def slot(self, number: int, slot_bytes: int) -> tuple[_Slot, int]:
        """Of picture `number` (1, 2, ...): its head, and where its pixels begin."""
        start = self._start + PAGE_BYTES + (number - 1) % SLOTS * slot_bytes
        return _Slot.from_address(start), start + PAGE_BYTES

    @property
    def completed(self) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self._start + COMPLETED_AT)

    def barrier(self) -> None:
        """Order what is before against what is after; see `brushcast.ring`."""
        with self._fence:
            pass
        with self._fence:
            pass

    def replaced(self) -> bool:
        """Whether something else, or nothing, lies at the path by now."""
        try:
            found = os.stat(self.path)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def close(self) -> None:
        del self._held
        with contextlib.suppress(BufferError):
            self._mapping.close()


class RingWriter:
    """A new ring of BGRA pictures of one size. One thread writes."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        """Replaces what is at `path`. Raises RingError."""
        self.width, self.height = width, height
        self.row_bytes = 4 * width
        self._slot_bytes = PAGE_BYTES + -(-4 * width * height // PAGE_BYTES) * PAGE_BYTES
        total = PAGE_BYTES + SLOTS * self._slot_bytes
        partial = path.with_name(path.name + ".part")
        try:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            handle = os.open(partial, flags, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle, 0, total)  # a full disk is noticed here
                else:
                    os.ftruncate(handle, total)
                mapping = mmap.mmap(handle, total)
            finally:
                os.close(handle)
            if os.name == "nt":  # a mapped file cannot be renamed there
                mapping.close()
                path.unlink(missing_ok=True)
                partial.rename(path)
                with path.open("r+b") as file:
                    mapping = mmap.mmap(file.fileno(), total)
            else:
                partial.replace(path)
        except OSError as error:
            raise RingError(f"{path}: {error.strerror or error}") from None
        self._ring = _Mapping(path, mapping)
        header = self._ring.header()
        header.version, header.slots, header.slot_bytes = VERSION, SLOTS, self._slot_bytes
        header.max_width, header.max_height = width, height
        self._ring.barrier()
        header.magic = MAGIC  # the last: whoever comes too early finds no ring

    def write(self, address: int, row_bytes: int, now_ns: int) -> None:
        """Publish the picture at that address; its rows are row_bytes apart."""
        number = self._ring.completed.value + 1
        head, pixels = self._ring.slot(number, self._slot_bytes)
        head.lock = 2 * number - 1
        self._ring.barrier()
        head.seq, head.captured_ns, head.written_ns = number, now_ns, now_ns
        head.width, head.height, head.kind, head.form = self.width, self.height, LIVE, BGRA
        if row_bytes == self.row_bytes:
            ctypes.memmove(pixels, address, self.row_bytes * self.height)
        else:
            for row in range(self.height):
                ctypes.memmove(
                    pixels + row * self.row_bytes, address + row * row_bytes, self.row_bytes
                )
        self._ring.barrier()
        head.lock = 2 * number
        self._ring.barrier()
        self._ring.completed.value = number

    def replaced(self) -> bool:
        return self._ring.replaced()

    def close(self) -> None:
        """Let go of it, and take it away unless another took its place."""
        if not self._ring.replaced():
            with contextlib.suppress(OSError):
                self._ring.path.unlink()
        self._ring.close()


class RingReader:
    """A ring of I420 pictures that somebody else writes. One thread reads."""

    def __init__(self, path: Path) -> None:
        """Raises RingError: there is none (yet), or it is no ring."""
        try:
            with path.open("r+b") as file:
                mapping = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError) as error:
            raise RingError(f"{path}: {error}") from None
        header = _Header.from_buffer_copy(mapping[:PAGE_BYTES].ljust(PAGE_BYTES, b"\0"))
        self._slot_bytes = header.slot_bytes
        whole = (
            header.magic == MAGIC
            and header.version == VERSION
            and header.slots == SLOTS
            and PAGE_BYTES < self._slot_bytes < len(mapping)
            and PAGE_BYTES + SLOTS * self._slot_bytes <= len(mapping)
        )
        if not whole:
            mapping.close()
            raise RingError(f"{path} is no ring of version {VERSION}")
        self._ring = _Mapping(path, mapping)

    def newest(self, after: int = 0) -> Picture | None:
        """The newest whole picture above that number. What it says is checked: it lies in the ring
        whatever was written there."""
        number = self._ring.completed.value
        if number == 0 or number == after:
            return None
        head, address = self._ring.slot(number, self._slot_bytes)
        if head.lock != 2 * number:
            return None
        width, height = head.width, head.height
        picture = Picture(number, width, height, head.form, head.written_ns, address)
        even = width % 2 == 0 == height % 2 and 0 < width <= MOST_PX and 0 < height <= MOST_PX
        fits = even and width * height * 3 // 2 <= self._slot_bytes - PAGE_BYTES
        if not fits or picture.form != I420 or head.kind > LAST_KIND:
            return None
        self._ring.barrier()
        return picture

    def still(self, picture: Picture) -> bool:
        """Whether what was copied since `newest` was that picture, whole."""
        self._ring.barrier()
        head, _ = self._ring.slot(picture.number, self._slot_bytes)
        return bool(head.lock == 2 * picture.number)

    def replaced(self) -> bool:
        return self._ring.replaced()

    def close(self) -> None:
        self._ring.close()
