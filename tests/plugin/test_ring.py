"""The ring: the newest picture between processes, never torn."""

import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import brushcast.ring as module
from brushcast.errors import SourceError
from brushcast.frame import Size
from brushcast.playout import Kind
from brushcast.ring import SLOTS, Form, Ring

SIZE = Size(1280, 720)

# Writes pictures of one value as fast as it can: value, seq and captured_ns belong together.
WRITER = """
import sys
import numpy as np
from brushcast.playout import Kind
from brushcast.ring import Ring
ring = Ring.attach(sys.argv[1])
pictures = [np.full((720, 1280, 3), value, np.uint8) for value in range(23)]
print("writing", flush=True)
seq = 0
while True:
    ring.write(pictures[seq % 23], Kind.LIVE, seq=seq, captured_ns=7 * seq)
    seq += 1
"""


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring.create(SIZE)
    yield made
    made.close()
    made.unlink()


def picture(value: int, size: Size = SIZE) -> np.ndarray:
    return np.full((size.height, size.width, 3), value, np.uint8)


def start_writer(ring: Ring) -> subprocess.Popen[bytes]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ring.path)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().strip() == b"writing"
    writer.stdout.close()
    before = ring.written
    while ring.written < before + SLOTS:
        time.sleep(0.001)
    return writer


def test_an_empty_ring_has_nothing(ring: Ring) -> None:
    assert ring.newest() is None
    assert ring.written == 0


def test_the_newest_picture_is_read_whole_by_another_mapping(ring: Ring) -> None:
    reader = Ring.attach(ring.path)
    for value in range(2 * SLOTS):
        kind = Kind.LIVE if value % 2 else Kind.BLURRED
        ring.write(
            picture(value), kind, seq=value, captured_ns=-5, now_ns=1000 + value,
            live_until_ns=9 * value,
        )  # fmt: skip
    got = reader.newest()
    reader.close()
    assert got is not None
    assert (got.number, got.seq, got.captured_ns, got.written_ns) == (8, 7, -5, 1007)
    assert got.live_until_ns == 63
    assert got.kind is Kind.LIVE
    assert np.array_equal(got.pixels_HWC, picture(7))


def test_what_is_read_belongs_to_the_reader(ring: Ring) -> None:
    ring.write(picture(1), Kind.LIVE)
    got = ring.newest()
    for value in range(2, 12):
        ring.write(picture(value), Kind.LIVE)
    assert got is not None
    assert (got.pixels_HWC == 1).all()
    got.pixels_HWC[:] = 99
    newest = ring.newest()
    assert newest is not None
    assert (newest.pixels_HWC == 11).all()


def test_only_what_is_newer_is_asked_for(ring: Ring) -> None:
    ring.write(picture(1), Kind.LIVE)
    assert ring.newest(after=0) is not None
    assert ring.newest(after=1) is None


def test_pictures_of_several_sizes_go_through(ring: Ring) -> None:
    for size in (Size(64, 64), Size(720, 1280), SIZE):
        ring.write(picture(3, size), Kind.HELD)
        got = ring.newest()
        assert got is not None
        assert got.pixels_HWC.shape == (size.height, size.width, 3)


def test_a_picture_that_does_not_fit_is_our_own_mistake(ring: Ring) -> None:
    with pytest.raises(AssertionError, match="1922x1080"):
        ring.write(picture(0, Size(1922, 1080)), Kind.LIVE)


def test_only_the_user_can_read_it(ring: Ring) -> None:
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring.path.parent.stat().st_mode) == 0o700


def test_unlink_leaves_nothing_behind() -> None:
    made = Ring.create(SIZE)
    made.close()
    made.unlink()
    assert not made.path.parent.exists()
    made.unlink()


def test_no_picture_is_torn_while_another_process_writes_flat_out(ring: Ring) -> None:
    writer = start_writer(ring)
    reader = Ring.attach(ring.path)
    seen = 0
    last = -1
    try:
        for _ in range(300):
            got = reader.newest()
            if got is None:
                continue
            seen += 1
            assert got.seq >= last
            assert got.captured_ns == 7 * got.seq
            assert got.pixels_HWC.min() == got.pixels_HWC.max() == got.seq % 23
            last = got.seq
    finally:
        writer.kill()
        writer.wait()
        reader.close()
    assert seen > 50


