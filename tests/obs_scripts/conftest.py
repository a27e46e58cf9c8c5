"""An OBS that is none: what the script calls of libobs, over Python objects, by numbers."""

from __future__ import annotations

import ctypes as c
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brushcast_script import libobs


@dataclass
class Source:
    name: str
    kind: bytes = b"v4l2_input"
    width: int = 640
    height: int = 480
    removed: bool = False
    data: int = 0
    references: int = 0
    active: int = 0
    pushed: list[tuple[int, int, bytes]] = field(default_factory=list)  # width, height, Y's start


@dataclass
class Item:
    source: int
    scene: int
    visible: bool = True
    locked: bool = False
    values: dict[str, Any] = field(default_factory=dict)


class FakeObs:
    """One UI's worth of libobs. What is not defined here is an AttributeError: a test fails."""

    def __init__(self) -> None:
        self.version = 29, 0, 2
        self.numbers = itertools.count(1000)
        self.sources: dict[int, Source] = {}
        self.scenes: dict[int, list[int]] = {}  # the scene's own source -> items, lowest first
        self.items: dict[int, Item] = {}
        self.info = libobs.VideoInfo(fps_num=30, fps_den=1, base_width=640, base_height=360)
        self.source_kind: libobs.SourceInfo | None = None
        self.output_kind: libobs.OutputInfo | None = None
        self.output_active = False
        self.refuses_output = False
        self.views: list[int] = []
        self.tapped: libobs.VideoInfo | None = None
        self.data_capture = False
        self.views_have_sizes = True
        self.converted: tuple[Any, ...] = ()
        self._bfree = c.CFUNCTYPE(None, c.c_void_p)(self.bfree)
        self.address_of_bfree = c.cast(self._bfree, c.c_void_p).value
        self.allocated: list[int] = []
        self.weak = 0

    def bmalloc(self, size: int) -> int:
        self.allocated.append(next(self.numbers))
        return self.allocated[-1]

    def bfree(self, address: int) -> None:
        self.allocated.remove(address)

    # what a test does to it

    def add_source(self, name: str, **values: Any) -> int:
        number = next(self.numbers)
        self.sources[number] = Source(name, **values)
        return number

    def add_scene(self, name: str) -> int:
        number = self.add_source(name, kind=b"scene")
        self.scenes[number] = []
        return number

    def add_item(self, scene: int, source: int, **values: Any) -> int:
        number = next(self.numbers)
        self.items[number] = Item(source, scene, values=values)
        self.scenes[scene].append(number)
        return number

    def show_picture(self, pixels: bytes, row_bytes: int) -> None:
        """As OBS's video thread does, of the running output."""
        assert self.output_kind is not None
        memory = c.create_string_buffer(pixels, len(pixels))
        data = libobs.VideoData()
        data.data[0], data.linesize[0] = c.addressof(memory), row_bytes
        libobs.RawVideo(self.output_kind.raw_video)(1, c.byref(data))

    # sources

    def obs_register_source_s(self, info: Any, size: int) -> None:
        assert self.source_kind is None, "registered twice"
        assert size == libobs.SOURCE_INFO_BYTES
        self.source_kind = info._obj

    def obs_source_create(self, kind: bytes, name: bytes, settings: None, hotkeys: None) -> int:
        number = self.add_source(name.decode(), kind=kind, width=0, height=0)
        assert self.source_kind is not None
        self.sources[number].data = libobs.Create(self.source_kind.create)(None, number)
        self.sources[number].references = 1
        return number

    def destroy(self, number: int) -> None:
        """As a thread of libobs does, whether Python is alive or not."""
        assert self.source_kind is not None
        assert self.source_kind.destroy == self.address_of_bfree
        self.bfree(self.sources.pop(number).data)

    def obs_enum_sources(self, act: Any, _: None) -> None:
        for number in list(self.sources):
            act(None, number)

    def obs_source_get_weak_source(self, number: int) -> int:
        self.weak += 1
        return number

    def obs_weak_source_get_source(self, number: int) -> int | None:
        return self.obs_source_get_ref(number) if number in self.sources else None

    def obs_weak_source_release(self, number: int) -> None:
        self.weak -= 1

    def obs_get_source_by_name(self, name: bytes) -> int | None:
        for number, source in self.sources.items():
            if source.name == name.decode() and not source.removed:
                source.references += 1
                return number
        return None

    def obs_source_get_ref(self, number: int) -> int:
        self.sources[number].references += 1
        return number

    def obs_source_inc_active(self, number: int) -> None:
        self.sources[number].active += 1

    def obs_source_dec_active(self, number: int) -> None:
        self.sources[number].active -= 1

    def obs_source_release(self, number: int) -> None:
        self.sources[number].references -= 1

    def obs_source_get_name(self, number: int) -> bytes:
        return self.sources[number].name.encode()

    def obs_source_get_unversioned_id(self, number: int) -> bytes:
        return self.sources[number].kind

    def obs_source_get_width(self, number: int) -> int:
        return self.sources[number].width

    def obs_source_get_height(self, number: int) -> int:
        return self.sources[number].height

    def obs_source_removed(self, number: int) -> bool:
        return self.sources[number].removed

    def obs_source_set_async_unbuffered(self, number: int, on: bool) -> None:
        assert on

    def obs_source_output_video2(self, number: int, frame: Any) -> None:
        raw = frame._obj
        start = c.string_at(raw.data[0], 16)
        self.sources[number].pushed.append((raw.width, raw.height, start))

    def video_format_get_parameters(self, *_: Any) -> bool:
        return True

    # outputs and views

    def obs_get_video_info(self, info: Any) -> bool:
        c.pointer(getattr(info, "_obj", info))[0] = self.info
        return True

    def obs_get_audio(self) -> int:
        return 1

    def obs_register_output_s(self, info: Any, size: int) -> None:
        assert self.output_kind is None, "registered twice"
        assert size == libobs.OUTPUT_INFO_BYTES
        self.output_kind = info._obj

    def obs_output_create(self, *_: Any) -> int:
        assert self.output_kind is not None
        self.output_data = libobs.Create(self.output_kind.create)(None, 77)
        return 77

    def obs_output_set_media(self, *_: Any) -> None: ...

    def obs_output_start(self, output: int) -> bool:
        assert self.output_kind is not None
        self.output_active = libobs.Start(self.output_kind.start)(self.output_data)
        return self.output_active

    def obs_output_can_begin_data_capture(self, output: int, flags: int) -> bool:
        return not self.refuses_output

    def obs_output_begin_data_capture(self, output: int, flags: int) -> bool:
        self.data_capture = True
        return True

    def obs_output_end_data_capture(self, output: int) -> None:
        self.data_capture = False

    def obs_output_force_stop(self, output: int) -> None:
        assert self.output_kind is not None
        libobs.Stop(self.output_kind.stop)(self.output_data, 0)
        self.output_active = False

    def obs_output_active(self, output: int) -> bool:
        return self.output_active

    def obs_output_release(self, output: int) -> None:
        assert output == 77
        self.bfree(self.output_data)

    def obs_view_create(self) -> int:
        self.views.append(next(self.numbers))
        return self.views[-1]

    def obs_view_set_source(self, *_: Any) -> None: ...

    def obs_view_add2(self, view: int, info: Any) -> int:
        self.tapped = libobs.VideoInfo.from_buffer_copy(info._obj)
        return view

    def obs_view_add(self, view: int) -> int:
        return view

    def obs_output_set_video_conversion(self, output: int, wanted: Any) -> None:
        self.converted = _tuple(wanted._obj)

    def obs_view_remove(self, view: int) -> None:
        self.views.remove(view)

    def obs_view_destroy(self, view: int) -> None: ...

    # scenes

    def obs_scene_create_private(self, name: bytes) -> int:
        return self.add_scene(name.decode())

    def obs_scene_release(self, scene: int) -> None:
        del self.scenes[scene], self.sources[scene]

    def obs_scene_get_source(self, scene: int) -> int:
        return scene

    def obs_scene_from_source(self, source: int) -> int | None:
        return source if self.sources[source].kind == b"scene" else None

    def obs_group_from_source(self, source: int) -> int | None:
        return source if self.sources[source].kind == b"group" else None

    def obs_scene_add(self, scene: int, source: int) -> int:
        return self.add_item(scene, source)

    def obs_scene_find_source_recursive(self, scene: int, name: bytes) -> int | None:
        for number in self.scenes[scene]:
            inside = self.items[number].source
            if self.sources[inside].name == name.decode():
                return number
            if inside in self.scenes:
                found = self.obs_scene_find_source_recursive(inside, name)
                if found:
                    return found
        return None

    def obs_scene_find_sceneitem_by_id(self, scene: int, number: int) -> int | None:
        return number if number in self.scenes[scene] else None

    def obs_sceneitem_get_scene(self, item: int) -> int:
        return self.items[item].scene

    def obs_sceneitem_get_source(self, item: int) -> int:
        return self.items[item].source

    def obs_sceneitem_get_id(self, item: int) -> int:
        return item

    def obs_sceneitem_remove(self, item: int) -> None:
        self.scenes[self.items.pop(item).scene].remove(item)

    def obs_sceneitem_visible(self, item: int) -> bool:
        return self.items[item].visible

    def obs_sceneitem_set_visible(self, item: int, on: bool) -> bool:
        self.items[item].visible = on
        return True

    def obs_sceneitem_locked(self, item: int) -> bool:
        return self.items[item].locked

    def obs_sceneitem_set_locked(self, item: int, on: bool) -> bool:
        self.items[item].locked = on
        return True

    def obs_sceneitem_get_order_position(self, item: int) -> int:
        return self.scenes[self.items[item].scene].index(item)

    def obs_sceneitem_set_order_position(self, item: int, position: int) -> None:
        order = self.scenes[self.items[item].scene]
        order.remove(item)
        order.insert(position, item)

    def __getattr__(self, name: str) -> Any:
        """The plain values of an item: structures through a pointer, numbers as they are."""
        _, _, what = name.partition("obs_sceneitem_")
        how, _, key = what.partition("_")
        if how == "get" and key in ("pos", "scale", "bounds", "crop"):
            return lambda item, out: self._read(item, key, out)
        if how == "set" and key in ("pos", "scale", "bounds", "crop"):
            return lambda item, value: self.items[item].values.update({key: _tuple(value._obj)})
        plain = ("rot", "alignment", "bounds_type", "bounds_alignment")
        if key in (*plain, "scale_filter", "blending_mode"):
            if how == "get":
                return lambda item: self.items[item].values.get(key, 0)
            return lambda item, value: self.items[item].values.update({key: value})
        raise AttributeError(name)

    def _read(self, item: int, key: str, out: Any) -> None:
        default = (1.0, 1.0) if key == "scale" else (0,) * len(out._obj._fields_)
        for (name, *_), value in zip(
            out._obj._fields_, self.items[item].values.get(key, default), strict=True
        ):
            setattr(out._obj, name, value)


def _tuple(structure: Any) -> tuple[Any, ...]:
    return tuple(getattr(structure, name) for name, *_ in structure._fields_)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeObs]:
    """Fresh, with nothing registered, and a runtime folder of its own."""
    kept = dict(libobs.KEPT)
    libobs.KEPT.clear()
    tmp_path.chmod(0o700)
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path))
    yield FakeObs()
    libobs.KEPT.clear()
    libobs.KEPT.update(kept)


def until(true: Any, seconds: float = 5.0) -> None:
    """Wait for a thread's work."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
