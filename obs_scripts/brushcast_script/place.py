"""Place: our picture in the original's place in a scene, and everything back as it was.

The original stays in the scene, hidden: it is what is captured. It comes back only through `undo`
or while `show` is held. Called from OBS's UI thread and its hotkey thread; never waits.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from brushcast_script import libobs
from brushcast_script.libobs import Libobs
from brushcast_script.picture import SOURCE_ID, SOURCE_NAME, Shown
from brushcast_script.tap import tap_size


class PlaceError(Exception):
    """One sentence: why nothing was changed."""


class AlreadyThere(PlaceError):
    """The name of the scene or group that has our picture already."""


@dataclass(frozen=True)
class Placed:
    """One exchange. scene: the name of the scene or group; item, original: ids in it."""

    scene: str
    item: int
    original: int
    was_visible: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: Any) -> Placed | None:
        """None for what is none."""
        kinds = {"scene": str, "item": int, "original": int, "was_visible": bool}
        if not isinstance(table, dict) or set(table) != set(kinds):
            return None
        if any(not isinstance(table[key], kind) for key, kind in kinds.items()):
            return None
        return cls(**table)


def put(obs: Libobs, shown: Shown, name: str, there: Sequence[Placed]) -> Placed:
    """Our picture over the source of that name in the present scene, which is hidden. there: what
    was exchanged before. Raises PlaceError."""
    scene_source = libobs.current_scene()
    if not scene_source:
        raise PlaceError("no scene is open")
    try:
        scene = obs.obs_scene_from_source(scene_source)
        original = obs.obs_scene_find_source_recursive(scene, name.encode()) if name else None
        if not original:
            raise PlaceError(f"the source {name!r} is not in the present scene")
        parent = obs.obs_sceneitem_get_scene(original)  # the scene, or a group in it
        called = obs.obs_source_get_name(obs.obs_scene_get_source(parent)).decode()
        if any(placed.scene == called for placed in there):
            raise AlreadyThere(called)
        ours = _our_source(obs, shown)
        try:
            item = obs.obs_scene_add(parent, ours)
        finally:
            obs.obs_source_release(ours)
        if not item:
            raise PlaceError("OBS did not take the picture into the scene")
        was_visible = bool(obs.obs_sceneitem_visible(original))
        _like(obs, original, item)
        shown.card_now()
        position = obs.obs_sceneitem_get_order_position(original)
        obs.obs_sceneitem_set_order_position(item, position + 1)
        obs.obs_sceneitem_set_visible(item, True)
        obs.obs_sceneitem_set_visible(original, False)
        obs.obs_sceneitem_set_locked(item, obs.obs_sceneitem_locked(original))
        ids = obs.obs_sceneitem_get_id(item), obs.obs_sceneitem_get_id(original)
        return Placed(called, *ids, was_visible)
    finally:
        obs.obs_source_release(scene_source)


def undo(obs: Libobs, placed: Placed) -> None:
    """Our picture out, the original as it was. What is gone already is no error."""
    with _Items(obs, placed) as (item, original):
        if item:
            obs.obs_sceneitem_remove(item)
        if original:
            obs.obs_sceneitem_set_visible(original, placed.was_visible)


def show(obs: Libobs, placed: Placed, *, raw: bool) -> None:
    """The original, while the user holds it open; and hidden again."""
    with _Items(obs, placed) as (item, original):
        if item and original:
            obs.obs_sceneitem_set_visible(original, raw)
            obs.obs_sceneitem_set_visible(item, not raw)


def still_there(obs: Libobs, placed: Placed) -> bool:
    """Whether our picture is in its scene."""
    with _Items(obs, placed) as (item, _):
        return bool(item)


class _Items:
    """Ours and the original, valid as long as the scene is held."""

    def __init__(self, obs: Libobs, placed: Placed) -> None:
        self._obs, self._placed = obs, placed
        self._source = obs.obs_get_source_by_name(placed.scene.encode())

    def __enter__(self) -> tuple[int | None, int | None]:
        if not self._source:
            return None, None
        obs = self._obs
        scene = obs.obs_scene_from_source(self._source) or obs.obs_group_from_source(self._source)
        if not scene:
            return None, None
        ours = obs.obs_scene_find_sceneitem_by_id(scene, self._placed.item)
        if ours:
            kind = obs.obs_source_get_unversioned_id(obs.obs_sceneitem_get_source(ours))
            ours = ours if kind == SOURCE_ID else None  # somebody else has the number now
        return ours, obs.obs_scene_find_sceneitem_by_id(scene, self._placed.original)

    def __exit__(self, *_: object) -> None:
        if self._source:
            self._obs.obs_source_release(self._source)


def _our_source(obs: Libobs, shown: Shown) -> int:
    """With a reference; made where there is none."""
    found = shown.source()
    if found:
        return found
    name, number = SOURCE_NAME, 1
    while taken := obs.obs_get_source_by_name(name.encode()):
        obs.obs_source_release(taken)
        number += 1
        name = f"{SOURCE_NAME} {number}"
    made: int | None = obs.obs_source_create(SOURCE_ID, name.encode(), None, None)
    if not made:
        raise PlaceError("OBS did not make the source")
    return made


def _like(obs: Libobs, original: int, item: int) -> None:
    """The same place, size, turn, bounds and crop: ours may have fewer pixels."""
    source = obs.obs_sceneitem_get_source(original)
    width, height = obs.obs_source_get_width(source), obs.obs_source_get_height(source)
    ratio_x = ratio_y = 1.0
    if width and height:
        ours = tap_size(width, height)
        ratio_x, ratio_y = width / ours[0], height / ours[1]
    pos, scale, bounds, crop = libobs.Vec2(), libobs.Vec2(), libobs.Vec2(), libobs.Crop()
    obs.obs_sceneitem_get_pos(original, c.byref(pos))
    obs.obs_sceneitem_get_scale(original, c.byref(scale))
    obs.obs_sceneitem_get_bounds(original, c.byref(bounds))
    obs.obs_sceneitem_get_crop(original, c.byref(crop))
    scale.x, scale.y = scale.x * ratio_x, scale.y * ratio_y
    crop.left, crop.right = round(crop.left / ratio_x), round(crop.right / ratio_x)
    crop.top, crop.bottom = round(crop.top / ratio_y), round(crop.bottom / ratio_y)
    obs.obs_sceneitem_set_alignment(item, obs.obs_sceneitem_get_alignment(original))
    obs.obs_sceneitem_set_pos(item, c.byref(pos))
    obs.obs_sceneitem_set_rot(item, obs.obs_sceneitem_get_rot(original))
    obs.obs_sceneitem_set_scale(item, c.byref(scale))
    obs.obs_sceneitem_set_bounds_type(item, obs.obs_sceneitem_get_bounds_type(original))
    obs.obs_sceneitem_set_bounds_alignment(item, obs.obs_sceneitem_get_bounds_alignment(original))
    obs.obs_sceneitem_set_bounds(item, c.byref(bounds))
    obs.obs_sceneitem_set_crop(item, c.byref(crop))
    obs.obs_sceneitem_set_scale_filter(item, obs.obs_sceneitem_get_scale_filter(original))
    obs.obs_sceneitem_set_blending_mode(item, obs.obs_sceneitem_get_blending_mode(original))
