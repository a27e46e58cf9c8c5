"""What OBS calls of the script, with an obspython that is none."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brushcast_script import libobs, studio
from tests.obs_scripts.brushcast_script.test_studio import FakeProduct
from tests.obs_scripts.conftest import FakeObs, until

SCRIPT = Path(__file__).parents[2] / "obs_scripts" / "brushcast_obs.py"


class Properties:
    """A list of (kind, name, text, the rest)."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def add(self, kind: str, name: str, text: str, *rest: Any) -> list[Any]:
        self.rows.append([kind, name, text, *rest])
        return self.rows[-1]

    def row(self, name: str) -> list[Any]:
        return next(row for row in self.rows if row[1] == name)


class ObsPython(types.ModuleType):
    """Settings are dictionaries. Like the real one it takes functions only, no methods."""

    OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING, OBS_TEXT_INFO, OBS_GROUP_CHECKABLE = 1, 2, 3, 4
    OBS_SOURCE_VIDEO, LOG_WARNING = 1, 200
    OBS_FRONTEND_EVENT_EXIT, OBS_FRONTEND_EVENT_SCENE_COLLECTION_CLEANUP = 17, 25
    OBS_FRONTEND_EVENT_PROFILE_CHANGED, OBS_FRONTEND_EVENT_PROFILE_CHANGING = 14, 33
    OBS_FRONTEND_EVENT_SCRIPTING_SHUTDOWN = 30

    def __init__(self) -> None:
        super().__init__("obspython")
        self.hotkeys: dict[str, Callable[[bool], None]] = {}
        self.events: list[Callable[[int], None]] = []
        self.loaded: dict[int, Any] = {}
        self.said: list[str] = []

    def obs_frontend_add_event_callback(self, callback: Any) -> None:
        assert isinstance(callback, types.FunctionType)
        self.events.append(callback)

    def obs_frontend_remove_event_callback(self, callback: Any) -> None:
        self.events.remove(callback)

    def obs_hotkey_register_frontend(self, name: str, title: str, callback: Any) -> int:
        assert isinstance(callback, types.FunctionType)
        assert title
        self.hotkeys[name] = callback
        return len(self.hotkeys)

    def obs_hotkey_unregister(self, callback: Any) -> None:
        self.hotkeys = {name: value for name, value in self.hotkeys.items() if value != callback}

    def obs_hotkey_load(self, number: int, array: Any) -> None:
        self.loaded[number] = array

    def obs_hotkey_save(self, number: int) -> Any:
        return f"binding {number}"

    def obs_data_get_array(self, settings: dict[str, Any], name: str) -> Any:
        return settings.get(name)

    def obs_data_set_array(self, settings: dict[str, Any], name: str, value: Any) -> None:
        settings[name] = value

    obs_data_set_string = obs_data_set_array
    obs_data_set_default_string = obs_data_set_array
    obs_data_set_default_double = obs_data_set_array
    obs_data_set_default_bool = obs_data_set_array

    def obs_data_array_release(self, array: Any) -> None: ...

    def obs_data_get_string(self, settings: dict[str, Any], name: str) -> str:
        return str(settings.get(name, ""))

    def obs_data_get_bool(self, settings: dict[str, Any], name: str) -> bool:
        return bool(settings.get(name))

    def obs_data_get_double(self, settings: dict[str, Any], name: str) -> float:
        return float(settings.get(name, 0))

    def obs_properties_create(self) -> Properties:
        return Properties()

    def obs_properties_add_text(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("text", *rest)

    def obs_properties_add_list(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("list", *rest)

    def obs_properties_add_bool(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("bool", *rest)

    def obs_properties_add_button(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("button", *rest)

    def obs_properties_add_float_slider(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("slider", *rest)

    def obs_properties_add_group(self, properties: Properties, *rest: Any) -> Any:
        return properties.add("group", *rest)

    def obs_properties_get(self, properties: Properties, name: str) -> Any:
        return properties.row(name)

    def obs_property_set_long_description(self, row: list[Any], text: str) -> None: ...

    def obs_property_set_description(self, row: list[Any], text: str) -> None:
        row[2] = text

    def obs_property_list_add_string(self, row: list[Any], text: str, value: str) -> None:
        row.append((text, value))

    def obs_get_locale(self) -> str:
        return "en-GB"

    def obs_enum_sources(self) -> list[int]:
        return [1, 2, 3, 4]

    def obs_source_get_name(self, source: int) -> str:
        return {1: "Webcam", 2: "Microphone", 3: "Brushcast", 4: "Capture card"}[source]

    def obs_source_get_output_flags(self, source: int) -> int:
        return 2 if source == 2 else 1

    def obs_source_get_unversioned_id(self, source: int) -> str:
        return "brushcast_picture" if source == 3 else "v4l2_input"

    def source_list_release(self, sources: Any) -> None: ...

    def obs_frontend_get_scene_names(self) -> list[str]:
        return ["Scene"]

    def script_log(self, level: int, text: str) -> None:
        self.said.append(text)


class Lib(FakeObs):
    def obs_get_locale(self) -> bytes:
        return b"en-GB"


@pytest.fixture
def obspython(monkeypatch: pytest.MonkeyPatch) -> ObsPython:
    made = ObsPython()
    monkeypatch.setitem(sys.modules, "obspython", made)
    monkeypatch.setattr(studio, "Product", FakeProduct)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return made


@pytest.fixture
def script(fake: FakeObs, obspython: ObsPython, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script as a module, not loaded yet."""
    lib = Lib()
    scene = lib.add_scene("Scene")
    lib.add_item(scene, lib.add_source("Webcam"))
    monkeypatch.setattr(libobs, "load", lambda: lib)
    monkeypatch.setattr(libobs, "current_scene", lambda: lib.obs_source_get_ref(scene))
    spec = importlib.util.spec_from_file_location("brushcast_obs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.lib = lib  # type: ignore[attr-defined]
    yield module
    module.script_unload()


def settings_of(script: Any, **values: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    script.script_defaults(settings)
    return settings | values


def test_loading_and_unloading_leave_nothing(script: Any, obspython: ObsPython) -> None:
    for _ in range(3):
        script.script_load(settings_of(script, source="Webcam"))
        assert len(obspython.hotkeys) == 16
        assert len(obspython.events) == 1
        until(lambda: script._script.studio.tap.state.phase == "live")
        threads = script._script.studio._thread
        script.script_unload()
        assert not obspython.hotkeys
        assert not obspython.events
        assert not threads.is_alive()
        assert not script.lib.views


def test_hotkeys_have_stable_names_and_keep_their_bindings(
    script: Any, obspython: ObsPython
) -> None:
    script.script_load(settings_of(script, **{"brushcast.preset.1": "F1"}))
    names = [f"brushcast.preset.{n}" for n in range(1, 10)]
    names += [f"brushcast.{name}" for name in ("next", "previous", "toggle", "strength.up")]
    names += [f"brushcast.{name}" for name in ("strength.down", "panic", "show")]
    assert list(obspython.hotkeys) == names
    assert obspython.loaded[1] == "F1"
    saved: dict[str, Any] = {}
    script.script_save(saved)
    assert saved["brushcast.show"] == "binding 16"
    obspython.hotkeys["brushcast.panic"](True)
    assert script._script.studio.shown.hidden
    obspython.hotkeys["brushcast.panic"](False)  # the key's release means nothing
    assert script._script.studio.shown.hidden


def test_the_page_of_properties(script: Any, obspython: ObsPython) -> None:
    script.script_load(settings_of(script, source="Webcam"))
    page = script.script_properties()
    values = [value for _, value in page.row("source")[5:]]
    assert values == ["", "Capture card", "Webcam", "Scene"]
    assert [value for _, value in page.row("preset")[5:]] == ["ink", "oil", "neon"]
    for name in ("start", "stop", "put", "undo", "refresh"):
        assert page.row(name)[3](page, None) is True, name
    assert "The original is back." in page.row("state")[2]
    assert page.row("panel")[3](page, None) is False  # no address yet: nothing is opened
    assert "Restyles a source live" in script.script_description()


def test_what_was_put_is_remembered(script: Any, obspython: ObsPython) -> None:
    script.script_load(settings_of(script, source="Webcam"))
    page = script.script_properties()
    page.row("put")[3](page, None)
    saved: dict[str, Any] = {}
    script.script_save(saved)
    assert json.loads(saved["placed"])[0]["scene"] == "Scene"
    script.script_unload()
    script.script_load(settings_of(script, **saved))
    page = script.script_properties()
    page.row("undo")[3](page, None)
    assert all(item.visible for item in script.lib.items.values())


def test_the_capture_lets_go_before_obs_does(script: Any, obspython: ObsPython) -> None:
    script.script_load(settings_of(script, source="Webcam"))
    studio = script._script.studio
    tap, product = studio.tap, studio.product
    for event, ends in ((25, False), (33, False), (17, True), (30, True)):
        studio.start()
        until(lambda: tap.state.phase == "live")
        until(lambda: product.wanted is not None)
        obspython.events[0](event)
        assert tap.state.phase == "off"
        assert not script.lib.views
        assert (product.wanted is None) == ends, "the product ends with OBS, not with a collection"
    studio.start()
    until(lambda: tap.state.phase == "live")
    obspython.events[0](33)
    obspython.events[0](14)
    until(lambda: tap.state.phase == "live")


def test_an_unknown_obs_is_refused_politely(
    script: Any, obspython: ObsPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise libobs.ObsUnknown("OBS 40.0.0: this version of Brushcast knows OBS 28 to 32")

    monkeypatch.setattr(libobs, "load", refuse)
    script.script_load({})
    assert "knows OBS 28 to 32" in obspython.said[0]
    assert "knows OBS 28 to 32" in script.script_description()
    assert script.script_properties().rows == []
    script.script_update({})
    script.script_save({})
