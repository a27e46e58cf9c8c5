"""A home with OBS's configuration in it, as OBS itself leaves it, and a machine to act on."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path

from installer import places
from installer.obs import Machine
from installer.places import Places

NOW = datetime.datetime(2026, 11, 22, 4, 5, 6)
STAMP = "20261122-040506"
LAST_VERSION = {29: 29 << 24 | 2, 30: 30 << 24 | 2 << 16 | 3, 31: 31 << 24, 32: 32 << 24 | 1 << 16}

# Four spaces, numbers of 17 digits and somebody else's scripts: as OBS writes it.
COLLECTION = """{
    "current_scene": "Szene ü",
    "name": "%s",
    "sources": [
        {"name": "cam", "volume": 0.69999999999999996, "id": "v4l2_input", "flags": -0}
    ],
    "some-new-key": {"nested": [1e3, 2.50, null, "\\u00e9"]},
    "modules": {
        "auto-scene-switcher": {"interval": 300},
        "scripts-tool": [
            {
                "path": "/opt/others/clock.lua",
                "settings": {"format": "%%H:%%M"}
            }
        ]
    },
    "preview_locked": false
}"""


class Terminal(io.StringIO):
    """Somebody types these lines."""

    def isatty(self) -> bool:
        return True


def make_obs(
    folder: Path, major: int = 29, names: tuple[str, ...] = ("lab",), chosen: str = "lab"
) -> Path:
    """OBS's configuration in `folder`; the folder of its scene collections."""
    scenes = folder / "basic" / "scenes"
    scenes.mkdir(parents=True)
    general = f"[General]\nFirstRun=true\nLastVersion={LAST_VERSION[major]}\n"
    suffix = ".json" if major >= 31 else ""
    basic = f"[Basic]\nSceneCollection={chosen}\nSceneCollectionFile={chosen}{suffix}\n"
    (folder / "global.ini").write_text("\ufeff" + general + ("" if major >= 31 else basic))
    if major >= 31:
        (folder / "user.ini").write_text("\ufeff" + basic)
    for name in names:
        (scenes / f"{name}.json").write_text(COLLECTION % name, encoding="utf-8")
    return scenes


def linux(home: Path) -> Places:
    """Everything, shared memory included, is in `home`."""
    for name in ("shm", "tmp"):
        (home / name).mkdir(exist_ok=True)
    return places.find(
        "linux", {"HOME": str(home)}, shared_memory=home / "shm", temporary=home / "tmp"
    )


def machine(
    places: Places, *, answers: str | None = None, obs_runs: Callable[[], bool] = lambda: False
) -> Machine:
    """answers: what is typed; None: nobody is there."""
    return Machine(
        places=places,
        environ={"PATH": ""},
        answers=io.StringIO() if answers is None else Terminal(answers),
        out=io.StringIO(),
        obs_runs=obs_runs,
        now=lambda: NOW,
    )


def said(machine: Machine) -> str:
    assert isinstance(machine.out, io.StringIO)
    return machine.out.getvalue()


def checkout(folder: Path) -> Path:
    """A checkout as far as these commands look at it."""
    for path, text in {
        "obs_scripts/brushcast_obs.py": "# the script\n",
        "plugin/brushcast/__init__.py": '__version__ = "9.8.7"\n',
        "plugin/brushcast/assets/icon.svg": "<svg/>\n",
        ".venv/bin/python": "#!/bin/sh\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def script_paths(collection: Path) -> list[str]:
    entries = json.loads(collection.read_text(encoding="utf-8"))["modules"]["scripts-tool"]
    return [entry["path"] for entry in entries]
