"""What a real OBS makes of the product, hour after hour in minutes:
PYTHONPATH=. python tests/e2e/obs_visit.py OUT.json [--reloads 50] [--switches 20] [--restarts 20]
[--bridge-kills 10] [--every 0] [--obs-kills 5] [--calm] [--size 640x360]
(needs obs, Xvfb, dbus-daemon, xdotool, ffmpeg).

Told of each: how long until the picture was there again (OBS's source live, seconds), hangs,
processes and files that were left, and OBS's own log of leaks. And of a calm minute: OBS's frames
with and without us, lagged ones, the product's own delay (captured in OBS until shown, without what
`obs_hops.py` measures) and what the capture costs OBS's video thread, as the script's log says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brushcast.ring import Form, Ring
from tests.e2e.obs_hops import summary
from tests.e2e.tell import tell
from tests.system import obs_studio
from tests.system.obs_studio import SCENE, ObsStudio, brushcast, media, until
from tests.system.test_obs import left_in, state

CLIP = obs_studio.ROOT / "plugin" / "brushcast" / "assets" / "clip.mp4"
PATIENCE_S = 60.0
CALM_S = 20.0
# The dialog of OBS 29 without a window manager: the menu, its entry, then inside the dialog.
TOOLS, SCRIPTS, ROW, RELOAD = (378, 11), (400, 111), (60, 53), (92, 428)


class Visit:
    def __init__(self, obs: ObsStudio) -> None:
        self.obs = obs
        self.back_s: dict[str, list[float]] = {}
        self.wrong: list[str] = []

    def fresh(self) -> bool:
        """Painted within the last half second, and shown as live."""
        try:
            ring = Ring.attach(self.obs.runtime / "obs-out", Form.I420)
        except Exception:  # noqa: BLE001 (not there yet)
            return False
        picture = ring.newest()
        ring.close()
        new = picture is not None and time.monotonic_ns() - picture.written_ns < 5e8
        return new and state(self.obs).get("state") == "LIVE"

    def many(self, name: str, count: int, act: Callable[[], None]) -> None:
        """`act` so often; after each the picture must come back."""
        for _ in range(count):
            begun_s = time.monotonic()
            try:
                act()
                acted_s = time.monotonic()
                until(self.fresh, PATIENCE_S, f"the picture after {name}")
                self.back_s.setdefault(name, []).append(round(time.monotonic() - acted_s, 2))
            except AssertionError as error:
                self.wrong.append(f"{name}: {error}")
                if self.obs.obs is None or self.obs.obs.poll() is not None:
                    self.wrong.append(f"{name}: OBS is gone")
                    self.obs.obs = None
                    self.obs.start()
            print(name, round(time.monotonic() - begun_s, 2), flush=True)  # noqa: T201

    def _xdotool(self, *words: Any) -> str:
        environment = {**os.environ, "DISPLAY": self.obs.display}
        command = ["xdotool", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    def open_dialog(self) -> None:
        self._xdotool("mousemove", *TOOLS, "click", 1)
        time.sleep(0.7)
        self._xdotool("mousemove", *SCRIPTS, "click", 1)
        until(lambda: self._xdotool("search", "--name", "^Scripts$"), 10, "the dialog")
        time.sleep(1)

    def reload(self) -> None:
        loads = self.obs.log().count("Loaded python script: brushcast_obs.py")
        window = self._xdotool("search", "--name", "^Scripts$").split()[-1]
        found = self._xdotool("getwindowgeometry", window)
        x, y = map(int, re.findall(r"Position: (\d+),(\d+)", found)[0])
        for place in (ROW, RELOAD):
            self._xdotool("mousemove", x + place[0], y + place[1], "click", 1)
            time.sleep(0.2)
        again = "Loaded python script: brushcast_obs.py"
        until(lambda: self.obs.log().count(again) > loads, 15, "the script is loaded again")

    def switch(self) -> None:
        now = self.obs.ask("get_scene_collection_list").current_scene_collection_name
        name = "two" if now == "one" else "one"
        self.obs.ask("set_current_scene_collection", name)
        until(lambda: bool(self.obs.ask("get_scene_item_list", SCENE)), 30, "the collection")

    def restart(self) -> None:
        self.obs.stop()
        until(self.nothing_runs, 20, "nothing runs on")
        self.obs.start()

    def nothing_runs(self) -> bool:
        running = [*obs_studio.children(str(self.obs.runtime))]
        return not running and left_in(self.obs.runtime) == []

    def kill_obs(self) -> None:
        self.obs.kill()
        until(self.nothing_runs, 20, "nothing runs on")
        self.obs.start()

    def kill_bridge(self, after_s: float) -> None:
        time.sleep(after_s)
        for pid in obs_studio.children(str(self.obs.runtime)):
            if b"bridge-process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.fresh(), 10, "the bridge is gone")

    def delays_ms(self) -> list[float]:
        """Capture to output, as the product's state says it four times a second for a while."""
        found, ends_s = [], time.monotonic() + CALM_S
        while time.monotonic() < ends_s:
            if (delay_ms := state(self.obs).get("worker", {}).get("delay_ms")) is not None:
                found.append(float(delay_ms))
            time.sleep(0.25)
        return found

    def frames(self) -> dict[str, Any]:
        """OBS's own count over a calm while, and the product's delay."""
        before, begun_s = self.obs.ask("get_stats"), time.monotonic()
        delays_ms = self.delays_ms()
        after, took_s = self.obs.ask("get_stats"), time.monotonic() - begun_s
        frames = after.render_total_frames - before.render_total_frames
        lagged = after.render_skipped_frames - before.render_skipped_frames
        return {
            "fps": round((frames - lagged) / took_s, 2),
            "lagged_share": round(lagged / max(1, frames), 4),
            "render_ms": round(after.average_frame_render_time, 2),
            "delay_ms": summary(delays_ms) if delays_ms else {},
        }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path, nargs="?")
    for name, count in (("reloads", 50), ("switches", 20), ("restarts", 20)):
        options.add_argument(f"--{name}", type=int, default=count)
    options.add_argument("--bridge-kills", type=int, default=10)
    options.add_argument("--obs-kills", type=int, default=5)
    options.add_argument("--every", type=float, default=0, help="seconds between two bridge kills")
    options.add_argument("--size", default="640x360", help="of the source that is captured")
    options.add_argument("--calm", action="store_true", help="the frames of a calm while")
    asked = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="brushcast-obs-"))
    obs = ObsStudio(home)
    told: dict[str, Any] = {"asked": {key: str(value) for key, value in vars(asked).items()}}
    try:
        obs.install()
        obs.write_profile()
        clip = home / "clip.mp4"
        command = ["ffmpeg", "-loglevel", "error", "-i", str(CLIP), "-s", asked.size, str(clip)]
        subprocess.run(command, check=True)
        for name in ("one", "two"):
            obs.write_collection(name, [media(clip), brushcast()], {"source": "main"})
        begun_s = time.monotonic()
        obs.start()
        visit = Visit(obs)
        until(visit.fresh, PATIENCE_S, "the first picture")
        told["first_picture_s"] = round(time.monotonic() - begun_s, 1)
        if asked.calm:
            for name, hotkey in (
                ("with us", "start"),
                ("without", "stop"),
                ("with again", "start"),
            ):
                obs.press(f"driver.{hotkey}")
                time.sleep(8)
                told[name] = visit.frames()
            until(visit.fresh, PATIENCE_S, "the picture")
        if asked.reloads:
            visit.open_dialog()
            visit.many("reload", asked.reloads, visit.reload)
        visit.many("another collection", asked.switches, visit.switch)
        visit.many("bridge killed", asked.bridge_kills, lambda: visit.kill_bridge(asked.every))
        visit.many("OBS restarted", asked.restarts, visit.restart)
        visit.many("OBS killed", asked.obs_kills, visit.kill_obs)
        begun_s = time.monotonic()
        obs.stop()
        told["closing_s"] = round(time.monotonic() - begun_s, 1)
        until(visit.nothing_runs, 20, "nothing runs on")
        told["back_s"] = {
            name: {"p50": statistics.median(took), "max": max(took), "times": len(took)}
            for name, took in visit.back_s.items()
        }
        said = (obs.runtime / "obs-script.log").read_text()
        told["the script's log"] = re.findall(r"(?:captured at|\d+ pictures) .*", said)[-6:]
        told["wrong"] = visit.wrong
        told["crashes of OBS's own, after us"] = obs.crashes_of_its_own
        told["leaks"] = re.findall(r"Number of memory leaks: (\d+)", obs.log())
    finally:
        logs = sorted(obs.runtime.glob("obs-*.log"))
        told["logs"] = {path.name: path.read_text().splitlines()[-20:] for path in logs}
        print(told["logs"], state(obs).get("message"))  # noqa: T201
        obs.close()
        shutil.rmtree(home, ignore_errors=True)
    tell(json.loads(json.dumps(told)), asked.out)


if __name__ == "__main__":
    main()
