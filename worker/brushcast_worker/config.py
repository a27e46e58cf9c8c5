"""What the worker's command line asked for, checked once. Built in `__main__` only."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.wire.curve import KeyPair
from brushcast.wire.endpoint import Endpoint
from brushcast_worker.quirks import DEFAULT, Quirks

MAX_THREADS = 1024
LEAST_TOKEN = 16  # characters
LEAST_PICTURES, MOST_PICTURES = 16, 960  # of a clip whose quality is measured
MOST_WIDTH, MOST_LAYERS, MOST_SIDE = 8192, 64, 128  # of blocks whose rounding is measured
DRIFT_S, DRIFT_MOST_S = 10.0, 86_400.0  # of the looped clip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """`brushcast-worker serve`. threads: of torch on a CPU, 0 = one per physical core.

    supervised: standard input is the lifeline. standby: loaded and warm, but nothing is bound
    before a line arrives. decoder: as of engine.load_engine. keys, bridges: the worker's pair and
    the file of the bridges that it lets in; given when `bind` is beyond this machine. notify,
    watchdog_s: as of sd_notify.asked_by_systemd. metrics: (address, port) where figures are told,
    port 0 for any free one; None: nowhere. metrics_token: "" for none.
    """

    bind: Endpoint
    engine: str = "pocket"
    device: str = "auto"
    threads: int = 0
    supervised: bool = False
    standby: bool = False
    decoder: str = "torch"
    quirks: Quirks = DEFAULT
    keys: KeyPair | None = None
    bridges: Path | None = None
    notify: str = ""
    watchdog_s: float = 0.0
    metrics: tuple[str, int] | None = None
    metrics_token: str = ""

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.metrics is not None and not ip_address(self.metrics[0]).is_loopback:
            if len(self.metrics_token) < LEAST_TOKEN:
                raise ConfigError(
                    f"--metrics {self.metrics[0]}: beyond this machine wanted --metrics-token FILE "
                    f"with at least {LEAST_TOKEN} characters"
                )
        if not self.bind.loopback and (self.keys is None or self.bridges is None):
            raise ConfigError(
                f"--bind {self.bind}: beyond this machine a worker needs keys: run "
                "`brushcast-worker pair` first, or bind tcp://127.0.0.1:PORT"
            )
        if self.standby and not self.supervised:
            raise ConfigError(
                "--standby: wanted together with --supervised, which tells it when to serve"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """`brushcast-worker bench`. size None, steps 0: the engine's choice. clip None: a picture that
    moves by itself. decoder: as of engine.load_engine."""

    engine: str = "pocket"
    device: str = "auto"
    size: Size | None = None
    steps: int = 0
    seconds: float = 8.0
    threads: int = 0
    decoder: str = "torch"
    quirks: Quirks = DEFAULT

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= 3600):
            raise ConfigError(f"--seconds {self.seconds}: wanted a number above 0, at most 3600")
        if self.steps < 0:
            raise ConfigError(f"--steps {self.steps}: wanted 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """`brushcast-worker quality`. clips: files and folders, none: the bundled clip. styles:
    none: all. pictures: of each clip, 0: what the device can take. out: the folder of the report
    and its sheets. drift_seconds: of the looped clip, 0: not measured. weights: another folder.
    """

    out: Path
    engine: str = "pocket"
    device: str = "auto"
    size: Size | None = None
    clips: tuple[Path, ...] = ()
    styles: tuple[str, ...] = ()
    pictures: int = 0
    drift_seconds: float = DRIFT_S
    ablations: bool = False
    weights: Path | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.size is not None and (self.size.width % 16 or self.size.height % 16):
            raise ConfigError(f"--size {self.size}: wanted both sides in multiples of 16")
        if self.pictures and not LEAST_PICTURES <= self.pictures <= MOST_PICTURES:
            raise ConfigError(
                f"--pictures {self.pictures}: wanted {LEAST_PICTURES} to {MOST_PICTURES}, or 0"
            )
        if not (math.isfinite(self.drift_seconds) and 0 <= self.drift_seconds <= DRIFT_MOST_S):
            raise ConfigError(
                f"--drift-seconds {self.drift_seconds}: wanted 0 (none) to {DRIFT_MOST_S:.0f}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionConfig:
    """`brushcast-worker precision`. clips, styles, size, pictures: as of QualityConfig. width: of
    the blocks, in multiples of a head's 128. layers: how many. side: tokens of a picture's side."""

    device: str = "auto"
    size: Size = Size(512, 288)
    clips: tuple[Path, ...] = ()
    styles: tuple[str, ...] = ()
    pictures: int = LEAST_PICTURES
    width: int = 256
    layers: int = 8
    side: int = 8
    threads: int = 0

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.size.width % 16 or self.size.height % 16:
            raise ConfigError(f"--size {self.size}: wanted both sides in multiples of 16")
        if not LEAST_PICTURES <= self.pictures <= MOST_PICTURES:
            raise ConfigError(
                f"--pictures {self.pictures}: wanted {LEAST_PICTURES} to {MOST_PICTURES}"
            )
        if self.width % 128 or not 128 <= self.width <= MOST_WIDTH:
            raise ConfigError(f"--width {self.width}: wanted 128 to {MOST_WIDTH} in steps of 128")
        if not 1 <= self.layers <= MOST_LAYERS or not 1 <= self.side <= MOST_SIDE:
            raise ConfigError(
                f"--layers {self.layers} --side {self.side}: wanted 1 to {MOST_LAYERS}, "
                f"1 to {MOST_SIDE}"
            )


def parse_listen(text: str) -> tuple[str, int]:
    """`127.0.0.1:9101`, `[::1]:9101`, or a port alone, which means 127.0.0.1. Raises
    ConfigError."""
    host, _, port = text.rpartition(":")
    try:
        address = "127.0.0.1" if host in ("", "localhost") else str(ip_address(host.strip("[]")))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError(
            f"--metrics {text!r:.80}: wanted ADDRESS:PORT or PORT, for example 127.0.0.1:9101"
        )
    return address, number


def read_token(path: Path) -> str:
    """The first line of a file. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(f"--metrics-token {path}: {reason}") from None


def check_threads(threads: int) -> None:
    """Raises ConfigError."""
    if not 0 <= threads <= MAX_THREADS:
        raise ConfigError(f"--threads {threads}: wanted 0 (automatic) to {MAX_THREADS}")


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads counted once: more threads than that slow
    convolutions down."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    logical = len(allowed) if allowed is not None else os.cpu_count() or 1
    cores = set()
    for number in sorted(allowed or ()):
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            return logical
    return len(cores) or logical
