"""Brushcast inside OBS: Tools > Scripts > + > this file.

Only what OBS calls is here: settings, buttons, hotkeys, loading and unloading. Nothing waits: what
takes time is done by the threads of `brushcast_script`. Standard library, ctypes and obspython.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import webbrowser
from pathlib import Path
from typing import Any

import obspython as obs

sys.path.insert(0, str(Path(__file__).resolve().parent))

from brushcast_script import libobs  # noqa: E402
from brushcast_script.studio import Settings, Studio  # noqa: E402
from brushcast_script.words import Words  # noqa: E402

PRESET_KEYS = 9
STRENGTH_STEP = 0.1
LOOKS = ("watercolour", "oil", "ink", "pencil", "comic", "neon", "ukiyo-e", "papercut")
UNNAMED = {"brushcast_picture", "scene", "group"}

_SHUTDOWN = getattr(obs, "OBS_FRONTEND_EVENT_SCRIPTING_SHUTDOWN", None)


class _Script:
    """What lives from script_load to script_unload."""

    def __init__(self, settings: Any) -> None:
        library = libobs.load()
        self.words = Words((library.obs_get_locale() or b"en-US").decode())
        self.studio = Studio(library)
        self.hotkeys: dict[str, int] = {}
        self.said = ""
        self._callbacks: list[Any] = []
        self._register_hotkeys(settings)
        self._event = lambda event: self._on_event(event)
        obs.obs_frontend_add_event_callback(self._event)
        placed, captured = (
            json.loads(obs.obs_data_get_string(settings, name) or "null")
            for name in ("placed", "captured")
        )
        self.studio.remember(placed, captured)
        self.update(settings)

    def close(self) -> None:
        obs.obs_frontend_remove_event_callback(self._event)
        for callback in self._callbacks:
            obs.obs_hotkey_unregister(callback)
        self.studio.close()

    def update(self, settings: Any) -> None:
        own = obs.obs_data_get_bool(settings, "own_strength")
        self.studio.apply(
            Settings(
                source=obs.obs_data_get_string(settings, "source"),
                preset=obs.obs_data_get_string(settings, "preset"),
                strength=obs.obs_data_get_double(settings, "strength") if own else None,
                camera=obs.obs_data_get_bool(settings, "camera"),
                allow_raw=obs.obs_data_get_bool(settings, "allow_raw"),
                on=obs.obs_data_get_bool(settings, "on"),
            )
        )

    def save(self, settings: Any) -> None:
        placed = json.dumps([placed.to_json() for placed in self.studio.placed])
        obs.obs_data_set_string(settings, "placed", placed)
        obs.obs_data_set_string(settings, "captured", json.dumps(self.studio.captured()))
        obs.obs_data_set_string(settings, "source", self.studio.settings.source)  # renamed?
        for name, number in self.hotkeys.items():
            array = obs.obs_hotkey_save(number)
            obs.obs_data_set_array(settings, name, array)
            obs.obs_data_array_release(array)

    # ------------------------------------------------------------------ hotkeys, events

    def _register_hotkeys(self, settings: Any) -> None:
        words, studio = self.words, self.studio
        for number in range(1, PRESET_KEYS + 1):
            title = words("hotkey_preset", number=number)
            self._hotkey(settings, f"preset.{number}", title, lambda n=number: studio.preset(n))
        self._hotkey(settings, "next", words("hotkey_next"), lambda: studio.step_preset(1))
        self._hotkey(settings, "previous", words("hotkey_previous"), lambda: studio.step_preset(-1))
        self._hotkey(settings, "toggle", words("hotkey_toggle"), studio.toggle)
        stronger, weaker = words("hotkey_stronger"), words("hotkey_weaker")
        self._hotkey(settings, "strength.up", stronger, lambda: studio.stronger(STRENGTH_STEP))
        self._hotkey(settings, "strength.down", weaker, lambda: studio.stronger(-STRENGTH_STEP))
        self._hotkey(settings, "panic", words("hotkey_panic"), studio.panic)
        self._held(settings, "show", words("hotkey_show"), studio.show_raw)

    def _hotkey(self, settings: Any, name: str, title: str, act: Any) -> None:
        self._held(settings, name, title, lambda pressed: act() if pressed else None)

    def _held(self, settings: Any, name: str, title: str, act: Any) -> None:
        """On OBS's hotkey thread. OBS takes functions only: no methods."""
        identity = f"brushcast.{name}"
        callback = lambda pressed: act(pressed)  # noqa: E731
        self._callbacks.append(callback)
        number = obs.obs_hotkey_register_frontend(identity, title, callback)
        self.hotkeys[identity] = number
        array = obs.obs_data_get_array(settings, identity)
        obs.obs_hotkey_load(number, array)
        obs.obs_data_array_release(array)

    def _on_event(self, event: int) -> None:
        if event in (obs.OBS_FRONTEND_EVENT_EXIT, _SHUTDOWN):
            self.studio.leave()
        gone = (
            obs.OBS_FRONTEND_EVENT_SCENE_COLLECTION_CLEANUP,
            obs.OBS_FRONTEND_EVENT_EXIT,
            _SHUTDOWN,
        )
        if event in gone or event == obs.OBS_FRONTEND_EVENT_PROFILE_CHANGING:
            self.studio.tap.let_go()
        elif event == obs.OBS_FRONTEND_EVENT_PROFILE_CHANGED:
            self.studio.capture()


