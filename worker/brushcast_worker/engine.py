"""Engine: loaded weights plus `open` and `step`. The only thing that the loop knows of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk
from brushcast_worker.quirks import DEFAULT, Quirks

_LOADED = (
    *("pocket", "wan-1.3b", "wan-1.3b-tiny", "wan-14b", "wan-14b-tiny"),
    *("wan-14b-fp8", "wan-14b-tiny-fp8"),  # the same weights, rounded to 8 bits as they are loaded
)
_FOR_TESTS = ("wan-small", "wan-small-tiny", "wan-small-fp8")
# With random weights: for tests, and for measuring how fast they are.
RANDOM = tuple(f"{name}-random" for name in (*_LOADED, *_FOR_TESTS))
ENGINES = (*_LOADED, *RANDOM)
DECODERS = ("torch", "tensorrt")
EngineState = Any  # opaque: made by Engine.open, changed by Engine.step, of one stream only


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine is and can do; constant after load.

    device: as torch writes it (`cpu`, `cuda:0`); device_name: for people. dtype: of the
    computation. chunk_frames: pictures per chunk in the steady state. steps: the denoising steps
    that may be asked for. default_size, size_multiple: both sides must be multiples of it.
    description: one line for people. late_frames: so many of a chunk's last pictures come out with
    the next chunk, whatever the steps; where a scene ends its last picture stands for them.
    attention_ms: torch's attention kernels that were tried at load, the one that is used first:
    what a layer's attention takes. Empty where none was: torch chooses.
    warm_up_chunks: of one stream, until everything that it needs was built once.
    slow_start_s: what a stream's first chunk of a size or a look may take; longer is taken for a
    hang. trained: False for random weights, which may well paint one colour.
    """

    name: str
    device: str
    device_name: str
    dtype: str
    chunk_frames: int
    steps: tuple[int, ...]
    default_steps: int
    default_size: Size
    size_multiple: int
    description: str
    late_frames: int = 0
    warm_up_chunks: int = 2  # the first builds, the second tells the cost
    slow_start_s: float = 120.0  # graphs are recorded, and a text encoder may have to run
    attention_ms: Mapping[str, float] = field(default_factory=dict)
    trained: bool = True

    @property
    def attention(self) -> str:
        """For people; "" where torch chooses."""
        return ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.attention_ms.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stream's next chunk. `preset` and `steps` may differ from the last job's: the state
    follows.

    lossless: a cached result may stand for this chunk only where the pictures are the same but for
    coding noise.
    """

    state: EngineState
    chunk: Chunk
    preset: Preset
    steps: int
    lossless: bool = False


# Takes the number of a job and finished pictures of its stream; called on the caller's thread.
Put = Callable[[int, Chunk], None]


class Engine(Protocol):
    """Loaded weights. Constant after load, no stream state, no clock, deterministic by seed.

    Owned by the GPU thread, the only one that may call it. The same jobs from a fresh state give
    the same bits.
    """

    info: EngineInfo

    def check(self, preset: Preset) -> str:
        """What the prompt was taken for, in a sentence, where it names no look that the engine
        knows; else "". Raises PromptError when the engine can make nothing of it."""
        ...

    def open(self, preset: Preset, size: Size) -> EngineState:
        """A new stream's state: all its memory is allocated here. Raises OutOfMemory, ConfigError,
        PromptError."""
        ...

    def frames_wanted(self, state: EngineState) -> int:
        """How many pictures the next chunk of this stream must have."""
        ...

    def counts(self, state: EngineState) -> Mapping[str, int]:
        """What the engine's memory did for this stream so far; the names are the engine's own.
        Waits for no device: what a device alone knows may be a step old."""
        ...

    def step(self, jobs: Sequence[Job], put: Put) -> None:
        """Advance each stream by one chunk, all in one forward. Jobs of one call have one size.
        Raises OutOfMemory, PromptError, and what `put` raises.

        What comes out is put out as soon as it is there, while the rest is still computed: a
        stream's pictures in their order, in one call of `put` or in several. The first chunk's come
        at once; then none while the stream needs more input (stream batch of n steps: n - 1 times),
        and two chunks' where the number of steps has just fallen.
        """
        ...


class StageTimer(Protocol):
    """Told by an engine which stage begins; the bench measures with it, everyone else passes
    nothing."""

    def begin(self, stage: str) -> None: ...


def load_engine(
    name: str,
    device: str,
    timer: StageTimer | None = None,
    quirks: Quirks = DEFAULT,
    *,
    decoder: str = DECODERS[0],
) -> Engine:
    """The engine of that name on `device` (`auto`, `cpu`, `cuda`, `cuda:1`, `mps`). decoder: what a
    Wan autoencoder's decoder is compiled with on a GPU, of DECODERS.

    Raises ConfigError for an unknown name, an absent device, a decoder or a quirk that it cannot
    have, WeightsError for bad weights.
    """
    if decoder not in DECODERS:
        raise ConfigError(f"decoder {decoder!r}: wanted {' or '.join(DECODERS)}")
    if name not in ENGINES:
        raise ConfigError(f"unknown engine {name!r}: there is {', '.join(ENGINES)}")
    if name.startswith("wan"):
        from brushcast_worker.engines.wan import load_wan, random_wan

        if name in RANDOM:
            name = name.removesuffix("-random")
            return _untrained(random_wan(name, device, 0, timer, quirks, decoder=decoder))
        return load_wan(name, device, timer, quirks, decoder=decoder)
    if decoder != DECODERS[0]:
        raise ConfigError(f"--decoder {decoder}: {name} has none; wanted one of the Wan engines")
    from brushcast_worker.engines.pocket import load_pocket, random_pocket

    if name == "pocket":
        return load_pocket(device, timer, quirks)
    return _untrained(random_pocket(device, 0, timer, quirks))


def _untrained(engine: Engine) -> Engine:
    engine.info = replace(engine.info, trained=False)
    return engine
