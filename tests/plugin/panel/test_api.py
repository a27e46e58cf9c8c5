from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast.errors import ConfigError
from brushcast.panel import backend as shapes
from brushcast.panel.api import (
    Json,
    parse_control,
    parse_event,
    parse_look,
    parse_object,
    parse_sink,
    state_json,
)
from brushcast.panel.backend import (
    AlertState,
    ChangeLook,
    NoticeSeen,
    Pause,
    RetryWorker,
    SwitchBadge,
    SwitchMode,
    SwitchObsCamera,
    SwitchSink,
)
from tests.plugin.panel.fake_backend import fake_state

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "API.md"

NUMBER = (int, float)
OPTIONAL_NUMBER = (int, float, type(None))
# What docs/API.md promises. A field more or less is a change of the API.
SCHEMA: dict[str, Any] = {
    "state": str,
    "message": str,
    "worker": {
        "state": str,
        "engine": str,
        "device": str,
        "device_name": str,
        "fps": OPTIONAL_NUMBER,
        "delay_ms": OPTIONAL_NUMBER,
        "network_ms": OPTIONAL_NUMBER,
        "worker_ms": OPTIONAL_NUMBER,
        "playout_ms": OPTIONAL_NUMBER,
        "codec": str,
        "rung": int,
        "rung_name": str,
        "reconnects": int,
        "cache_hits": int,
        "message": str,
    },
    "look": {
        "preset": str,
        "prompt": str,
        "strength": NUMBER,
        "seed": int,
        "steps": int,
        "applied": bool,
        "message": str,
    },
    "presets": [{"name": str, "title": str, "prompt": str, "thumbnail": str}],
    "source": {
        "spec": str,
        "title": str,
        "state": str,
        "size": (str, type(None)),
        "fps": OPTIONAL_NUMBER,
        "message": str,
    },
    "sinks": [
        {
            "id": str,
            "title": str,
            "kind": str,
            "on": bool,
            "state": str,
            "message": str,
            "frames": int,
        }
    ],
    "output": {"size": str, "fps": NUMBER, "gap_max_ms": OPTIONAL_NUMBER},
    "version": str,
    "privacy": {"raw_shown": bool},
    "paused": bool,
    "advice": str,
    "badge": bool,
    "notice": bool,
    "mode": str,
    "obs": {
        "connected": bool,
        "version": str,
        "fps": OPTIONAL_NUMBER,
        "render_ms": OPTIONAL_NUMBER,
        "skipped_share": OPTIONAL_NUMBER,
        "pressure": bool,
        "message": str,
    },
    "alerts": [{"name": str, "level": str, "message": str, "since_s": int}],
}


def check(value: Any, wanted: Any, where: str = "state") -> None:
    match wanted:
        case dict():
            assert list(value) == list(wanted), where
            for name, inner in wanted.items():
                check(value[name], inner, f"{where}.{name}")
        case list():
            assert value, where
            for item in value:
                check(item, wanted[0], f"{where}[]")
        case _:
            assert isinstance(value, wanted), f"{where} is {value!r}"
            assert wanted is bool or not isinstance(value, bool), where


def test_the_state_has_the_documented_shape() -> None:
    alert = AlertState(name="gap", level="warning", message="It stood still.", since_s=421)
    check(json.loads(state_json(dataclasses.replace(fake_state(), alerts=(alert,)))), SCHEMA)


def test_what_is_not_known_yet_is_null() -> None:
    state = fake_state()
    worker = dataclasses.replace(state.worker, fps=None, delay_ms=float("nan"))
    said = json.loads(state_json(dataclasses.replace(state, worker=worker)))
    assert said["worker"]["fps"] is None
    assert said["worker"]["delay_ms"] is None


