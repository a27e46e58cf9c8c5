"""What goes over the wire: a fixed header and one payload, exact or rejected. Pure.

A message has two parts. The first is the header (58 bytes, network byte order); the second is the
payload: the picture's bytes for FRAME and RESULT, a strict msgpack map for HELLO, WELCOME, SET,
PONG and FAULT, nothing for PING and BYE. `parse` raises MalformedMessage for anything else, and
VersionMismatch when the other side's major differs. The first six bytes (magic, major, minor) stay
where they are for ever, so that any two versions can tell.

A sender with a newer minor may add flags and map keys: they are ignored. From our own minor or an
older one, unknown keys and flags are errors; an older one may lack keys that have a default.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from brushcast.errors import MalformedMessage, VersionMismatch
from brushcast.wire.bodies import (
    MAX_CONTROL_BYTES,
    MAX_SIDE_PX,
    Control,
    Fault,
    Hello,
    Pong,
    StreamState,
    Welcome,
    WorkerStatus,
    pack_body,
    unpack_body,
)

__all__ = [
    "HEADER_BYTES",
    "MAX_CONTROL_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_SIDE_PX",
    "PROTOCOL",
    "Codec",
    "Control",
    "Fault",
    "Flags",
    "Header",
    "Hello",
    "Kind",
    "Message",
    "Parts",
    "Payload",
    "PixelFormat",
    "Pong",
    "StreamState",
    "Welcome",
    "WorkerStatus",
    "pack",
    "pack_control",
    "parse",
    "parse_header",
]

PROTOCOL = (1, 3)  # major, minor
MAGIC = b"BRSH"
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024  # a raw 4096x4096 picture is 50 MB; MAXMSGSIZE of the sockets
JPEG_ALLOWANCE_BYTES = 64 * 1024  # what a JPEG may be larger than its raw picture: headers

Payload = bytes | memoryview
Parts = list[Payload]  # one message as it goes out


class Kind(IntEnum):
    """What a message is. The bridge sends HELLO, FRAME, SET, PING and BYE; the worker the others
    and BYE."""

    HELLO = 1
    WELCOME = 2
    FRAME = 3
    RESULT = 4
    SET = 5
    PING = 6
    PONG = 7
    FAULT = 8
    BYE = 9


class Flags(IntFlag):
    """END: the last picture of a lossless stream (FRAME, and its RESULT). REUSED: a cache hit,
    nothing was computed (RESULT). REFUSED: the worker refused or dropped that frame and returns its
    credit (RESULT without a picture)."""

    NONE = 0
    END = 1
    REUSED = 2
    REFUSED = 4


class Codec(IntEnum):
    """How a picture's bytes are packed; NONE in messages without a picture."""

    NONE = 0
    RAW = 1
    JPEG = 2


class PixelFormat(IntEnum):
    """What the decoded bytes are; NONE in messages without a picture."""

    NONE = 0
    RGB8 = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first part of every message.

    session: u64, the bridge's name for the stream, constant over reconnects.
    epoch: u32, rises with every connection.
    revision: u32, of the stream's state (FRAME: the one in force when it was sent; RESULT: the one
    it was made with).
    seq: u64, of the picture, or of the PING.
    captured_ns: i64, the bridge's clock, echoed in RESULT and PONG.
    deadline_ms: u32, counted from sending, after which nobody wants the result; 0: no deadline.
    width, height, stride (bytes of a decoded row), pixel_format, codec: of the picture, else 0.
    payload_bytes: exact length of the second part.
    protocol: (major, minor) of the sender.
    """

    kind: Kind
    flags: Flags = Flags.NONE
    session: int = 0
    epoch: int = 0
    revision: int = 0
    seq: int = 0
    captured_ns: int = 0
    deadline_ms: int = 0
    width: int = 0
    height: int = 0
    stride: int = 0
    pixel_format: PixelFormat = PixelFormat.NONE
    codec: Codec = Codec.NONE
    payload_bytes: int = 0
    protocol: tuple[int, int] = PROTOCOL


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message. body follows from header.kind: a Control, the picture's bytes (FRAME,
    RESULT; empty when REFUSED), or None (PING, BYE). SET's body is a StreamState."""

    header: Header
    body: Control | bytes | None


_STRUCT = struct.Struct("!4sBBBBQIIQqIHHIBBI")
HEADER_BYTES = _STRUCT.size


def pack(header: Header, payload: Payload = b"") -> Parts:
    """The two parts of a message. `header.payload_bytes` is ignored: the payload's own length is
    written. A value outside its field's range is a mistake of ours (struct.error)."""
    return [_pack_header(header, memoryview(payload).nbytes), payload]


def pack_control(header: Header, body: Control | None = None) -> Parts:
    """The two parts of a message without a picture."""
    return pack(header, b"" if body is None else pack_body(body))


def parse(parts: Sequence[bytes]) -> Message:
    """A message from its parts. Raises MalformedMessage or VersionMismatch, and nothing else."""
    if len(parts) != 2:
        raise MalformedMessage(f"{len(parts)} parts, wanted 2")
    header, payload = parse_header(parts[0]), parts[1]
    if len(payload) != header.payload_bytes:
        raise MalformedMessage(f"payload of {len(payload)} bytes, declared {header.payload_bytes}")
    newer, older = header.protocol[1] > PROTOCOL[1], header.protocol[1] < PROTOCOL[1]
    match header.kind:
        case Kind.FRAME | Kind.RESULT:
            return Message(header, payload)
        case Kind.HELLO:
            return Message(header, unpack_body(Hello, payload, newer, older))
        case Kind.WELCOME:
            return Message(header, unpack_body(Welcome, payload, newer, older))
        case Kind.SET:
            return Message(header, unpack_body(StreamState, payload, newer, older))
        case Kind.PONG:
            return Message(header, unpack_body(Pong, payload, newer, older))
        case Kind.FAULT:
            return Message(header, unpack_body(Fault, payload, newer, older))
        case Kind.PING | Kind.BYE:
            return Message(header, None)


