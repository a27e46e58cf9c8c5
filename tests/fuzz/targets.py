"""What is read from outside, as functions of bytes: a target returns for what it accepts and for
what it refuses in one sentence, and raises for everything else. `python -m tests.fuzz` looks for
such bytes; `test_targets.py` replays those that were found.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brushcast
from brushcast.config import RunConfig, check_model_size, parse_address
from brushcast.errors import BrushcastError, ConfigError, MalformedMessage, PresetError
from brushcast.frame import Size
from brushcast.h264_sps import check_picture, sps_size, units
from brushcast.panel.api import parse_control, parse_event, parse_look, parse_object, parse_sink
from brushcast.presets import parse_preset, write_preset
from brushcast.presets.mixture import parse_mixture
from brushcast.wire.bodies import Fault, Hello, Pong, StreamState, Welcome, WorkerStatus, pack_body
from brushcast.wire.messages import (
    HEADER_BYTES,
    PROTOCOL,
    Codec,
    Control,
    Header,
    Kind,
    PixelFormat,
    pack,
    pack_control,
    parse,
    parse_header,
)
from brushcast.wire.pairing import parse_invitation
from brushcast.wire.sockets import parse_endpoint

Target = Callable[[bytes], None]
# Of x264 at 128x80, as our encoder sets it, without its remarks; the slices are cut off.
KEY_PICTURE = (
    "0000016764000cacb4105d08000003000800000301e478a15500000168ef3cb00000016588840dff95294def5ce8c5"
)
PICTURE = "000001419a26217ffde1016d"
CONTROL = (Kind.HELLO, Kind.WELCOME, Kind.SET, Kind.PONG, Kind.FAULT)


def wire_header(data: bytes) -> None:
    """The first part of every message; what is accepted means the same when it is sent on."""
    try:
        header = parse_header(data)
    except BrushcastError as error:
        one_sentence(error)
        return
    again = parse_header(bytes(pack(header, bytes(header.payload_bytes))[0]))
    assert again == header, (again, header)


def control_message(data: bytes) -> None:
    """The second part of HELLO, WELCOME, SET, PONG and FAULT. The first byte says which, and
    whether the sender is of this minor version, a newer or an older one."""
    if not data:
        return
    kind, minor = CONTROL[data[0] % 5], max(0, PROTOCOL[1] + data[0] // 5 % 3 - 1)
    header = Header(kind=kind, protocol=(PROTOCOL[0], minor))
    try:
        message = parse([bytes(part) for part in pack(header, data[1:])])
    except BrushcastError as error:
        one_sentence(error)
        return
    body: Any = message.body
    plain = dataclasses.replace(message.header, protocol=PROTOCOL)
    assert parse([bytes(part) for part in pack_control(plain, body)]).body == body


def preset(data: bytes) -> None:
    """A preset's file, and a prompt as a mixture; what is accepted survives being written."""
    text = data.decode(errors="replace")
    try:
        found = parse_preset("mine", text)
    except PresetError as error:
        one_sentence(error)
    else:
        assert parse_preset("mine", write_preset(found)) == found, found
    try:
        shares = [share for _, share in parse_mixture(text)]
    except BrushcastError as error:
        one_sentence(error)
    else:
        assert abs(sum(shares) - 1) < 1e-6 or not shares, shares


def configuration(data: bytes) -> None:
    """Everything that a command line, the panel's API, a parent process or an invitation to pair
    may say."""
    text = data.decode(errors="replace")
    readers: list[Callable[[], object]] = [
        lambda: parse_address(text),
        lambda: parse_endpoint(text),
        lambda: parse_invitation(text),
        lambda: check_model_size(Size.parse(text)),
        lambda: RunConfig(source=text),
        lambda: RunConfig(sinks=(text,)),
        lambda: RunConfig(worker=text),
        lambda: RunConfig(panel=text),
        lambda: parse_look(parse_object(data)),
        lambda: parse_control(parse_object(data)),
        lambda: parse_event(parse_object(data)),
        lambda: parse_sink(text, parse_object(data)),
    ]
    for read in readers:
        try:
            read()
        except BrushcastError as error:
            one_sentence(error)


