"""Presets: named looks, one TOML file each, built in or from the user's folder.

A preset holds no size, rate or latency: those belong to the machine, not to the look.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from brushcast.errors import PresetError
from brushcast.presets.mixture import parse_mixture

BUILT_IN_FOLDER = Path(__file__).parent
# As people meet them: the gentlest first, the boldest in the middle.
BUILT_IN_ORDER = (
    "watercolour", "anime", "ink", "comic", "neon", "oil", "pixel-art", "stained-glass", "pencil",
    "charcoal", "ukiyo-e", "papercut", "clay", "blueprint",
)  # fmt: skip
MAX_FILE_BYTES = 64_000
MAX_PROMPT_CHARACTERS = 2000
_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_SPACING = {ord("\n"): " ", ord("\t"): " "}  # of a prompt over several lines: moves no cursor back


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named look.

    name: `[a-z0-9_-]{1,64}`, also the file's name. title: what people read.
    prompt: the look in words, or a mixture (`presets.mixture`).
    strength: 0 (barely touched) to 1 (as free as the engine can be).
    seed: 0..2**32-1. engine: the preferred engine's name, or "" for whichever runs.
    """

    name: str
    title: str
    prompt: str
    strength: float = 0.6
    seed: int = 7
    engine: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise PresetError(f"preset name {self.name!r}: wanted 1 to 64 of a-z, 0-9, '-' and '_'")
        for field in ("title", "prompt", "engine"):
            value = getattr(self, field)
            if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARACTERS:
                raise PresetError(
                    f"preset {self.name}: {field} is {type(value).__name__}, "
                    f"wanted text of at most {MAX_PROMPT_CHARACTERS} characters"
                )
            if not value.translate(_SPACING).isprintable():
                raise PresetError(
                    f"preset {self.name}: {field} {value!r:.80}, wanted printable text: "
                    "presets come from other people and are shown in terminals"
                )
        if not self.prompt.strip():
            raise PresetError(f"preset {self.name}: the prompt is empty, wanted the look in words")
        parse_mixture(self.prompt)
        strength_ok = isinstance(self.strength, int | float) and not isinstance(self.strength, bool)
        if not strength_ok or not 0 <= self.strength <= 1:
            raise PresetError(
                f"preset {self.name}: strength {self.strength!r}, wanted a number from 0 to 1"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise PresetError(
                f"preset {self.name}: seed {self.seed!r}, "
                "wanted a whole number from 0 to 4294967295"
            )

    def changed(
        self, *, prompt: str | None = None, strength: float | None = None, seed: int | None = None
    ) -> Preset:
        """The same look with other parts; None leaves a part as it is. Raises PresetError."""
        return replace(
            self,
            prompt=self.prompt if prompt is None else prompt,
            strength=self.strength if strength is None else strength,
            seed=self.seed if seed is None else seed,
        )


def parse_preset(name: str, text: str) -> Preset:
    """A preset from the text of its TOML file. Unknown keys are errors. Raises PresetError."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PresetError(f"preset {name}: not valid TOML: {error}") from None
    except RecursionError:
        raise PresetError(f"preset {name}: not valid TOML: nested too deeply") from None
    known = {field.name for field in fields(Preset)} - {"name"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise PresetError(
            f"preset {name}: unknown key {unknown[0]!r}, wanted only {', '.join(sorted(known))}"
        )
    missing = sorted({"title", "prompt"} - set(table))
    if missing:
        raise PresetError(f"preset {name}: the key {missing[0]!r} is missing")
    return Preset(name=name, **table)


def read_preset(path: Path) -> Preset:
    """A preset from its file. Raises PresetError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PresetError(f"preset file {path}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PresetError(f"preset file {path}: {error}") from None
    return parse_preset(path.stem, text)


def write_preset(preset: Preset) -> str:
    """The text of a preset's file; `parse_preset` gives the same preset back."""

    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'

    lines = []
    for field in fields(Preset):
        value = getattr(preset, field.name)
        if field.name != "name":
            lines.append(f"{field.name} = {quoted(value) if isinstance(value, str) else value}")
    return "\n".join(lines) + "\n"


def load_presets(user_folder: Path | None = None) -> dict[str, Preset]:
    """All presets by name: the built-in ones, then the user's, which replace those of the same
    name.

    Raises PresetError for a malformed file; a missing user folder is simply empty.
    """
    found: dict[str, Preset] = {}
    for name in BUILT_IN_ORDER:
        found[name] = read_preset(BUILT_IN_FOLDER / f"{name}.toml")
    if user_folder is not None and user_folder.is_dir():
        for path in sorted(user_folder.glob("*.toml")):
            preset = read_preset(path)
            found[preset.name] = preset
    return found


def find_preset(name: str, presets: dict[str, Preset]) -> Preset:
    """The preset of that name. Raises PresetError that lists what there is."""
    if name not in presets:
        raise PresetError(f"unknown preset {name!r}: there are {', '.join(sorted(presets))}")
    return presets[name]


def save_preset(preset: Preset, folder: Path) -> Path:
    """Write a preset into the user's folder, which is made if need be. Raises PresetError."""
    path = folder / f"{preset.name}.toml"
    partial = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(write_preset(preset), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PresetError(f"preset {preset.name}: cannot write {path}: {error.strerror}") from None
    return path
