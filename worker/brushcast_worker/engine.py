"""Engine: loaded weights plus `open` and `step`. The only thing that the loop knows of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk
from brushcast_worker.quirks import DEFAULT, Quirks

_LOADED = ("pocket", "wan-1.3b", "wan-1.3b-tiny", "wan-14b", "wan-14b-tiny")
_FOR_TESTS = ("wan-small", "wan-small-tiny")
# With random weights: for tests, and for measuring how fast they are.
RANDOM = tuple(f"{name}-random" for name in (*_LOADED, *_FOR_TESTS))
ENGINES = (*_LOADED, *RANDOM)
EngineState = Any  # opaque: made by Engine.open, changed by Engine.step, of one stream only


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine is and can do; constant after load.

    device: as torch writes it (`cpu`, `cuda:0`); device_name: for people. dtype: of the
    computation. chunk_frames: pictures per chunk in the steady state. steps: the denoising steps
    that may be asked for. default_size, size_multiple: both sides must be multiples of it.
    description: one line for people. late_frames: so many of a chunk's last pictures come out with
    the next chunk, whatever the steps; where a scene ends its last picture stands for them.
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
        stream's pictures in their order, in one call of `put` or in several; none while the stream
        needs more input (stream batch of n steps: n - 1 times), two chunks' where the number of
        steps has just fallen.
        """
        ...


class StageTimer(Protocol):
    """Told by an engine which stage begins; the bench measures with it, everyone else passes
    nothing."""

    def begin(self, stage: str) -> None: ...


def load_engine(
    name: str, device: str, timer: StageTimer | None = None, quirks: Quirks = DEFAULT
) -> Engine:
    """The engine of that name on `device` (`auto`, `cpu`, `cuda`, `cuda:1`, `mps`).

    Raises ConfigError for an unknown name, an absent device or a quirk that the engine cannot have,
    WeightsError for bad weights.
    """
    if name not in ENGINES:
        raise ConfigError(f"unknown engine {name!r}: there is {', '.join(ENGINES)}")
    if name.startswith("wan"):
        from brushcast_worker.engines.wan import load_wan, random_wan

        if name in RANDOM:
            return random_wan(name.removesuffix("-random"), device, 0, timer, quirks)
        return load_wan(name, device, timer, quirks)
    from brushcast_worker.engines.pocket import load_pocket, random_pocket

    if name == "pocket":
        return load_pocket(device, timer, quirks)
    return random_pocket(device, 0, timer, quirks)
