"""Samples for the wire's tests: hypothesis strategies for every message, and plain ones."""

from __future__ import annotations

from hypothesis import strategies as st

from brushcast.wire.bodies import MAX_PROMPT_CHARACTERS, MODES, UNKNOWN
from brushcast.wire.messages import (
    Codec,
    Control,
    Fault,
    Flags,
    Header,
    Hello,
    Kind,
    Payload,
    PixelFormat,
    Pong,
    StreamState,
    Welcome,
    WorkerStatus,
    pack,
    pack_control,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True)
LABELS = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=30)
PROMPTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100)
SHARES = st.floats(0, 1) | st.just(UNKNOWN)
EVEN_SIDES = st.integers(1, 4096).map(lambda half: 2 * half)

STATES = st.builds(
    StreamState,
    revision=U32,
    preset=NAMES,
    prompt=PROMPTS,
    strength=st.floats(0, 1),
    seed=U32,
    width=EVEN_SIDES,
    height=EVEN_SIDES,
    steps=st.integers(0, 64),
    lossless=st.booleans(),
    fixed_size=st.booleans(),
    pressure=st.booleans(),
    result_quality=st.integers(0, 100),
    result_bytes=U32,
    result_keys=U32,
    mode=st.sampled_from(("", *MODES)),
    target_fps=st.integers(0, 240),
    network_limited=st.booleans(),
)
STATUSES = st.builds(
    WorkerStatus,
    engine_fps=st.floats(0, 1e9),
    step_ms=st.floats(0, 1e9),
    queue_frames=U64,
    held_frames=U64,
    rung=LABELS,
    cache_hits=U64,
    refused_frames=U64,
    memory_bytes=U64,
    chunk_frames=st.integers(0, 256),
    takes=st.integers(0, 16),
    gpu_share=SHARES,
    gpu_used_bytes=U64,
    gpu_total_bytes=U64,
    batch_share=SHARES,
    cache_share=SHARES,
)
WELCOMES = st.builds(
    Welcome,
    worker=LABELS,
    version=LABELS,
    engine=LABELS,
    device=LABELS,
    device_name=LABELS,
    chunk_frames=st.integers(1, 256),
    credit_frames=st.integers(1, 256),
    revision=U32,
    warmup_ms=st.integers(0, 600_000),
    size_multiple=st.integers(1, 1024),
    default_width=st.integers(2, 8192),
    default_height=st.integers(2, 8192),
    attention=LABELS,
    codecs=LABELS,
)
BODIES: dict[Kind, st.SearchStrategy[Control]] = {
    Kind.HELLO: st.builds(Hello, client=LABELS, version=LABELS, state=STATES),
    Kind.WELCOME: WELCOMES,
    Kind.SET: STATES,
    Kind.PONG: st.builds(Pong, revision=U32, status=STATUSES, since_ms=st.floats(0, 1e15)),
    Kind.FAULT: st.builds(Fault, code=NAMES, message=LABELS, fatal=st.booleans()),
}
assert MAX_PROMPT_CHARACTERS >= 100


@st.composite
def messages(draw: st.DrawFn) -> tuple[Header, Control | bytes | None, list[bytes]]:
    """A valid message of any kind: its header, its body, and its parts."""
    kind = draw(st.sampled_from(Kind))
    common = {
        "kind": kind,
        "session": draw(U64),
        "epoch": draw(U32),
        "revision": draw(U32),
        "seq": draw(U64),
        "captured_ns": draw(st.integers(-(2**63), 2**63 - 1)),
        "deadline_ms": draw(U32),
    }
    if kind in BODIES:
        body = draw(BODIES[kind])
        header = Header(**common)
        return header, body, plain(pack_control(header, body))
    if kind in (Kind.PING, Kind.BYE):
        header = Header(**common)
        return header, None, plain(pack(header))
    flags = Flags(draw(st.integers(0, 1 if kind is Kind.FRAME else 15)))
    if flags & Flags.REFUSED:
        header = Header(flags=flags, **common)
        return header, b"", plain(pack(header))
    width, height = draw(st.integers(2, 24)), draw(st.integers(2, 24))
    codec = draw(st.sampled_from([Codec.RAW, Codec.JPEG, Codec.H264]))
    size = 3 * width * height
    length = size if codec is Codec.RAW else draw(st.integers(1, size))
    payload = draw(st.binary(min_size=length, max_size=length))
    header = Header(
        flags=flags,
        width=width,
        height=height,
        stride=3 * width,
        pixel_format=PixelFormat.RGB8,
        codec=codec,
        **common,
    )
    return header, payload, plain(pack(header, payload))


def plain(parts: list[Payload]) -> list[bytes]:
    """As the other side receives it."""
    return [bytes(part) for part in parts]


def state(revision: int = 1, **changes: object) -> StreamState:
    """A 4x2 stream's state."""
    values = {
        "preset": "ink",
        "prompt": "ink on paper",
        "strength": 0.5,
        "seed": 7,
        "width": 4,
        "height": 2,
    }
    return StreamState(revision=revision, **{**values, **changes})  # type: ignore[arg-type]


def welcome(credit_frames: int = 4, **changes: object) -> Welcome:
    """A worker that takes `credit_frames` frames."""
    values = {
        "worker": "worker",
        "version": "1",
        "engine": "pocket",
        "device": "cpu",
        "device_name": "a processor",
        "chunk_frames": max(1, credit_frames // 2),
    }
    return Welcome(credit_frames=credit_frames, **{**values, **changes})  # type: ignore[arg-type]


PICTURE = bytes(range(24))  # a 4x2 picture
