"""Presses the Brushcast script's buttons inside a real OBS: a script with a hotkey for each, which
obs-websocket triggers. Runs under OBS's Python."""

from __future__ import annotations

import sys

import obspython as obs


def _button(name):
    def press(pressed):
        if pressed:
            script = sys.modules["brushcast_obs"]
            properties = script.script_properties()
            getattr(script, f"_{name}")(properties, None)
            obs.obs_properties_destroy(properties)

    return press


_KEPT = {name: _button(name) for name in ("put", "undo", "start", "stop")}


def script_load(settings):
    for name, press in _KEPT.items():
        obs.obs_hotkey_register_frontend(f"driver.{name}", f"driver {name}", press)


def script_unload():
    for press in _KEPT.values():
        obs.obs_hotkey_unregister(press)
