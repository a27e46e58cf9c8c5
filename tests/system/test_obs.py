"""The product inside a real OBS: what a streamer would see and press."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brushcast.errors import SourceError
from brushcast.frame import Pixels
from brushcast.ring import Form, Ring
from tests.system import obs_studio
from tests.system.obs_studio import SCENE, ObsStudio, brushcast, media, until

MISSING = obs_studio.missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}"),
]

PATIENCE_S = 120.0  # of a machine that does much else; figures are in docs/BENCHMARKS.md


@pytest.fixture(scope="module")
def obs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObsStudio]:
    """Running, with a still picture to be restyled and F8 as the second look's key."""
    pytest.importorskip("obsws_python", reason="obsws-python is not installed")
    home = tmp_path_factory.mktemp("obs")
    still = home / "still.png"
    cv2.imwrite(str(still), _scene()[:, :, ::-1])
    made = ObsStudio(home)
    try:
        made.install()
        made.write_profile()
        settings = {"source": "main", "brushcast.preset.2": [{"key": "OBS_KEY_F8"}]}
        for name in ("one", "two"):
            made.write_collection(name, [media(still), brushcast()], settings)
        film = home / "film.mp4"
        clip = obs_studio.ROOT / "plugin" / "brushcast" / "assets" / "clip.mp4"
        command = ["ffmpeg", "-loglevel", "error", "-i", str(clip), "-s", "640x360", str(film)]
        subprocess.run(command, check=True)
        made.write_collection("film", [media(film)], {"source": "main"})
        made.start()
        yield made
        made.stop()
        until(lambda: not list(obs_studio.children(str(home / "runtime"))), 30, "all ended")
        assert left_in(made.runtime) == []
    finally:
        made.close()


def _scene() -> Pixels:
    """Something with faces of colour and edges."""
    from brushcast.source import TestcardSource

    width, height = obs_studio.CANVAS
    card = TestcardSource()._background
    return np.asarray(cv2.resize(card, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def left_in(runtime: Path) -> list[str]:
    """Beside logs and the lock."""
    kept = (".log", ".lock")
    return sorted(path.name for path in runtime.iterdir() if path.suffix not in kept)


def painted(obs: ObsStudio) -> Pixels | None:
    """What the product gives, [H W 3] RGB; None while it gives nothing."""
    try:
        ring = Ring.attach(obs.runtime / "obs-out", Form.I420)
    except SourceError:
        return None
    picture = ring.newest()
    ring.close()
    if picture is None:
        return None
    planes = picture.pixels_HWC.reshape(-1, picture.width)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420), np.uint8)


