"""Bodies are checked where they are made and where they are read."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import ConfigError, MalformedMessage
from brushcast.wire.bodies import (
    Control,
    Fault,
    Hello,
    Pong,
    StreamState,
    Welcome,
    WorkerStatus,
)
from brushcast.wire.bodies import pack_body as pack
from brushcast.wire.bodies import unpack_body as unpack
from tests.plugin.wire.samples import BODIES, STATES, state, welcome


@given(st.one_of(list(BODIES.values())))
def test_every_body_comes_back(body: Control) -> None:
    assert unpack(type(body), pack(body)) == body


@given(st.binary(max_size=300), st.sampled_from([Hello, StreamState, Pong, Fault]))
def test_arbitrary_bytes_are_malformed(payload: bytes, cls: type[StreamState]) -> None:
    with pytest.raises(MalformedMessage):
        unpack(cls, payload)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)  # fmt: skip


@given(STATES, st.sampled_from([*StreamState.__dataclass_fields__]), JSON_LIKE)
def test_a_value_of_any_other_kind_is_malformed_or_valid(
    body: StreamState, name: str, value: object
) -> None:
    table = msgpack.unpackb(pack(body))
    table[name] = value
    try:
        read = unpack(StreamState, msgpack.packb(table))
    except MalformedMessage:
        return
    assert getattr(read, name) == value


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"revision": -1}, "revision -1: wanted a whole number from 0"),
        ({"revision": True}, "revision True"),
        ({"preset": "No Spaces"}, "preset name 'No Spaces'"),
        ({"preset": ""}, "preset name ''"),
        ({"prompt": "x" * 2001}, "prompt: wanted text of at most 2000"),
        ({"prompt": "\ud800"}, "lone surrogates"),
        ({"prompt": "a\0b"}, "without NUL"),
        ({"strength": 1.01}, "strength 1.01: wanted a number from 0 to 1"),
        ({"strength": float("nan")}, "strength nan"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"width": 513}, "size 513x2: wanted even sides"),
        ({"height": 8194}, "height 8194: wanted a whole number from 2 to 8192"),
        ({"steps": 65}, "steps 65"),
        ({"lossless": 1}, "lossless 1: wanted true or false"),
        ({"fixed_size": "no"}, "fixed_size 'no': wanted true or false"),
        ({"pressure": 0.9}, "pressure 0.9: wanted true or false"),
        ({"result_quality": 101}, "result_quality 101"),
        ({"result_bytes": -1}, "result_bytes -1"),
        ({"result_keys": 2**32}, "result_keys 4294967296"),
        ({"mode": "fast"}, "mode 'fast': wanted low-latency, balanced, quality"),
        ({"mode": None}, "mode None"),
        ({"target_fps": 241}, "target_fps 241: wanted a whole number from 0 to 240"),
        ({"target_fps": 24.0}, "target_fps 24.0"),
        ({"network_limited": 1}, "network_limited 1: wanted true or false"),
    ],
)
def test_a_state_out_of_range_is_a_users_error(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        state(**changes)  # type: ignore[arg-type]


def test_an_older_minor_may_lack_what_has_a_default_and_nothing_else() -> None:
    table = msgpack.unpackb(pack(state(pressure=True)))
    del table["pressure"]
    assert unpack(StreamState, msgpack.packb(table), older=True) == state()
    with pytest.raises(MalformedMessage, match="the key 'pressure' is missing"):
        unpack(StreamState, msgpack.packb(table))
    del table["seed"]
    with pytest.raises(MalformedMessage, match="the key 'seed' is missing"):
        unpack(StreamState, msgpack.packb(table), older=True)
    hello = msgpack.unpackb(pack(Hello(client="b", version="1", state=state())))
    del hello["state"]["pressure"]
    assert unpack(Hello, msgpack.packb(hello), older=True).state == state()


def test_an_older_worker_is_taken_to_know_what_all_know() -> None:
    table = msgpack.unpackb(pack(welcome(codecs="raw jpeg h264")))
    del table["codecs"]
    assert unpack(Welcome, msgpack.packb(table), older=True).codecs == "raw jpeg"
    pong = msgpack.unpackb(pack(Pong(revision=1, status=WorkerStatus(), since_ms=9)))
    del pong["since_ms"]
    assert unpack(Pong, msgpack.packb(pong), older=True).since_ms == 0


def test_only_looks_and_sizes_are_prepared_for() -> None:
    asked = state(result_quality=50, result_bytes=4000, result_keys=1, revision=2, pressure=True)
    assert asked.prepared_for == state().prepared_for
    for changes in ({"prompt": "x"}, {"width": 6}, {"steps": 2}, {"lossless": True}):
        assert state(**changes).prepared_for != state().prepared_for


def test_a_peer_of_before_modes_is_balanced_and_takes_every_picture() -> None:
    table = msgpack.unpackb(pack(state(mode="quality", target_fps=24, network_limited=True)))
    for name in ("mode", "target_fps", "network_limited"):
        del table[name]
    assert unpack(StreamState, msgpack.packb(table), older=True) == state()
    pong = msgpack.unpackb(pack(Pong(revision=1, status=WorkerStatus(takes=0, chunk_frames=8))))
    for name in ("takes", "chunk_frames"):
        del pong["status"][name]
    assert unpack(Pong, msgpack.packb(pong), older=True).status == WorkerStatus()


@pytest.mark.parametrize(("chunk_frames", "credit"), [(None, 8), (0, 8), (4, 8), (8, 16), (1, 8)])
def test_a_chunk_of_more_pictures_has_more_credit(chunk_frames: int | None, credit: int) -> None:
    status = None if chunk_frames is None else WorkerStatus(chunk_frames=chunk_frames)
    assert welcome(credit_frames=8).credit(status) == credit


def test_an_older_worker_tells_nothing_of_its_gpu() -> None:
    table = msgpack.unpackb(pack(Pong(revision=1, status=WorkerStatus(step_ms=3.0))))
    for name in ("gpu_share", "gpu_used_bytes", "gpu_total_bytes", "batch_share", "cache_share"):
        del table["status"][name]
    read = unpack(Pong, msgpack.packb(table), older=True).status
    assert read == WorkerStatus(step_ms=3.0)
    assert (read.gpu_share, read.batch_share, read.cache_share) == (-1.0, -1.0, -1.0)


@pytest.mark.parametrize("name", ["gpu_share", "batch_share", "cache_share"])
@pytest.mark.parametrize("share", [-0.5, 1.01, float("nan"), "0.5"])
def test_a_share_is_a_share_or_unknown(name: str, share: object) -> None:
    WorkerStatus(**{name: -1.0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=name):
        WorkerStatus(**{name: share})  # type: ignore[arg-type]


def test_missing_unknown_and_repeated_keys_are_malformed() -> None:
    table = msgpack.unpackb(pack(state()))
    with pytest.raises(MalformedMessage, match="unknown key 'colour'"):
        unpack(StreamState, msgpack.packb({**table, "colour": 1}))
    assert unpack(StreamState, msgpack.packb({**table, "colour": [1]}), newer=True) == state()
    del table["seed"]
    with pytest.raises(MalformedMessage, match="the key 'seed' is missing"):
        unpack(StreamState, msgpack.packb(table))
    twice = b"\x82" + msgpack.packb("code") + b"\x01" + msgpack.packb("code") + b"\x02"
    with pytest.raises(MalformedMessage, match="same key twice"):
        unpack(Fault, twice)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000,  # nested too deep
        b"\xdf\xff\xff\xff\xff",  # a map of four thousand million keys
        b"\xdb\xff\xff\xff\xff",  # a text of four gigabytes
        b"\xc7\x01\x05x",  # an extension
        msgpack.packb({1: 2}),
        msgpack.packb(None),
    ],
)
def test_hostile_msgpack_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpack(Fault, payload)


def test_the_longest_prompt_fits_and_is_carried() -> None:
    long = state(prompt="\U0001f3a8" * 2000)
    hello = Hello(client="bridge", version="1", state=long)
    assert unpack(Hello, pack(hello)) == hello
    assert len(pack(hello)) < 16 * 1024


def test_names_for_terminals_are_printable() -> None:
    with pytest.raises(ConfigError, match="rung"):
        WorkerStatus(rung="\x1b[2J")
    with pytest.raises(ConfigError, match="device_name"):
        welcome(device_name="two\nlines")
    with pytest.raises(ConfigError, match="credit_frames 0"):
        welcome(credit_frames=0, chunk_frames=1)


@pytest.mark.parametrize("message", ["two\nlines", "\x1b[2J", "\x07", "a\u202eb"])
def test_what_a_worker_says_moves_no_cursor(message: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        Fault(code="x", message=message, fatal=False)
    payload = pack(Fault(code="x", message="#" * 9, fatal=False))
    hostile = message.encode().ljust(9, b"#")[:9]
    with pytest.raises(MalformedMessage):
        unpack(Fault, payload.replace(b"#" * 9, hostile))
