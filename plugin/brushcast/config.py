"""What the command line asked for, checked once. Built in `__main__` only."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brushcast.badge import CORNERS, DEFAULT_CORNER, Corner
from brushcast.errors import ConfigError
from brushcast.folders import obs_audio_record
from brushcast.frame import Fit, Size, model_size
from brushcast.link_rate import CODEC_WISHES, CodecWish
from brushcast.presets import Preset
from brushcast.provenance import Origin
from brushcast.wire.bodies import MAX_TARGET_FPS, MODES, StreamState

DEFAULT_OUTPUT = Size(1280, 720)
DEFAULT_RATE_FPS = 30
DEFAULT_MODE = "balanced"
DEFAULT_PANEL = "127.0.0.1:8787"
DEFAULT_AREA_PX = 147_456  # 512x288 and 384x384: what two CPU cores restyle in real time
MAX_INPUT_CHARACTERS = 200
MAX_AREA_PX = 4 * DEFAULT_AREA_PX


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """`brushcast run`. worker: `local` or an endpoint. panel: HOST:PORT, or None for no panel.

    model_size: what the worker paints at; None follows the output's shape. seconds: None is for
    ever. badge: painted pictures say "AI" in the corner badge_corner. obs_audio: the input in OBS
    whose sound is to be as late as the picture, "" for none. codec: how pictures go to a worker
    elsewhere; auto: JPEG, and H.264 where the network is too narrow for it. mode: what is
    preferred, a short delay or a better picture. target_fps: painted pictures a second that are
    wanted; 0: as many as can be.
    """

    source: str = "auto"
    sinks: tuple[str, ...] = ("auto",)
    preset: str = "watercolour"
    worker: str = "local"
    panel: str | None = DEFAULT_PANEL
    panel_token: str = ""
    seconds: float | None = None
    report: Path | None = None
    output_size: Size = DEFAULT_OUTPUT
    model_size: Size | None = None
    rate_fps: int = DEFAULT_RATE_FPS
    fit: Fit = "crop"
    steps: int = 0
    engine: str = "pocket"
    device: str = "auto"
    badge: bool = True
    badge_corner: Corner = DEFAULT_CORNER
    obs_audio: str = ""
    codec: CodecWish = "auto"
    mode: str = DEFAULT_MODE
    target_fps: int = 0

    def __post_init__(self) -> None:
        if self.codec not in CODEC_WISHES:
            raise ConfigError(f"--codec {self.codec}: wanted {', '.join(CODEC_WISHES)}")
        if self.codec != "auto" and self.local:
            raise ConfigError(
                f"--codec {self.codec}: wanted with --worker tcp://HOST:PORT only; a worker on "
                "this machine gets pictures as they are"
            )
        if self.badge_corner not in CORNERS:
            raise ConfigError(f"--badge-corner {self.badge_corner}: wanted {', '.join(CORNERS)}")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"--for {self.seconds}: wanted a number of seconds above 0")
        if not 1 <= self.rate_fps <= 120:
            raise ConfigError(f"--fps {self.rate_fps}: wanted 1 to 120")
        if self.fit not in ("crop", "pad"):
            raise ConfigError(f"--fit {self.fit}: wanted crop or pad")
        if self.model_size is not None:
            check_model_size(self.model_size)
        if self.mode not in MODES:
            raise ConfigError(f"--mode {self.mode}: wanted {', '.join(MODES)}")
        if not 0 <= self.target_fps <= MAX_TARGET_FPS:
            raise ConfigError(f"--target-fps {self.target_fps}: wanted 0 to {MAX_TARGET_FPS}")
        if self.panel is not None:
            parse_address(self.panel)
        if len(self.obs_audio) > MAX_INPUT_CHARACTERS or not self.obs_audio.isprintable():
            raise ConfigError(
                f"--obs-audio {self.obs_audio!r:.80}: wanted the name of an input in OBS, "
                f"at most {MAX_INPUT_CHARACTERS} printable characters"
            )

    @property
    def local(self) -> bool:
        """The worker is a process of this run."""
        return self.worker == "local"

    @property
    def first_size(self) -> Size:
        """What is painted at before the worker has a wish."""
        return self.model_size or model_size(self.output_size, DEFAULT_AREA_PX)

    def for_bridge(
        self,
        *,
        endpoint: str,
        ring: Path,
        badge: bool,
        user_presets: Path,
        user_folder: Path | None,
    ) -> dict[str, Any]:
        """The bridge process's first line. badge: as it was switched last."""
        return BridgeConfig(
            source=self.source,
            preset=self.preset,
            endpoint=endpoint,
            remote=not self.local,
            ring=str(ring),
            panel=self.panel,
            panel_token=self.panel_token,
            output_size=self.output_size,
            model_size=self.first_size,
            fixed_size=self.model_size is not None,
            rate_fps=self.rate_fps,
            fit=self.fit,
            steps=self.steps,
            mode=self.mode,
            target_fps=self.target_fps,
            user_presets=str(user_presets),
            user_folder=str(user_folder or ""),
            badge=badge,
            badge_corner=self.badge_corner,
            obs_audio=self.obs_audio,
            obs_audio_record=str(obs_audio_record()),
            codec=self.codec,
        ).to_json()

    def for_camera(
        self, *, ring: Path, off: Collection[str], badge: Corner | None, restarted: bool
    ) -> dict[str, Any]:
        """The camera process's first line: camera.CameraConfig."""
        engine = self.engine if self.local else "remote"
        return {
            "ring": str(ring),
            "size": str(self.output_size),
            "rate_fps": self.rate_fps,
            "sinks": list(self.sinks),
            "off": sorted(off),
            "restarted": restarted,
            "badge": badge,
            "origin": Origin(engine=engine, look=f"{self.preset} at the start").to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """What the bridge process is started with; travels as JSON. endpoint "" waits to be told.
    fixed_size: model_size is the user's own choice and holds, however slow the worker is.
    user_folder: where it is remembered what the user has read; "" for nowhere. obs_audio: as in
    RunConfig; obs_audio_record: the file that remembers what was changed, "" to leave OBS alone
    altogether."""

    source: str
    preset: str
    endpoint: str
    remote: bool
    ring: str
    panel: str | None
    panel_token: str
    output_size: Size
    model_size: Size
    fixed_size: bool
    rate_fps: int
    fit: Fit
    steps: int
    user_presets: str
    user_folder: str = ""
    badge: bool = True
    badge_corner: Corner = DEFAULT_CORNER
    obs_audio: str = ""
    obs_audio_record: str = ""
    codec: CodecWish = "auto"
    mode: str = DEFAULT_MODE
    target_fps: int = 0

    def to_json(self) -> dict[str, Any]:
        table = dataclasses.asdict(self)
        return {**table, "output_size": str(self.output_size), "model_size": str(self.model_size)}

    def first_state(self, look: Preset) -> StreamState:
        """What the worker is asked for before anything is changed."""
        return StreamState(
            revision=1,
            preset=look.name,
            prompt=look.prompt,
            strength=look.strength,
            seed=look.seed,
            width=self.model_size.width,
            height=self.model_size.height,
            steps=self.steps,
            fixed_size=self.fixed_size,
            mode=self.mode,
            target_fps=self.target_fps,
        )

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> BridgeConfig:
        """Raises ConfigError for unknown or missing keys and values out of range."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(table) != known:
            raise ConfigError(f"bridge configuration: wrong keys {sorted(set(table) ^ known)}")
        sizes = {key: Size.parse(table[key]) for key in ("output_size", "model_size")}
        return cls(**{**table, **sizes})


def check_model_size(size: Size) -> None:
    """Raises ConfigError unless both sides are multiples of 16 and the picture is not too large."""
    if size.width % 16 or size.height % 16:
        raise ConfigError(
            f"size {size}: wanted both sides in multiples of 16, for example 512x288 or 640x352"
        )
    if size.width < 64 or size.height < 64:
        raise ConfigError(f"size {size}: wanted at least 64x64")


def parse_address(text: str) -> tuple[str, int]:
    """`"127.0.0.1:8787"` → (host, port); port 0 means any free one. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(f"address {text!r:.80}: wanted HOST:PORT, for example 127.0.0.1:8787")
    return host.strip("[]"), int(port)