def test_the_document_names_every_field_and_every_word() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Za-z_]+)`", text))
    fields = {
        field.name
        for shape in (
            shapes.PanelState,
            shapes.WorkerState,
            shapes.LookState,
            shapes.PresetCard,
            shapes.SourceState,
            shapes.SinkState,
            shapes.OutputState,
            shapes.PrivacyState,
            shapes.ObsState,
            shapes.AlertState,
        )
        for field in dataclasses.fields(shape)
    }
    words = {
        word.value
        for kind in (shapes.ProductState, shapes.WorkerPhase, shapes.PortState)
        for word in kind
    }
    assert not (fields | words) - named


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ({"preset": "ink"}, ChangeLook(preset="ink")),
        ({"prompt": "  soft\nlight\t "}, ChangeLook(prompt="soft light")),
        ({"strength": 1, "seed": 2**32 - 1}, ChangeLook(strength=1.0, seed=2**32 - 1)),
        ({"strength": 0.0}, ChangeLook(strength=0.0)),
        ({"prompt": "\u6c34\u5f69"}, ChangeLook(prompt="\u6c34\u5f69")),
    ],
)
def test_a_look_is_taken(body: dict[str, Json], change: ChangeLook) -> None:
    assert parse_look(body) == change


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({}, "empty"),
        ({"style": "ink"}, '"style"'),
        ({"preset": 3}, "a number"),
        ({"preset": "x" * 65}, "65 characters"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"prompt": "x" * 2001}, "2001 characters"),
        ({"prompt": "\ud800"}, "half a character"),
        ({"prompt": None}, "null"),
        ({"strength": 1.01}, "1.01"),
        ({"strength": True}, "true"),
        ({"strength": "0.5"}, '"0.5"'),
        ({"seed": -1}, "-1"),
        ({"seed": 2**32}, "4294967296"),
        ({"seed": 1.0}, "1.0"),
        ({"seed": True}, "true"),
    ],
)
def test_a_look_that_cannot_work_is_named(body: dict[str, Json], seen: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(seen)):
        parse_look(body)


def test_sinks_and_controls() -> None:
    assert parse_sink("camera", {"on": True}) == SwitchSink(id="camera", on=True)
    assert parse_control({"action": "pause"}) == Pause(on=True)
    assert parse_control({"action": "resume"}) == Pause(on=False)
    assert parse_control({"action": "retry"}) == RetryWorker()
    assert parse_control({"action": "badge_on"}) == SwitchBadge(on=True)
    assert parse_control({"action": "mode_low-latency"}) == SwitchMode(mode="low-latency")
    assert parse_control({"action": "badge_off"}) == SwitchBadge(on=False)
    assert parse_control({"action": "notice_seen"}) == NoticeSeen()
    assert parse_control({"action": "obs_camera_start"}) == SwitchObsCamera(on=True)
    assert parse_control({"action": "obs_camera_stop"}) == SwitchObsCamera(on=False)


@pytest.mark.parametrize("body", [{}, {"on": 1}, {"on": "true"}, {"on": True, "id": "x"}])
def test_a_switch_is_true_or_false(body: dict[str, Json]) -> None:
    with pytest.raises(ConfigError):
        parse_sink("camera", body)


@pytest.mark.parametrize("body", [{}, {"action": "quit"}, {"action": ["pause"]}, {"pause": True}])
def test_only_known_actions(body: dict[str, Json]) -> None:
    with pytest.raises(ConfigError):
        parse_control(body)


def test_events() -> None:
    assert parse_event({"watch": ["before", "after"]}) == frozenset(("before", "after"))
    assert parse_event({"watch": []}) == frozenset()
    assert parse_event({"shown": "after"}) == "after"


@pytest.mark.parametrize(
    "body",
    [{}, {"watch": "after"}, {"watch": ["raw"]}, {"watch": [1]}, {"shown": []}, {"say": "x"}]
    + [{"watch": [], "shown": "after"}],
)
def test_only_known_events(body: dict[str, Json]) -> None:
    with pytest.raises(ConfigError):
        parse_event(body)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"3", b"null", b'"x"', b'{"strength": NaN}', b"\xff", b"[" * 30_000]
    + [b'{"seed": ' + b"9" * 5000 + b"}"],
)
def test_only_json_objects(text: bytes) -> None:
    with pytest.raises(ConfigError, match="the body is"):
        parse_object(text)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_an_object_or_refused(text: bytes) -> None:
    try:
        body = parse_object(text)
    except ConfigError:
        return
    for parse in (parse_look, parse_control, parse_event):
        with contextlib.suppress(ConfigError):
            parse(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["preset", "prompt", "strength", "seed", "action", "on", "watch"]),
        JSON_VALUES,
        max_size=3,
    )
)
def test_any_object_is_a_change_or_refused(body: dict[str, Json]) -> None:
    for parse in (parse_look, parse_control, parse_event):
        with contextlib.suppress(ConfigError):
            parse(body)