# Tables of what the bits mean: four times faster than calling the enums.
_KINDS = {int(kind): kind for kind in Kind}
_CODECS = {int(codec): codec for codec in Codec}
_FORMATS = {int(pixel_format): pixel_format for pixel_format in PixelFormat}
_FLAGS = {bits: Flags(bits) for bits in range(8)}
_KNOWN_FLAGS = 7
_END, _REFUSED = int(Flags.END), int(Flags.REFUSED)
_FLAGS_OF_KIND = {Kind.FRAME: _END, Kind.RESULT: _KNOWN_FLAGS}
_BYTES_OF_KIND = {kind: 0 if kind in (Kind.PING, Kind.BYE) else MAX_CONTROL_BYTES for kind in Kind}


def parse_header(part: bytes) -> Header:
    """The header, its fields checked against each other.

    Raises MalformedMessage or VersionMismatch.
    """
    if len(part) < 6 or part[:4] != MAGIC:
        seen = bytes(part[:4])
        raise MalformedMessage(f"{len(part)} bytes that start with {seen!r}, wanted {MAGIC!r}")
    if part[4] != PROTOCOL[0]:
        raise VersionMismatch(
            f"the other side speaks protocol {part[4]}.{part[5]}, this side {PROTOCOL[0]}."
            f"{PROTOCOL[1]}: wanted the same Brushcast release on both"
        )
    if len(part) != HEADER_BYTES:
        raise MalformedMessage(f"header of {len(part)} bytes, wanted {HEADER_BYTES}")
    fields = _STRUCT.unpack(part)
    _, major, minor, kind_bits, flag_bits, session, epoch, revision, seq, captured_ns = fields[:10]
    deadline_ms, width, height, stride, format_bits, codec_bits, payload_bytes = fields[10:]
    kind, codec = _KINDS.get(kind_bits), _CODECS.get(codec_bits)
    pixel_format = _FORMATS.get(format_bits)
    if kind is None or codec is None or pixel_format is None:
        raise MalformedMessage(
            f"kind {kind_bits}, codec {codec_bits}, format {format_bits}: wanted known ones"
        )
    if minor > PROTOCOL[1]:
        flag_bits &= _KNOWN_FLAGS
    allowed = _FLAGS_OF_KIND.get(kind, 0)
    if flag_bits & ~allowed:
        raise MalformedMessage(f"flags {flag_bits:#x} of {kind.name}, wanted only {allowed:#x}")
    if allowed and not flag_bits & _REFUSED:
        _check_picture(width, height, stride, pixel_format, codec, payload_bytes)
    elif width or height or stride or format_bits or codec_bits:
        raise MalformedMessage(f"{kind.name} with picture fields, wanted all of them 0")
    elif payload_bytes > (0 if allowed else _BYTES_OF_KIND[kind]):
        raise MalformedMessage(f"{kind.name} with a payload of {payload_bytes} bytes is too large")
    return Header(
        kind=kind,
        flags=_FLAGS[flag_bits],
        session=session,
        epoch=epoch,
        revision=revision,
        seq=seq,
        captured_ns=captured_ns,
        deadline_ms=deadline_ms,
        width=width,
        height=height,
        stride=stride,
        pixel_format=pixel_format,
        codec=codec,
        payload_bytes=payload_bytes,
        protocol=(major, minor),
    )


def _check_picture(
    width: int,
    height: int,
    stride: int,
    pixel_format: PixelFormat,
    codec: Codec,
    payload_bytes: int,
) -> None:
    """The picture's fields agree with each other, so that nothing later has to trust them."""
    if not 2 <= width <= MAX_SIDE_PX or not 2 <= height <= MAX_SIDE_PX:
        raise MalformedMessage(f"picture of {width}x{height}, wanted sides of 2 to {MAX_SIDE_PX}")
    if pixel_format is not PixelFormat.RGB8 or stride != 3 * width:
        raise MalformedMessage(
            f"format {pixel_format.name} with stride {stride}, wanted RGB8 with {3 * width}"
        )
    raw_bytes = stride * height
    if codec is Codec.RAW:
        fits = payload_bytes == raw_bytes <= MAX_PAYLOAD_BYTES
    else:
        limit = min(raw_bytes + JPEG_ALLOWANCE_BYTES, MAX_PAYLOAD_BYTES)
        fits = codec is Codec.JPEG and 0 < payload_bytes <= limit
    if not fits:
        raise MalformedMessage(f"{codec.name} of {width}x{height} in {payload_bytes} bytes")


def _pack_header(header: Header, payload_bytes: int) -> bytes:
    major, minor = header.protocol
    return _STRUCT.pack(
        MAGIC,
        major,
        minor,
        header.kind,
        header.flags,
        header.session,
        header.epoch,
        header.revision,
        header.seq,
        header.captured_ns,
        header.deadline_ms,
        header.width,
        header.height,
        header.stride,
        header.pixel_format,
        header.codec,
        payload_bytes,
    )
