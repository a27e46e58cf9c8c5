"""The bodies of the control messages: frozen, checked when made, packed as strict msgpack maps.

Made from a user's values they raise ConfigError; read from the wire, MalformedMessage. Unknown
and missing keys, wrong types and values out of range are errors. Pure.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast

import msgpack

from brushcast.errors import ConfigError, MalformedMessage

MAX_SIDE_PX = 8192
MAX_CONTROL_BYTES = 16 * 1024  # a prompt of 2000 four-byte characters is 8 kB
MAX_PROMPT_CHARACTERS = 2000
MAX_LABEL_CHARACTERS = 200
MAX_FAULT_CHARACTERS = 1000
MAX_CREDIT_FRAMES = 256
MAX_STEPS = 64
MAX_TAKES = 16
MAX_TARGET_FPS = 240
MODES = ("low-latency", "balanced", "quality")
UNKNOWN = -1.0  # a share that nobody measures there

_U32 = 2**32 - 1
_U64 = 2**64 - 1
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What the bridge wants of a stream; the body of SET, and part of HELLO. The bridge owns it.
    Raises ConfigError.

    revision: rises with every change. preset: its name; prompt: the wording in force. strength:
    0..1. width, height: of the pictures on the wire, even. steps: denoising steps, 0 = the engine's
    choice. lossless: nothing may be dropped, skipped or degraded (`brushcast restyle`). fixed_size:
    the user chose this size: a worker that is too slow for it paints fewer pictures, not smaller
    ones. pressure: OBS, on the same machine, cannot keep its own pace: the worker gives way as if
    its chunks were late (a lossless stream does not). result_quality: of results in JPEG, 1..100;
    result_bytes: of those in H.264, in the mean; 0: the worker's choice. result_keys: rises when
    the bridge cannot decode what comes until a keyframe does. mode: one of MODES; "" of a bridge
    that knows none, and does not follow WorkerStatus.takes. target_fps: pictures a second that are
    wanted; 0: as many as can be. network_limited: the link is the bottleneck: fewer and smaller
    pictures help, fewer steps do not.
    """

    revision: int
    preset: str
    prompt: str
    strength: float
    seed: int
    width: int
    height: int
    steps: int = 0
    lossless: bool = False
    fixed_size: bool = False
    pressure: bool = False
    result_quality: int = 0
    result_bytes: int = 0
    result_keys: int = 0
    mode: str = ""
    target_fps: int = 0
    network_limited: bool = False

    def __post_init__(self) -> None:
        _whole("revision", self.revision, 0, _U32)
        if not isinstance(self.preset, str) or not _NAME.fullmatch(self.preset):
            raise ConfigError(
                f"preset name {self.preset!r:.80}: wanted 1 to 64 of a-z, 0-9, '-' and '_'"
            )
        _text("prompt", self.prompt, MAX_PROMPT_CHARACTERS)
        _real("strength", self.strength, 0, 1)
        object.__setattr__(self, "strength", float(self.strength))
        _whole("seed", self.seed, 0, _U32)
        _whole("width", self.width, 2, MAX_SIDE_PX)
        _whole("height", self.height, 2, MAX_SIDE_PX)
        if self.width % 2 or self.height % 2:
            raise ConfigError(f"size {self.width}x{self.height}: wanted even sides")
        _whole("steps", self.steps, 0, MAX_STEPS)
        _switch("lossless", self.lossless)
        _switch("fixed_size", self.fixed_size)
        _switch("pressure", self.pressure)
        _whole("result_quality", self.result_quality, 0, 100)
        _whole("result_bytes", self.result_bytes, 0, _U32)
        _whole("result_keys", self.result_keys, 0, _U32)
        if self.mode not in ("", *MODES):
            raise ConfigError(f"mode {self.mode!r:.80}: wanted {', '.join(MODES)}")
        _whole("target_fps", self.target_fps, 0, MAX_TARGET_FPS)
        _switch("network_limited", self.network_limited)

    @property
    def prepared_for(self) -> tuple[object, ...]:
        """What makes the worker prepare something when it changes: the look and the size."""
        return self.preset, self.prompt, self.width, self.height, self.steps, self.lossless


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The bridge's first message on every connection. client: its name; version: of its package."""

    client: str
    version: str
    state: StreamState

    def __post_init__(self) -> None:
        _label("client", self.client)
        _label("version", self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The worker's answer to HELLO: what it is, and what it grants.

    worker: its name; version: of its package. engine, device, device_name: as in EngineInfo.
    chunk_frames: pictures per chunk. credit_frames: how many frames may be on their way without a
    result. revision: of the state that it acknowledges. warmup_ms: how long the first chunk may
    take (after connecting, and after a change of preset, prompt, size or steps). size_multiple:
    both sides must be multiples of it. default_width, default_height: the engine's preferred size.
    attention: the kernels that it tried, the one that it uses first; "" where there was no choice.
    codecs: how pictures may come, and how it answers in kind: names with spaces between.
    """

    worker: str
    version: str
    engine: str
    device: str
    device_name: str
    chunk_frames: int
    credit_frames: int
    revision: int = 0
    warmup_ms: int = 10_000
    size_multiple: int = 2
    default_width: int = 512
    default_height: int = 288
    attention: str = ""
    codecs: str = "raw jpeg"

    def __post_init__(self) -> None:
        for name in ("worker", "version", "engine", "device", "device_name", "attention", "codecs"):
            _label(name, getattr(self, name))
        _whole("chunk_frames", self.chunk_frames, 1, MAX_CREDIT_FRAMES)
        _whole("credit_frames", self.credit_frames, 1, MAX_CREDIT_FRAMES)
        _whole("revision", self.revision, 0, _U32)
        _whole("warmup_ms", self.warmup_ms, 0, 600_000)
        _whole("size_multiple", self.size_multiple, 1, 1024)
        _whole("default_width", self.default_width, 2, MAX_SIDE_PX)
        _whole("default_height", self.default_height, 2, MAX_SIDE_PX)

    def credit(self, status: WorkerStatus | None) -> int:
        """Frames that may be on their way: where a chunk takes more pictures now than it said, one
        computed and one collected."""
        return max(self.credit_frames, 2 * status.chunk_frames if status is not None else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """How the worker fares with this stream: carried by every PONG.

    engine_fps: pictures restyled per second lately. step_ms: what the last chunk took.
    queue_frames: waiting in the worker. held_frames: inside its engine between two chunks, whatever
    the rate (a chunk for each further step, and what comes late). rung: the ladder's rung by name.
    cache_hits, refused_frames: since the stream opened. memory_bytes: in use by this worker.
    chunk_frames: of the source's pictures that a chunk takes now (0: as in WELCOME). takes: of so
    many of the source's pictures one is to be sent; 0: none, the worker holds.

    gpu_share: of the last second, the part in which the GPU had work, 0..1. gpu_used_bytes,
    gpu_total_bytes: of the GPU, by all its users; 0 where nobody tells. batch_share: pictures per
    second lately against the best that batches of this shape reached. cache_share: of the chunks,
    those that met a memory of their scene. A share of -1 is unknown.
    """

    engine_fps: float = 0.0
    step_ms: float = 0.0
    queue_frames: int = 0
    held_frames: int = 0
    rung: str = "full"
    cache_hits: int = 0
    refused_frames: int = 0
    memory_bytes: int = 0
    chunk_frames: int = 0
    takes: int = 1
    gpu_share: float = UNKNOWN
    gpu_used_bytes: int = 0
    gpu_total_bytes: int = 0
    batch_share: float = UNKNOWN
    cache_share: float = UNKNOWN

    def __post_init__(self) -> None:
        for name in ("engine_fps", "step_ms"):
            _real(name, getattr(self, name), 0, 1e9)
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("gpu_share", "batch_share", "cache_share"):
            share = getattr(self, name)
            if share != UNKNOWN:
                _real(name, share, 0, 1)
            object.__setattr__(self, name, float(share))
        _label("rung", self.rung)
        for name in ("queue_frames", "held_frames", "cache_hits", "refused_frames", "memory_bytes"):
            _whole(name, getattr(self, name), 0, _U64)
        _whole("chunk_frames", self.chunk_frames, 0, MAX_CREDIT_FRAMES)
        _whole("takes", self.takes, 0, MAX_TAKES)
        _whole("gpu_used_bytes", self.gpu_used_bytes, 0, _U64)
        _whole("gpu_total_bytes", self.gpu_total_bytes, 0, _U64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to PING, and to SET: the revision in force and how the worker fares. since_ms:
    how long its stream was open when it was asked, by the worker's clock (0: not said)."""

    revision: int
    status: WorkerStatus
    since_ms: float = 0.0

    def __post_init__(self) -> None:
        _whole("revision", self.revision, 0, _U32)
        _real("since_ms", self.since_ms, 0, 1e15)
        object.__setattr__(self, "since_ms", float(self.since_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The worker cannot do something. code: short, for programs; message: one sentence, for people.

    fatal: connecting again will not help until something is changed (the link goes to REFUSED).
    """

    code: str
    message: str
    fatal: bool

    def __post_init__(self) -> None:
        if not isinstance(self.code, str) or not _NAME.fullmatch(self.code):
            raise ConfigError(f"fault code {self.code!r:.80}: wanted 1 to 64 of a-z, 0-9, '-', '_'")
        _text("message", self.message, MAX_FAULT_CHARACTERS)
        if not self.message.isprintable():  # it goes to a terminal: no way to move its cursor
            raise ConfigError("message of a fault: wanted one line of printable text")
        _switch("fatal", self.fatal)


Control = Hello | Welcome | StreamState | Pong | Fault
BodyT = TypeVar("BodyT", bound=Control)


def pack_body(body: Control) -> bytes:
    """The msgpack bytes of a body."""
    return cast(bytes, msgpack.packb(_as_map(body)))


def unpack_body(
    cls: type[BodyT], payload: bytes, newer: bool = False, older: bool = False
) -> BodyT:
    """A body from its bytes. `newer`: unknown keys (of a newer minor version) are ignored. `older`:
    keys that have a default may be missing (an older minor version does not know them).

    Raises MalformedMessage.
    """
    try:
        table = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_without_repeats,
            max_ext_len=0,
            max_bin_len=0,
            max_array_len=64,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"{cls.__name__}: no valid msgpack: {error!r:.200}") from None
    return cast(BodyT, _from_map(cls, table, newer, older))


def _as_map(body: Any) -> dict[str, Any]:
    values = {field.name: getattr(body, field.name) for field in fields(body)}
    return {
        name: _as_map(value) if is_dataclass(value) else value for name, value in values.items()
    }


_PLAIN: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_NESTED: dict[str, type] = {"StreamState": StreamState, "WorkerStatus": WorkerStatus}


def _from_map(cls: type[Any], table: object, newer: bool, older: bool) -> Any:
    if not isinstance(table, dict):
        raise MalformedMessage(f"{cls.__name__}: {type(table).__name__}, wanted a map")
    wanted = {field.name: str(field.type) for field in fields(cls)}
    optional = {field.name for field in fields(cls) if field.default is not MISSING}
    unknown = table.keys() - wanted.keys()
    if unknown and not newer:
        raise MalformedMessage(f"{cls.__name__}: unknown key {min(unknown)!r:.80}")
    values: dict[str, Any] = {}
    for name, type_name in wanted.items():
        if name not in table and older and name in optional:
            continue
        if name not in table:
            raise MalformedMessage(f"{cls.__name__}: the key {name!r} is missing")
        value = table[name]
        if type_name in _NESTED:
            value = _from_map(_NESTED[type_name], value, newer, older)
        elif type(value) is not _PLAIN[type_name]:
            raise MalformedMessage(
                f"{cls.__name__}: {name} is {type(value).__name__}, wanted {type_name}"
            )
        values[name] = value
    try:
        return cls(**values)
    except ConfigError as error:
        raise MalformedMessage(f"{cls.__name__}: {error}") from None


def _without_repeats(pairs: list[tuple[object, object]]) -> dict[object, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise MalformedMessage("a map with the same key twice")
    return table


def _whole(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"{name} {value!r:.80}: wanted a whole number from {low} to {high}")


def _real(name: str, value: object, low: float, high: float) -> None:
    if type(value) not in (int, float) or not low <= cast(float, value) <= high:
        raise ConfigError(f"{name} {value!r:.80}: wanted a number from {low} to {high}")


def _switch(name: str, value: object) -> None:
    if type(value) is not bool:
        raise ConfigError(f"{name} {value!r:.80}: wanted true or false")


def _text(name: str, value: object, limit: int) -> None:
    """Text for people: no NUL, no lone surrogate (msgpack could not carry it)."""
    if not isinstance(value, str) or len(value) > limit:
        raise ConfigError(f"{name}: wanted text of at most {limit} characters")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{name} {value!r:.80}: wanted text without NUL and lone surrogates")


def _label(name: str, value: object) -> None:
    """A short name that goes into logs and terminals: printable only."""
    if not isinstance(value, str) or len(value) > MAX_LABEL_CHARACTERS or not value.isprintable():
        raise ConfigError(
            f"{name} {value!r:.80}: wanted at most {MAX_LABEL_CHARACTERS} printable characters"
        )
