"""Any message survives the wire; any other bytes are refused with one of two errors."""

from __future__ import annotations

import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import MalformedMessage, VersionMismatch
from brushcast.wire.messages import (
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    PROTOCOL,
    Codec,
    Control,
    Flags,
    Header,
    Kind,
    PixelFormat,
    pack,
    pack_control,
    parse,
)
from tests.plugin.wire.samples import PICTURE, messages, plain, state

Sample = tuple[Header, Control | bytes | None, list[bytes]]

FRAME = Header(
    kind=Kind.FRAME,
    session=5,
    epoch=2,
    width=4,
    height=2,
    stride=12,
    pixel_format=PixelFormat.RGB8,
    codec=Codec.RAW,
)


@given(messages())
def test_every_message_comes_back_as_it_was_sent(sample: Sample) -> None:
    header, body, parts = sample
    message = parse(parts)
    assert message.body == body
    assert message.header == dataclasses.replace(header, payload_bytes=len(parts[1]))


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_arbitrary_parts_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(MalformedMessage):
        parse(parts)


@given(st.binary(min_size=HEADER_BYTES - 6, max_size=HEADER_BYTES - 6), st.binary(max_size=60))
def test_an_arbitrary_header_raises_nothing_else(rest: bytes, payload: bytes) -> None:
    try:
        parse([b"BRSH" + bytes(PROTOCOL) + rest, payload])
    except MalformedMessage:
        pass


@given(st.data())
def test_a_changed_message_raises_nothing_else(data: st.DataObject) -> None:
    _, _, parts = data.draw(messages())
    which = data.draw(st.integers(0, 1))
    part = bytearray(parts[which])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(part) - 1)))
        new = data.draw(st.binary(max_size=3))
        part[at : at + data.draw(st.integers(0, 3))] = new
    parts[which] = bytes(part)
    try:
        message = parse(parts)
    except (MalformedMessage, VersionMismatch):
        return
    assert message.header.payload_bytes == len(parts[1])


@given(messages(), st.integers(1, 3))
def test_a_cut_message_is_refused(sample: Sample, cut: int) -> None:
    parts = sample[2]
    with pytest.raises(MalformedMessage):
        parse([parts[0][:-cut], parts[1]])
    if parts[1]:
        with pytest.raises(MalformedMessage):
            parse([parts[0], parts[1][:-cut]])
    with pytest.raises(MalformedMessage):
        parse([parts[0], parts[1] + b"more"])


def test_another_major_is_told_apart_whatever_its_layout() -> None:
    with pytest.raises(VersionMismatch, match=r"speaks protocol 9\.3, this side 1\."):
        parse([b"BRSH\x09\x03", b"of the future", b"in three parts"][:2])


def test_a_newer_minor_may_add_flags_and_keys_and_ours_may_not() -> None:
    newer = (PROTOCOL[0], PROTOCOL[1] + 1)
    head = bytearray(pack(dataclasses.replace(FRAME, protocol=newer), PICTURE)[0])
    head[7] |= 0x40
    assert parse([bytes(head), PICTURE]).header.flags == Flags.NONE
    head[5] = PROTOCOL[1]
    with pytest.raises(MalformedMessage, match="flags 0x40"):
        parse([bytes(head), PICTURE])


def test_an_older_minor_may_lack_keys() -> None:
    table = msgpack.unpackb(pack_control(Header(kind=Kind.SET), state())[1])
    del table["pressure"]
    payload = msgpack.packb(table)
    older = (PROTOCOL[0], PROTOCOL[1] - 1)
    assert parse(plain(pack(Header(kind=Kind.SET, protocol=older), payload))).body == state()
    with pytest.raises(MalformedMessage, match="'pressure' is missing"):
        parse(plain(pack(Header(kind=Kind.SET), payload)))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"width": 0}, "picture of 0x2"),
        ({"height": 9000}, "picture of 4x9000"),
        ({"stride": 16}, "stride 16"),
        ({"pixel_format": PixelFormat.NONE}, "format NONE"),
        ({"codec": Codec.NONE}, "NONE of 4x2"),
        ({"flags": Flags.KEY_WANTED}, "flags 0x8 of FRAME"),
        ({"width": 6, "stride": 18}, "RAW of 6x2 in 24 bytes"),
        ({"flags": Flags.REUSED}, "flags 0x2 of FRAME"),
        ({"kind": Kind.PING}, "PING with picture fields"),
        ({"kind": Kind.RESULT, "flags": Flags.REFUSED}, "RESULT with picture fields"),
    ],
)
def test_fields_that_disagree_are_refused(changes: dict[str, int], complaint: str) -> None:
    header = dataclasses.replace(FRAME, **changes)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage, match=complaint):
        parse(plain(pack(header, PICTURE)))


def test_sizes_are_limited() -> None:
    huge = dataclasses.replace(FRAME, width=8192, height=8192, stride=3 * 8192)
    head = pack(huge, b"")[0]
    declared = bytes(head[:-4]) + (3 * 8192 * 8192).to_bytes(4, "big")
    with pytest.raises(MalformedMessage, match="RAW of 8192x8192"):
        parse([declared, b""])
    with pytest.raises(MalformedMessage, match="payload of"):
        parse(plain(pack(Header(kind=Kind.HELLO), b"x" * (MAX_CONTROL_BYTES + 1))))
    with pytest.raises(MalformedMessage, match="payload of 1 bytes"):
        parse(plain(pack(Header(kind=Kind.PING), b"x")))


def test_a_picture_goes_out_without_a_copy() -> None:
    view = memoryview(PICTURE)
    assert pack(FRAME, view)[1] is view


def test_a_body_of_another_kind_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="Pong: unknown key"):
        parse(plain(pack_control(Header(kind=Kind.PONG), state())))