def far(a: Pixels, b: Pixels) -> float:
    """Mean difference in levels, without single pixels' edges."""
    small = [cv2.resize(x, (160, 90), interpolation=cv2.INTER_AREA).astype(int) for x in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def is_styled(obs: ObsStudio, source: str = "Brushcast") -> bool:
    """Neither the source nor the card, and what the product paints now."""
    given = painted(obs)
    if given is None or state(obs).get("state") != "LIVE":
        return False
    seen = obs.picture(source)
    return far(seen, obs.picture("main")) > 8 and far(seen, given) < 6


def state(obs: ObsStudio) -> dict[str, Any]:
    """Of the product, by its API; {} while there is none."""
    import urllib.request

    try:
        run = json.loads((obs.runtime / "run.json").read_text())
        asked = urllib.request.Request(
            f"{run['url']}/api/v1/state", headers={"Authorization": f"Bearer {run['token']}"}
        )
        with urllib.request.urlopen(asked, timeout=3) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {}


def preset(obs: ObsStudio) -> str:
    return str(state(obs).get("look", {}).get("preset"))


def live(obs: ObsStudio) -> None:
    until(lambda: is_styled(obs), PATIENCE_S, "the Brushcast source shows a styled picture")


def test_the_source_shows_what_the_product_paints(obs: ObsStudio) -> None:
    live(obs)


def test_a_look_by_websocket_and_by_the_keyboard(obs: ObsStudio) -> None:
    live(obs)
    names = [row["name"] for row in state(obs)["presets"]]
    obs.press("brushcast.preset.3")
    until(lambda: preset(obs) == names[2], 20, "the third look by obs-websocket")
    obs.key("F8")
    until(lambda: preset(obs) == names[1], 20, "the second look by its key")
    obs.press("brushcast.next")
    until(lambda: preset(obs) == names[2], 20, "the next look")


def test_panic_is_the_card_at_once(obs: ObsStudio) -> None:
    live(obs)
    obs.press("brushcast.panic")
    until(lambda: state(obs).get("paused") is True, 20, "the product is paused")
    until(lambda: not is_styled(obs), 20, "the card")
    assert far(obs.picture("Brushcast"), obs.picture("main")) > 8
    obs.press("brushcast.panic")
    live(obs)


def items(obs: ObsStudio) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = obs.ask("get_scene_item_list", SCENE).scene_items
    return [{key: row[key] for key in row if key != "inputKind"} for row in found]


def without_size(item: dict[str, Any]) -> dict[str, Any]:
    """What a user sees of an item's place."""
    kept = ("positionX", "positionY", "rotation", "width", "height", "alignment", "boundsType")
    return {key: round(item["sceneItemTransform"][key], 1) if key != "boundsType" else
            item["sceneItemTransform"][key] for key in kept}  # fmt: skip


def test_into_the_scene_and_back(obs: ObsStudio) -> None:
    ours = next(row for row in items(obs) if row["sourceName"] == "Brushcast")
    assert obs.ask("remove_scene_item", SCENE, ours["sceneItemId"]) is not None
    until(lambda: len(items(obs)) == 1, 10, "the item is gone")
    before = items(obs)
    main = before[0]["sceneItemId"]
    turned = {"positionX": 40.0, "positionY": 30.0, "rotation": 10.0, "cropLeft": 60, "cropTop": 20}
    obs.ask("set_scene_item_transform", SCENE, main, turned | {"boundsType": "OBS_BOUNDS_NONE"})
    before = items(obs)
    obs.press("driver.put")
    until(lambda: len(items(obs)) == 2, 10, "the picture is in the scene")
    # From the click on: the card or the picture, never the source.
    raw = obs.picture("main")
    seen = obs.picture(SCENE)
    hidden, put = items(obs)
    assert hidden["sceneItemEnabled"] is False
    assert put["sceneItemEnabled"] is True
    assert without_size(put) == without_size(before[0])
    live(obs)
    assert far(seen, raw) > 8
    obs.press("brushcast.show")  # not allowed: nothing happens
    time.sleep(0.3)
    assert items(obs)[0]["sceneItemEnabled"] is False
    obs.press("driver.undo")
    until(lambda: len(items(obs)) == 1, 10, "the picture is out of the scene")
    assert items(obs) == before
    obs.press("driver.put")
    until(lambda: len(items(obs)) == 2, 10, "the picture is in the scene again")


def test_another_collection_and_back(obs: ObsStudio) -> None:
    for name in ("two", "one"):
        obs.ask("set_current_scene_collection", name)
        until(lambda: bool(obs.ask("get_scene_item_list", SCENE)), 30, "the collection is there")
        live(obs)


def captured(obs: ObsStudio) -> Pixels:
    """What OBS gives us, [H W 4] BGRA; black while it gives nothing."""
    try:
        ring = Ring.attach(obs.runtime / "obs-in", Form.BGRA)
    except SourceError:
        return np.zeros((360, 640, 4), np.uint8)
    picture = ring.newest()
    ring.close()
    return np.zeros((360, 640, 4), np.uint8) if picture is None else picture.pixels_HWC


def test_a_film_goes_on_while_it_is_hidden(obs: ObsStudio) -> None:
    obs.ask("set_current_scene_collection", "film")
    until(lambda: bool(obs.ask("get_scene_item_list", SCENE)), 30, "the collection is there")
    until(lambda: captured(obs)[..., :3].std() > 20, 30, "the film")
    obs.press("driver.put")
    until(lambda: len(items(obs)) == 2, 10, "the picture is in the scene")
    time.sleep(1)  # what stops would have stopped by now
    before = captured(obs)
    assert before[..., :3].std() > 20, "the film is there"
    until(lambda: np.abs(captured(obs).astype(int) - before).mean() > 1, 10, "it moves")
    obs.press("driver.undo")
    obs.ask("set_current_scene_collection", "one")
    live(obs)


def test_the_bridge_is_killed(obs: ObsStudio) -> None:
    live(obs)
    for pid in obs_studio.children(str(obs.runtime)):
        if b"bridge-process" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    until(lambda: state(obs) == {}, 10, "the bridge is gone")
    live(obs)


def test_closed_and_opened_again(obs: ObsStudio) -> None:
    obs.stop()
    until(lambda: not list(obs_studio.children(str(obs.runtime))), 30, "nothing runs on")
    assert left_in(obs.runtime) == []
    saved = json.loads((obs.folder / "basic" / "scenes" / "one.json").read_text())
    scripts = saved["modules"]["scripts-tool"]
    assert scripts[0]["settings"]["brushcast.preset.2"][0]["key"] == "OBS_KEY_F8"
    obs.start()
    live(obs)
    obs.key("F8")
    names = [row["name"] for row in state(obs)["presets"]]
    until(lambda: preset(obs) == names[1], 20, "the binding survived")


def test_killed_it_leaves_nothing(obs: ObsStudio) -> None:
    live(obs)
    obs.kill()
    until(lambda: not list(obs_studio.children(str(obs.runtime))), 30, "nothing runs on")
    assert left_in(obs.runtime) == []
    obs.start()
    live(obs)