_script: _Script | None = None
_refused = ""


# ---------------------------------------------------------------------- what OBS calls


def script_description() -> str:
    words = Words(obs.obs_get_locale() or "en-US")
    return words("obs_unknown", message=_refused) if _refused else words("description")


def script_defaults(settings: Any) -> None:
    obs.obs_data_set_default_string(settings, "preset", "watercolour")
    obs.obs_data_set_default_double(settings, "strength", 0.6)
    obs.obs_data_set_default_bool(settings, "on", True)


def script_load(settings: Any) -> None:
    global _script, _refused
    try:
        _log_to_file()
        _script = _Script(settings)
    except libobs.ObsUnknown as error:
        _refused = str(error)
        obs.script_log(obs.LOG_WARNING, f"Brushcast: {error}")


def script_unload() -> None:
    global _script
    if _script is not None:
        _script.close()
        _script = None
    for handler in logging.getLogger("brushcast_script").handlers[:]:
        logging.getLogger("brushcast_script").removeHandler(handler)
        handler.close()


def script_update(settings: Any) -> None:
    if _script is not None:
        _script.update(settings)


def script_save(settings: Any) -> None:
    if _script is not None:
        _script.save(settings)


def script_properties() -> Any:
    properties = obs.obs_properties_create()
    if _script is None:
        return properties
    words, studio = _script.words, _script.studio
    obs.obs_properties_add_text(properties, "state", _state(), obs.OBS_TEXT_INFO)
    sources = obs.obs_properties_add_list(
        properties,
        "source",
        words("source"),
        obs.OBS_COMBO_TYPE_LIST,
        obs.OBS_COMBO_FORMAT_STRING,
    )
    obs.obs_property_list_add_string(sources, words("source_none"), "")
    for name in _sources():
        obs.obs_property_list_add_string(sources, name, name)
    looks = obs.obs_properties_add_list(
        properties,
        "preset",
        words("preset"),
        obs.OBS_COMBO_TYPE_LIST,
        obs.OBS_COMBO_FORMAT_STRING,
    )
    for name, title in studio.product.state.presets or [(name, name) for name in LOOKS]:
        obs.obs_property_list_add_string(looks, title, name)
    own = obs.obs_properties_create()
    obs.obs_properties_add_float_slider(own, "strength", words("strength"), 0.0, 1.0, 0.05)
    group = obs.OBS_GROUP_CHECKABLE
    obs.obs_properties_add_group(properties, "own_strength", words("own_strength"), group, own)
    rows = {n: obs.obs_properties_add_bool(properties, n, words(n)) for n in _SWITCHES}
    for name, act in _BUTTONS.items():
        rows[name] = obs.obs_properties_add_button(properties, name, words(name), act)
    for name in _HINTS:
        obs.obs_property_set_long_description(rows[name], words(f"{name}_hint"))
    return properties


def _start(properties: Any, _: Any) -> bool:
    if _script is not None:
        found = _script.studio.start()
        _script.said = "" if found else _script.words("choose_first")
    return _refresh(properties, _)


def _stop(properties: Any, _: Any) -> bool:
    if _script is not None:
        _script.studio.stop()
        _script.said = ""
    return _refresh(properties, _)


def _put(properties: Any, _: Any) -> bool:
    if _script is not None:
        _script.said = _script.studio.put(_script.words)
    return _refresh(properties, _)


def _undo(properties: Any, _: Any) -> bool:
    if _script is not None:
        _script.said = _script.studio.undo(_script.words)
    return _refresh(properties, _)


def _panel(properties: Any, _: Any) -> bool:
    if _script is not None and _script.studio.product.state.url:
        webbrowser.open(_script.studio.product.state.url)
    return False


def _refresh(properties: Any, _: Any) -> bool:
    text = obs.obs_properties_get(properties, "state")
    obs.obs_property_set_description(text, _state())
    return True


_SWITCHES = ("on", "camera", "allow_raw")
_HINTS = ("camera", "allow_raw", "put", "undo")
_BUTTONS = {
    "start": _start,
    "stop": _stop,
    "put": _put,
    "undo": _undo,
    "panel": _panel,
    "refresh": _refresh,
}


def _state() -> str:
    if _script is None:
        return ""
    return "\n".join(filter(None, [_script.said, *_script.studio.sentences(_script.words)]))


def _sources() -> list[str]:
    """Everything with a picture that is not ours, by name."""
    found = obs.obs_enum_sources()
    try:
        names = [
            obs.obs_source_get_name(source)
            for source in found or []
            if obs.obs_source_get_output_flags(source) & obs.OBS_SOURCE_VIDEO
            and obs.obs_source_get_unversioned_id(source) not in UNNAMED
        ]
    finally:
        obs.source_list_release(found)
    scenes = obs.obs_frontend_get_scene_names() or []
    return sorted(names, key=str.casefold) + sorted(scenes, key=str.casefold)


def _log_to_file() -> None:
    """print() from a thread while OBS exits has crashed it, so what is said goes to a file."""
    from brushcast_script.folders import FolderError, runtime_folder

    logger = logging.getLogger("brushcast_script")
    logger.propagate = False
    try:
        path = runtime_folder() / "obs-script.log"
        handler: logging.Handler = logging.handlers.RotatingFileHandler(path, "a", 1 << 20, 1)
    except (FolderError, OSError):
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