@pytest.mark.skipif(os.name != "posix", reason="stops a process with a signal")
def test_a_writer_killed_at_any_moment_leaves_a_whole_picture_and_a_ring_to_go_on_with(
    ring: Ring,
) -> None:
    for attempt in range(4):
        writer = start_writer(ring)
        time.sleep(0.005 * attempt)  # another moment each time
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        got = ring.newest()
        assert got is not None
        assert got.pixels_HWC.min() == got.pixels_HWC.max() == got.seq % 23
        before = ring.written
        ring.write(picture(252), Kind.CARD)
        newest = ring.newest(after=before)
        assert newest is not None
        assert newest.kind is Kind.CARD
        assert (newest.pixels_HWC == 252).all()


def test_a_slot_left_half_written_is_never_returned(ring: Ring) -> None:
    ring.write(picture(1), Kind.LIVE, seq=1)
    start = ring._slot_start(1)
    ring._words[start // 8] = 2 * 2 - 1  # the writer of picture 2 died in the middle
    got = ring.newest()
    assert got is not None
    assert got.seq == 1
    ring.write(picture(2), Kind.LIVE, seq=2)
    after = ring.newest()
    assert after is not None
    assert after.seq == 2


def test_a_ring_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    old = Ring.create(SIZE, tmp_path / "ring")
    reader = Ring.attach(old.path)
    assert not reader.replaced()
    new = Ring.create(SIZE, tmp_path / "ring")
    assert reader.replaced()
    for each in (old, reader, new):
        each.close()
    (tmp_path / "ring").unlink()
    assert new.replaced()


@pytest.mark.parametrize("content", [b"", b"short", b"X" * 8192, b"BRUSHRNG" + b"\0" * 8192])
def test_what_is_no_ring_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ring"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="picture ring .*ring"):
        Ring.attach(path)


def test_a_missing_ring_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        Ring.attach(tmp_path / "none")
    with pytest.raises(SourceError, match="No such file"):
        Ring.create(SIZE, tmp_path / "none" / "ring")


def flat_picture(form: Form, size: Size, seed: int) -> np.ndarray:
    shape = form.shape(size.width, size.height)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("form", "shape"),
    [(Form.RGB24, (48, 64, 3)), (Form.BGRA, (48, 64, 4)), (Form.I420, (64 * 48 * 3 // 2,))],
)
def test_every_form_goes_through_bit_by_bit(
    tmp_path: Path, form: Form, shape: tuple[int, ...]
) -> None:
    made = Ring.create(Size(64, 48), tmp_path / "ring", form)
    reader = Ring.attach(made.path, form)
    for seq, size in enumerate((Size(64, 48), Size(32, 96), Size(62, 46), Size(64, 48))):
        pixels = flat_picture(form, size, seq)
        made.write(pixels, Kind.LIVE, seq=seq, captured_ns=5, size=size)
        got = reader.newest()
        assert got is not None
        assert (got.form, got.width, got.height, got.seq) == (form, size.width, size.height, seq)
        assert np.array_equal(got.pixels_HWC, pixels)
        last = got
    assert last.pixels_HWC.shape == shape
    for each in (made, reader):
        each.close()


@pytest.mark.parametrize("form", list(Form))
def test_the_bytes_lie_where_the_obs_script_looks_for_them(tmp_path: Path, form: Form) -> None:
    """The script has code of its own for this: a change here is a new version."""
    size = Size(64, 48)
    made = Ring.create(size, tmp_path / "ring", form)
    for value in range(6):
        pixels = np.full(form.shape(64, 48), value, np.uint8)
        made.write(pixels, Kind.LIVE, seq=40 + value, captured_ns=-7, now_ns=900, size=size)
    data = made.path.read_bytes()
    made.close()
    magic, version, slots, slot_bytes, width, height = struct.unpack_from("<8sIIQII", data)
    assert (magic, version, slots, width, height) == (b"BRUSHRNG", 2, 4, 64, 48)
    assert slot_bytes % 4096 == 0
    assert len(data) == 4096 + 4 * slot_bytes
    assert struct.unpack_from("<Q", data, 64) == (6,)
    start = 4096 + (6 - 1) % 4 * slot_bytes
    assert struct.unpack_from("<QqqqIIII", data, start) == (12, 45, -7, 900, 64, 48, 1, int(form))
    length = {Form.RGB24: 9216, Form.BGRA: 12288, Form.I420: 4608}[form]
    assert slot_bytes >= 4096 + length
    assert data[start + 4096 : start + 4096 + length] == bytes([5]) * length


def test_a_picture_in_another_form_is_never_returned(tmp_path: Path) -> None:
    """A reader of RGB must not show BGRA as it stands, whatever the writer put there."""
    writer = Ring.create(Size(64, 48), tmp_path / "ring", Form.BGRA)
    reader = Ring.attach(writer.path, Form.RGB24)
    writer.write(flat_picture(Form.BGRA, Size(64, 48), 1), Kind.LIVE)
    assert reader.newest() is None
    for each in (writer, reader):
        each.close()


@pytest.mark.parametrize(
    ("width", "height", "kind", "form"),
    [(66, 48, 1, 2), (0, 48, 1, 2), (63, 48, 1, 2), (64, 2**31, 1, 2), (64, 48, 9, 2),
     (64, 48, 1, 7), (4608, 1, 1, 2)],
)  # fmt: skip
def test_a_picture_that_cannot_be_is_never_returned(
    tmp_path: Path, width: int, height: int, kind: int, form: int
) -> None:
    made = Ring.create(Size(64, 48), tmp_path / "ring", Form.I420)
    made.write(flat_picture(Form.I420, Size(64, 48), 1), Kind.LIVE, size=Size(64, 48))
    assert made.newest() is not None
    struct.pack_into("<IIII", made._mapping, 4096 + 32, width, height, kind, form)
    assert made.newest() is None
    made.close()


GOOD = (b"BRUSHRNG", 2, 4, 4096 + 12288, 64, 48)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((1, version) for version in (0, 1, 3)),
        *((2, slots) for slots in (0, 5, 2**32 - 1)),
        *((3, length) for length in (0, 4096, 4096 + 12287, 4096 + 8192, 2**64 - 4096)),
        *((4, width) for width in (0, 66, 8194, 2**32 - 1)),
        *((5, height) for height in (0, 8194, 2**32 - 1)),
    ],
)
def test_a_hostile_header_is_refused_in_one_sentence(
    tmp_path: Path, field: int, value: int
) -> None:
    path = tmp_path / "ring"
    content = bytearray(4096 + 4 * (4096 + 12288))
    struct.pack_into("<8sIIQII", content, 0, *GOOD)
    path.write_bytes(content)
    Ring.attach(path, Form.BGRA).close()
    fields = list(GOOD)
    fields[field] = value
    struct.pack_into("<8sIIQII", content, 0, *fields)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="wanted magic .* saw") as caught:
        Ring.attach(path, Form.BGRA)
    assert "\n" not in str(caught.value)


def test_pixels_of_another_shape_are_our_own_mistake(tmp_path: Path) -> None:
    made = Ring.create(Size(64, 48), tmp_path / "ring", Form.BGRA)
    with pytest.raises(AssertionError, match="BGRA"):
        made.write(picture(0, Size(64, 48)), Kind.LIVE)
    made.close()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="how a full disk is noticed")
def test_a_full_shared_memory_is_one_sentence_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        SourceError, match=r"picture ring .*No space left on device; wanted \d+ byt"
    ):
        Ring.create(Size(64, 48))
    assert not list(tmp_path.iterdir())


def test_no_place_for_a_ring_at_all_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_SHARED_MEMORY", tmp_path / "absent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SourceError, match=r"ring in .*absent or among temporary files: No such"):
        Ring.create(Size(64, 48))