def picture(data: bytes) -> None:
    """A JPEG of a network: the first four bytes are the declared size."""
    if len(data) < 4:
        return
    width, height = (2 + int.from_bytes(data[at : at + 2], "big") % 255 for at in (0, 2))
    header = Header(
        kind=Kind.RESULT, width=width, height=height, stride=3 * width,
        pixel_format=PixelFormat.RGB8, codec=Codec.JPEG, payload_bytes=len(data) - 4,
    )  # fmt: skip
    from brushcast import codec  # it alone needs OpenCV: the other targets run without

    try:
        pixels_HWC = codec.decode(header, data[4:])
    except MalformedMessage as error:
        one_sentence(error)
        return
    assert pixels_HWC.shape == (height, width, 3)
    assert pixels_HWC.dtype == "uint8"


def h264(data: bytes) -> None:
    """What is read of an H.264 picture before a decoder sees it: the first four bytes are the
    declared size. What is let through is of that size, or says none."""
    if len(data) < 4:
        return
    size = Size(*(2 + 2 * (int.from_bytes(data[at : at + 2], "big") % 4096) for at in (0, 2)))
    stream = data[4:]
    try:
        is_key = check_picture(stream, size)
    except MalformedMessage as error:
        one_sentence(error)
        return
    said = [sps_size(unit) for unit in units(stream) if unit[0] & 0x1F == 7]
    assert set(said) <= {size}, (said, size)
    assert said or not is_key


TARGETS: dict[str, Target] = {
    function.__name__: function
    for function in (wire_header, control_message, preset, configuration, picture, h264)
}
MOST_BYTES = {
    "wire_header": HEADER_BYTES + 1,
    "preset": 2000,
    "configuration": 400,
    "picture": 3000,
    "h264": 600,
}
"""Of a target's input: what is larger is refused elsewhere, or says nothing new."""


def seeds(name: str) -> list[bytes]:
    """Bytes that are right, for the fuzzer to begin with."""
    if name == "wire_header":
        return [bytes(pack_control(Header(kind=kind))[0]) for kind in Kind if kind != Kind.FRAME]
    if name == "preset":
        folder = Path(brushcast.__file__).parent / "presets"
        return [path.read_bytes() for path in sorted(folder.glob("*.toml"))] + [b"ink :3 | neon"]
    if name == "control_message":
        state = StreamState(
            revision=1, preset="ink", prompt="ink on paper", strength=0.5, seed=7, width=4, height=2
        )
        bodies: list[Control] = [
            Hello(client="bridge", version="1", state=state),
            Welcome(worker="worker", version="1", engine="pocket", device="cpu",
                    device_name="a CPU", chunk_frames=4, credit_frames=8),
            state,
            Pong(revision=1, status=WorkerStatus()),
            Fault(code="wording", message="the nearest is ink", fatal=False),
        ]  # fmt: skip
        return [bytes([5 + at]) + pack_body(body) for at, body in enumerate(bodies)]
    if name == "configuration":
        texts = ["127.0.0.1:8787", "tcp://[::1]:7171", "ipc:///run/x", "512x288", "camera:0", "off",
                 f"brushcast-pair:192.0.2.7:7172/7171/{'a' * 43}/{'b' * 22}",
                 "file:/a.mp4", "testcard", "obs", "local"]  # fmt: skip
        tables = [{"preset": "ink", "strength": 0.5, "seed": 7}, {"prompt": "oil"}, {"on": True},
                  {"action": "pause"}, {"watch": ["before", "after"]}, {"shown": "after"},
                  {"command": "stop"}]  # fmt: skip
        return [text.encode() for text in texts] + [json.dumps(t).encode() for t in tables]
    if name == "h264":
        return [bytes.fromhex("003f0027" + units) for units in (KEY_PICTURE, PICTURE)]
    import numpy as np

    from brushcast import codec

    small = codec.encode(np.zeros((16, 16, 3), np.uint8), Codec.JPEG)
    return [b"\0\x0e\0\x0e" + bytes(small)]


def one_sentence(error: BrushcastError) -> None:
    """What a refusal must be: short enough for a log line, printable by any terminal."""
    text = str(error)
    assert text, type(error)
    assert len(text) <= 1000, len(text)
    if not isinstance(error, ConfigError):
        assert text.isprintable(), text
