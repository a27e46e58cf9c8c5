"""A real OBS without a screen, in a home of its own: Xvfb, a scene collection with our script in
it, obs-websocket to ask and to tell. Needs obs, Xvfb and dbus-daemon on PATH."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from brushcast.frame import Pixels

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "obs_scripts" / "brushcast_obs.py"
DRIVER = Path(__file__).parent / "obs_driver.py"
PROGRAMS = ("obs", "Xvfb", "dbus-daemon", "xdotool", "ffmpeg")
PASSWORD = "of a test"
CANVAS = (640, 360)
SCENE = "Scene"


def missing() -> list[str]:
    """Programs that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class ObsStudio:
    """One home, one display; OBS in it is started and ended at will."""

    def __init__(self, home: Path, *, fps: int = 30) -> None:
        self.home, self.fps = home, fps
        self.runtime = home / "runtime"
        self.port = _free_port()
        self.obs: subprocess.Popen[bytes] | None = None
        self.crashes_of_its_own = 0
        self._client: Any = None
        with contextlib.ExitStack() as stack:
            (home / "xdg").mkdir(parents=True, mode=0o700)
            self.runtime.mkdir(mode=0o700)
            self._stack = stack
            self.display = self._start_display()
            self._bus = self._start_bus()
            self._stack = stack.pop_all()

    @property
    def folder(self) -> Path:
        return self.home / ".config" / "obs-studio"

    def environment(self) -> dict[str, str]:
        passed = ("LANG", "OBS_CLOCK_LOG", "OBS_CLOCK_SCRIPTS")
        kept = {name: os.environ[name] for name in passed if name in os.environ}
        return {
            **kept,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_RUNTIME_DIR": str(self.home / "xdg"),
            "BRUSHCAST_RUNTIME_DIR": str(self.runtime),
            "DISPLAY": self.display,
            "DBUS_SESSION_BUS_ADDRESS": self._bus,
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_QPA_PLATFORM": "xcb",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def install(self) -> None:
        """As the installer does: where the product is."""
        folder = self.home / ".config" / "brushcast"
        folder.mkdir(parents=True, exist_ok=True)
        # OBS's Python is the system's; ours has the packages.
        command = [sys.executable, "-m", "brushcast"]
        table = {"format": 1, "command": command, "version": "0"}
        (folder / "install.json").write_text(json.dumps(table))

    def start(self) -> None:
        """Raises AssertionError when it does not answer within a minute."""
        log = (self.home / "obs.log").open("ab")
        command = ["obs", "--multi", "--collection", "one", "--profile", "lab"]
        command += ["--disable-missing-files-check", "--unfiltered_log"]
        self.obs = subprocess.Popen(
            command, env=self.environment(), stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        until(lambda: self.ask("get_version") is not None, 60, "OBS answers")

    def stop(self) -> None:
        """As a user closes it. Raises AssertionError when it hangs or crashes.

        OBS 29 without a window manager crashes now and then in Qt's own window events once its
        scenes are gone, with or without our script (docs/BENCHMARKS.md): that is let pass, but only
        after our script was unloaded and the scenes were cleared.
        """
        assert self.obs is not None
        self._drop_client()
        self.obs.send_signal(signal.SIGINT)
        try:
            code = self.obs.wait(20)
        except subprocess.TimeoutExpired:
            self.obs.kill()
            raise AssertionError("OBS hangs while it closes") from None
        self.obs = None
        said = self.log().rpartition("==== Shutting down")[2]
        ours_is_over = "Unloaded python script: brushcast_obs.py" in said
        if code == -signal.SIGSEGV and ours_is_over and "All scene data cleared" in said:
            self.crashes_of_its_own += 1
            return
        assert code == 0, f"OBS ended with {code}: {said[-2000:]}"

    def kill(self) -> None:
        assert self.obs is not None
        self._drop_client()
        self.obs.kill()
        self.obs.wait()
        self.obs = None

    def close(self) -> None:
        if self.obs is not None:
            self.kill()
        self._stack.close()

    def log(self) -> str:
        return (self.home / "obs.log").read_text(errors="replace")

    # ------------------------------------------------------------------ asking

    def ask(self, request: str, *values: Any) -> Any:
        """A request of obs-websocket; None while OBS does not answer."""
        import obsws_python

        logging.getLogger("obsws_python").setLevel(logging.CRITICAL)
        try:
            if self._client is None:
                address = {"host": "127.0.0.1", "port": self.port, "password": PASSWORD}
                self._client = obsws_python.ReqClient(**address, timeout=5)
            return getattr(self._client, request)(*values) or True
        except (OSError, ConnectionError, obsws_python.error.OBSSDKError, TimeoutError):
            self._drop_client()
            return None

    def picture(self, source: str) -> Pixels:
        """What a source shows, [H W 3] uint8 RGB."""
        width, height = CANVAS
        answer = self.ask("get_source_screenshot", source, "png", width, height, -1)
        assert answer is not None, f"no screenshot of {source}"
        data = base64.b64decode(answer.image_data.partition(",")[2])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return np.ascontiguousarray(image[:, :, ::-1])

    def press(self, hotkey: str) -> None:
        """By obs-websocket."""
        assert self.ask("trigger_hot_key_by_name", hotkey, None) is not None

    def key(self, name: str) -> None:
        """On the keyboard: OBS looks at it every 25 ms."""
        for action, pause_s in (("keydown", 0.2), ("keyup", 0.1)):
            subprocess.run(
                ["xdotool", action, name], env={**os.environ, "DISPLAY": self.display}, check=True
            )
            time.sleep(pause_s)

    def _drop_client(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.disconnect()
            self._client = None

    # ------------------------------------------------------------------ what it stands on

    def write_collection(
        self,
        name: str,
        sources: list[dict[str, Any]],
        settings: dict[str, Any],
        others: Sequence[Path] = (DRIVER,),
    ) -> None:
        """A scene with those sources, lowest first, and our script with those settings."""
        items = [_item(number, source["name"]) for number, source in enumerate(sources, 1)]
        scene = _source(SCENE, "scene", {"id_counter": 40, "custom_size": False, "items": items})
        scripts = [{"path": str(SCRIPT), "settings": settings}]
        scripts += [{"path": str(path), "settings": {}} for path in others]
        table = {
            "name": name,
            "current_scene": SCENE,
            "current_program_scene": SCENE,
            "scene_order": [{"name": SCENE}],
            "sources": [*sources, scene],
            "groups": [],
            "transitions": [],
            "current_transition": "Cut",
            "modules": {"scripts-tool": scripts},
        }
        folder = self.folder / "basic" / "scenes"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(table))

    def write_profile(self) -> None:
        (self.folder / "basic" / "profiles" / "lab").mkdir(parents=True, exist_ok=True)
        width, height = CANVAS
        (self.folder / "global.ini").write_text(
            "[General]\nFirstRun=true\nLastVersion=486539266\nInfoIncrement=999\n"
            "EnableAutoUpdates=false\nConfirmOnExit=false\nHotkeyFocusType=NeverDisableHotkeys\n"
            "CurrentTheme3=Dark\n"
            "[Basic]\nProfile=lab\nProfileDir=lab\nSceneCollection=one\nSceneCollectionFile=one\n"
            "ConfigOnNewProfile=false\n"
            "[BasicWindow]\nSysTrayEnabled=false\nPreviewEnabled=false\n"
            f"[OBSWebSocket]\nFirstLoad=false\nServerEnabled=true\nServerPort={self.port}\n"
            f"AlertsEnabled=false\nAuthRequired=true\nServerPassword={PASSWORD}\n"
        )
        (self.folder / "basic" / "profiles" / "lab" / "basic.ini").write_text(
            f"[General]\nName=lab\n[Video]\nBaseCX={width}\nBaseCY={height}\nOutputCX={width}\n"
            f"OutputCY={height}\nFPSType=1\nFPSInt={self.fps}\nFPSCommon={self.fps}\n"
            "ColorFormat=NV12\nColorSpace=709\nColorRange=Partial\n"
        )

    def _start_display(self) -> str:
        read, write = os.pipe()
        with (self.home / "xvfb.log").open("wb") as log:
            server = subprocess.Popen(
                ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "+extension",
                 "GLX", "-nolisten", "tcp"],
                pass_fds=(write,), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._stack.callback(_end, server)
        os.close(write)
        with os.fdopen(read) as number:
            return f":{number.readline().strip()}"

    def _start_bus(self) -> str:
        bus = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._stack.callback(_end, bus)
        assert bus.stdout is not None
        self._stack.callback(bus.stdout.close)
        return bus.stdout.readline().decode().strip()


def media(path: Path) -> dict[str, Any]:
    """A source named main: a still picture, or a film in a loop."""
    if path.suffix == ".png":
        return _source("main", "image_source", {"file": str(path)})
    settings = {"is_local_file": True, "local_file": str(path), "looping": True}
    return _source("main", "ffmpeg_source", {**settings, "hw_decode": False})


def brushcast() -> dict[str, Any]:
    return _source("Brushcast", "brushcast_picture", {})


def until(true: Callable[[], Any], seconds: float, what: str) -> float:
    """How long it took, seconds."""
    begun_s = time.monotonic()
    while not true():
        took_s = time.monotonic() - begun_s
        assert took_s < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun_s


def children(of: str) -> Iterator[int]:
    """Processes of this machine whose environment or command line has that text: of a run of
    ours, its folder."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if of.encode() in (folder / "environ").read_bytes():
                    yield int(folder.name)


def _source(name: str, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "id": kind, "versioned_id": kind, "settings": settings, "mixers": 0}


def _item(number: int, name: str) -> dict[str, Any]:
    width, height = CANVAS
    return {
        "name": name, "id": number, "visible": True, "locked": False, "align": 5, "rot": 0.0,
        "pos": {"x": 0.0, "y": 0.0}, "scale": {"x": 1.0, "y": 1.0},
        "bounds_type": 2, "bounds_align": 0, "bounds": {"x": float(width), "y": float(height)},
        "crop_left": 0, "crop_top": 0, "crop_right": 0, "crop_bottom": 0,
    }  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
