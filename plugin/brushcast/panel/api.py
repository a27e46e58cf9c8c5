"""The panel's JSON: states going out, changes coming in. Pure, and strict about what comes in.

docs/API.md describes every field; tests/plugin/panel/test_api.py holds the two together.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import NoReturn

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.panel.backend import (
    ChangeLook,
    NoticeSeen,
    PanelState,
    Pause,
    RetryWorker,
    SwitchBadge,
    SwitchMode,
    SwitchObsCamera,
    SwitchSink,
    Which,
)
from brushcast.wire.bodies import MODES

MAX_BODY_BYTES = 32_768  # a prompt of 2000 characters, every one of them escaped as \uXXXX twice
MAX_PROMPT_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 64
MAX_SEED = 2**32 - 1
SIDES: dict[str, Which] = {"before": "before", "after": "after"}

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def state_json(state: PanelState) -> str:
    """The state as one line of JSON. Sizes are "1280x720"; what is not known yet is null."""
    return json.dumps(_plain(state), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_object(text: bytes | str) -> dict[str, Json]:
    """A JSON object. Raises ConfigError for anything else, NaN and infinities included."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"the body is no JSON: {reason}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"the body is {_kind(value)}, wanted a JSON object")
    return value


def parse_look(body: dict[str, Json]) -> ChangeLook:
    """`{"preset": …, "prompt": …, "strength": 0..1, "seed": 0..4294967295}`, each part optional,
    one at least.
    """
    _only(body, ("preset", "prompt", "strength", "seed"))
    if not body:
        raise ConfigError("the look is empty, wanted preset, prompt, strength or seed")
    preset = _text(body, "preset", MAX_NAME_CHARACTERS) if "preset" in body else None
    prompt = _text(body, "prompt", MAX_PROMPT_CHARACTERS) if "prompt" in body else None
    if prompt is not None and not prompt.strip():
        raise ConfigError("the prompt is empty, wanted the look in words")
    strength, seed = None, None
    if "strength" in body:
        given = body["strength"]
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
            raise ConfigError(f"strength {_shown(given)}: wanted a number from 0 to 1")
        strength = float(given)
    if "seed" in body:
        given = body["seed"]
        if type(given) is not int or not 0 <= given <= MAX_SEED:
            raise ConfigError(f"seed {_shown(given)}: wanted a whole number from 0 to {MAX_SEED}")
        seed = given
    return ChangeLook(preset=preset, prompt=prompt, strength=strength, seed=seed)


def parse_sink(sink_id: str, body: dict[str, Json]) -> SwitchSink:
    """`{"on": true}` or `{"on": false}`."""
    _only(body, ("on",))
    on = body.get("on")
    if not isinstance(on, bool):
        raise ConfigError(f"on is {_shown(on)}, wanted true or false")
    return SwitchSink(id=sink_id, on=on)


Control = Pause | RetryWorker | SwitchBadge | SwitchMode | NoticeSeen | SwitchObsCamera


def parse_control(body: dict[str, Json]) -> Control:
    """`{"action": NAME}`, one of the names below."""
    _only(body, ("action",))
    actions: dict[str, Control] = {
        "pause": Pause(on=True),
        "resume": Pause(on=False),
        "retry": RetryWorker(),
        "badge_on": SwitchBadge(on=True),
        "badge_off": SwitchBadge(on=False),
        **{f"mode_{mode}": SwitchMode(mode=mode) for mode in MODES},
        "notice_seen": NoticeSeen(),
        "obs_camera_start": SwitchObsCamera(on=True),
        "obs_camera_stop": SwitchObsCamera(on=False),
    }
    action = body.get("action")
    if not isinstance(action, str) or action not in actions:
        raise ConfigError(f"action {_shown(action)}: wanted one of {', '.join(actions)}")
    return actions[action]


def parse_event(body: dict[str, Json]) -> frozenset[Which] | Which:
    """What a WebSocket client may say: `{"watch": ["before", "after"]}` or `{"shown": "after"}`."""
    _only(body, ("watch", "shown"))
    match body:
        case {"watch": list(sides), **rest} if not rest:
            return frozenset(_side(side) for side in sides)
        case {"shown": side, **rest} if not rest:
            return _side(side)
    raise ConfigError('wanted {"watch": [sides]} or {"shown": side}')


def _side(value: Json) -> Which:
    if not isinstance(value, str) or value not in SIDES:
        raise ConfigError(f"side {_shown(value)}: wanted before or after")
    return SIDES[value]


def _plain(value: object) -> Json:
    match value:
        case StrEnum():
            return value.value
        case Size():
            return str(value)
        case float():
            return round(value, 3) if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case tuple():
            return [_plain(item) for item in value]
    assert is_dataclass(value), value
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _only(body: dict[str, Json], known: tuple[str, ...]) -> None:
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise ConfigError(f"unknown key {_shown(unknown[0])}, wanted only {', '.join(known)}")


def _text(body: dict[str, Json], key: str, most: int) -> str:
    value = body[key]
    if not isinstance(value, str):
        raise ConfigError(f"{key} is {_kind(value)}, wanted text")
    if len(value) > most:
        raise ConfigError(f"{key} has {len(value)} characters, wanted at most {most}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{key} holds half a character, wanted whole ones")
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def _shown(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"
