"""The script's side of the rings: what it writes and reads, and what it refuses."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest

from brushcast_script.ring import I420, RingError, RingReader, RingWriter


def bgra(width: int, height: int, value: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(bytes([value]) * (4 * width * height), 4 * width * height)


def i420_ring(path: Path, width: int, height: int, *, seq: int = 1, form: int = I420) -> None:
    """A ring with one whole picture, as the product writes it."""
    slot_bytes = 4096 + 4096 * -(-width * height * 3 // 2 // 4096)
    head = struct.pack("<8sIIQII", b"BRUSHRNG", 2, 4, slot_bytes, width, height)
    completed = struct.pack("<Q", seq)
    slot = struct.pack("<QqqqIIII", 2 * seq, 7, 5, 6, width, height, 1, form)
    at = (seq - 1) % 4 * slot_bytes
    body = bytearray(4 * slot_bytes)
    body[at : at + len(slot)] = slot
    body[at + 4096 : at + 4096 + width * height * 3 // 2] = bytes([9]) * (width * height * 3 // 2)
    path.write_bytes(head.ljust(64, b"\0") + completed.ljust(4096 - 64, b"\0") + body)


def test_what_is_written_lies_where_the_format_says(tmp_path: Path) -> None:
    ring = RingWriter(tmp_path / "r", 16, 8)
    for value in range(1, 7):
        memory = bgra(16, 8, value)
        ring.write(ctypes.addressof(memory), 64, 100 + value)
    data = (tmp_path / "r").read_bytes()
    assert struct.unpack_from("<8sIIQII", data) == (b"BRUSHRNG", 2, 4, 8192, 16, 8)
    assert struct.unpack_from("<Q", data, 64) == (6,)
    at = 4096 + 5 % 4 * 8192
    assert struct.unpack_from("<QqqqIIII", data, at) == (12, 6, 106, 106, 16, 8, 1, 1)
    assert data[at + 4096 : at + 4096 + 512] == bytes([6]) * 512
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
    ring.close()
    assert not (tmp_path / "r").exists()


def test_a_picture_that_is_being_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, locks = RingWriter(tmp_path / "r", 16, 8), []

    def looks(*_: int) -> None:
        data = (tmp_path / "r").read_bytes()
        locks.append((*struct.unpack_from("<Q", data, 4096), *struct.unpack_from("<Q", data, 64)))

    monkeypatch.setattr(ctypes, "memmove", looks)
    writer.write(0, 64, 1)
    assert locks == [(1, 0)], "odd while it is written, and not counted yet"
    writer.close()


def test_rows_that_are_further_apart_are_put_together(tmp_path: Path) -> None:
    ring = RingWriter(tmp_path / "r", 2, 3)
    rows = b"".join(bytes([row]) * 8 + b"\xff" * 24 for row in range(3))
    memory = ctypes.create_string_buffer(rows, len(rows))
    ring.write(ctypes.addressof(memory), 32, 1)
    data = (tmp_path / "r").read_bytes()
    assert data[8192 : 8192 + 24] == b"\0" * 8 + b"\1" * 8 + b"\2" * 8
    ring.close()


def test_another_ring_in_its_place_is_noticed_and_left_alone(tmp_path: Path) -> None:
    first = RingWriter(tmp_path / "r", 2, 2)
    assert not first.replaced()
    second = RingWriter(tmp_path / "r", 4, 4)
    assert first.replaced()
    first.close()
    assert (tmp_path / "r").exists()
    second.close()


def test_no_room_for_a_ring_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RingError, match="No such file"):
        RingWriter(tmp_path / "absent" / "r", 2, 2)


def test_the_newest_picture_is_read_where_it_lies(tmp_path: Path) -> None:
    i420_ring(tmp_path / "r", 16, 8, seq=6)
    ring = RingReader(tmp_path / "r")
    picture = ring.newest()
    assert picture is not None
    assert (picture.number, picture.width, picture.height, picture.written_ns) == (6, 16, 8, 6)
    assert ctypes.string_at(picture.address, 192) == bytes([9]) * 192
    assert ring.still(picture)
    assert ring.newest(after=6) is None
    with (tmp_path / "r").open("r+b") as file:  # it is being written over
        file.seek(4096 + 1 * 8192)
        file.write(struct.pack("<Q", 19))
    assert not ring.still(picture)
    assert ring.newest() is None
    ring.close()


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (4096 + 32, "<I", 15),  # odd
        (4096 + 32, "<I", 4096),  # larger than its slot
        (4096 + 36, "<I", 0),
        (4096 + 40, "<I", 4),  # no such kind
        (4096 + 44, "<I", 1),  # BGRA
        (4096, "<Q", 3),  # being written
    ],
)
def test_a_picture_that_is_none_is_not_shown(
    tmp_path: Path, offset: int, form: str, value: int
) -> None:
    i420_ring(tmp_path / "r", 16, 8)
    with (tmp_path / "r").open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(form, value))
    ring = RingReader(tmp_path / "r")
    assert ring.newest() is None
    ring.close()


@pytest.mark.parametrize("offset", [0, 8, 12, 16])
def test_what_is_no_ring_is_refused(tmp_path: Path, offset: int) -> None:
    i420_ring(tmp_path / "r", 16, 8)
    with (tmp_path / "r").open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff\xff\xff\x7f")
    with pytest.raises(RingError, match="no ring"):
        RingReader(tmp_path / "r")
    (tmp_path / "short").write_bytes(b"BRUSHRNG")
    with pytest.raises(RingError, match="no ring"):
        RingReader(tmp_path / "short")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("empty", "absent"):
        with pytest.raises(RingError):
            RingReader(tmp_path / name)
