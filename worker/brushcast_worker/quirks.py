"""Quirks: where the engines may do as the published pipeline does, or better; checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from brushcast.errors import ConfigError

Rope = Literal["slot", "frame"]
Noise = Literal["pixel", "latent"]
WINDOWS = range(1, 33)  # chunks that the noise may look back


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a causal engine treats its latents and what a stream remembers.

    normalise_encoded: Wan's encoder gives latents of mean 0 and deviation 1, as its decoder wants
    them; off is what the published live pipeline does. rope: time positions by ``slot`` of the
    cache, which never grow, or by latent ``frame``, which start again at 50 (published). sinks: the
    cosine below which the least similar sink gives way to the current latent frame (published:
    0.2); None: sinks stay. recache: sinks are made anew under a new prompt. noise: motion lowers
    the noise as it is measured in pixels (published code) or on latents (the paper's form; the host
    then waits for the encoder in every chunk), the fastest of the last noise_window chunks.
    """

    normalise_encoded: bool = False
    rope: Rope = "slot"
    sinks: float | None = None
    recache: bool = True
    noise: Noise = "pixel"
    noise_window: int = 1

    def __post_init__(self) -> None:
        if self.rope not in get_args(Rope):
            raise ConfigError(f"quirk rope {self.rope!r}: wanted slot or frame")
        if self.noise not in get_args(Noise):
            raise ConfigError(f"quirk noise {self.noise!r}: wanted pixel or latent")
        if self.noise_window not in WINDOWS:
            raise ConfigError(
                f"quirk noise_window {self.noise_window}: wanted {WINDOWS[0]} to {WINDOWS[-1]}"
            )
        if self.sinks is not None and not (math.isfinite(self.sinks) and -1 <= self.sinks <= 1):
            raise ConfigError(f"quirk sinks {self.sinks}: wanted a cosine from -1 to 1, or off")


DEFAULT = Quirks()


def parse_quirks(text: str) -> Quirks:
    """From ``rope=frame,sinks=0.2,recache=off,normalise_encoded=on``, in any order; what is not
    named keeps its default. Raises ConfigError.
    """
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or name not in _READ or name in given:
            raise ConfigError(
                f"quirk {part!r}: wanted each of {', '.join(_READ)} at most once, as name=value"
            )
        given[name] = value
    return Quirks(
        normalise_encoded=_switch(given.get("normalise_encoded"), DEFAULT.normalise_encoded),
        rope=cast(Rope, given.get("rope", DEFAULT.rope)),
        sinks=_threshold(given.get("sinks"), DEFAULT.sinks),
        recache=_switch(given.get("recache"), DEFAULT.recache),
        noise=cast(Noise, given.get("noise", DEFAULT.noise)),
        noise_window=_count(given.get("noise_window"), DEFAULT.noise_window),
    )


_READ = ("normalise_encoded", "rope", "sinks", "recache", "noise", "noise_window")


def _switch(text: str | None, default: bool) -> bool:
    if text is None:
        return default
    if text not in ("on", "off"):
        raise ConfigError(f"quirk {text!r}: wanted on or off")
    return text == "on"


def _threshold(text: str | None, default: float | None) -> float | None:
    if text is None:
        return default
    if text == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"quirk sinks {text!r}: wanted a cosine, or off") from None


def _count(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdecimal():
        raise ConfigError(f"quirk noise_window {text!r}: wanted a number of chunks")
    return int(text)
