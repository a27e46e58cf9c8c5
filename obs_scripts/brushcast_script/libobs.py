"""Libobs: the OBS that this script runs in, through ctypes.

Every call releases Python's lock: through obspython (SWIG) it would be held, and whoever holds it
while libobs waits for a thread that wants it hangs OBS. Only what is declared here is called.

What is handed to libobs (callbacks, structures, names) must live as long as OBS: there is no way to
take a source's or an output's kind back. `KEPT` holds it, and this module survives reloads of the
script; that is the one reason for state in a module here.
"""

from __future__ import annotations

import ctypes as c
import sys
from pathlib import Path
from typing import Any

KNOWN_MAJORS = range(28, 33)

# libobs/media-io/video-io.h, libobs/obs-source.h, libobs/obs-output.h
I420, BGRA = 1, 7
CS_709, RANGE_PARTIAL, RANGE_FULL = 2, 1, 2
SOURCE_INPUT = 0
SOURCE_VIDEO, SOURCE_ASYNC, SOURCE_DO_NOT_DUPLICATE = 1, 1 << 2, 1 << 7
OUTPUT_VIDEO = 1
BOUNDS_STRETCH = 1

P, U32, INT, FLOAT, BOOL, U64, NAME = (
    c.c_void_p,
    c.c_uint32,
    c.c_int,
    c.c_float,
    c.c_bool,
    c.c_uint64,
    c.c_char_p,
)


class Vec2(c.Structure):
    _fields_ = [("x", FLOAT), ("y", FLOAT)]


class Crop(c.Structure):
    _fields_ = [("left", INT), ("top", INT), ("right", INT), ("bottom", INT)]


class VideoInfo(c.Structure):
    """obs_video_info; the room behind it is for fields of later versions."""

    _fields_ = [
        ("graphics_module", NAME),
        ("fps_num", U32),
        ("fps_den", U32),
        ("base_width", U32),
        ("base_height", U32),
        ("output_width", U32),
        ("output_height", U32),
        ("output_format", INT),
        ("adapter", U32),
        ("gpu_conversion", BOOL),
        ("colorspace", INT),
        ("range", INT),
        ("scale_type", INT),
        ("_room", c.c_uint8 * 64),
    ]


class ScaleInfo(c.Structure):
    """video_scale_info"""

    _fields_ = [
        ("format", INT),
        ("width", U32),
        ("height", U32),
        ("range", INT),
        ("colorspace", INT),
    ]


class VideoData(c.Structure):
    """video_data"""

    _fields_ = [("data", P * 8), ("linesize", U32 * 8), ("timestamp", U64)]


class SourceFrame(c.Structure):
    """obs_source_frame2"""

    _fields_ = [
        ("data", P * 8),
        ("linesize", U32 * 8),
        ("width", U32),
        ("height", U32),
        ("timestamp", U64),
        ("format", INT),
        ("range", INT),
        ("color_matrix", FLOAT * 16),
        ("color_range_min", FLOAT * 3),
        ("color_range_max", FLOAT * 3),
        ("flip", BOOL),
        ("flags", c.c_uint8),
        ("trc", c.c_uint8),
        ("_room", c.c_uint8 * 64),
    ]


class SourceInfo(c.Structure):
    """obs_source_info up to `video_render`: the offsets are the same in 28 to 32."""

    _fields_ = [
        ("id", NAME),
        ("type", INT),
        ("output_flags", U32),
        *((name, P) for name in ("get_name", "create", "destroy", "get_width", "get_height")),
        *((name, P) for name in ("get_defaults", "get_properties", "update", "activate")),
        *((name, P) for name in ("deactivate", "show", "hide", "video_tick", "video_render")),
        ("_zeros", c.c_uint8 * 896),  # the version is read behind the part that is registered
    ]


class OutputInfo(c.Structure):
    """obs_output_info up to `encoded_packet`."""

    _fields_ = [
        ("id", NAME),
        ("flags", U32),
        *((name, P) for name in ("get_name", "create", "destroy", "start", "stop")),
        *((name, P) for name in ("raw_video", "raw_audio", "encoded_packet")),
        ("_zeros", c.c_uint8 * 600),
    ]


SOURCE_INFO_BYTES = SourceInfo.video_render.offset + c.sizeof(P)
OUTPUT_INFO_BYTES = OutputInfo.encoded_packet.offset + c.sizeof(P)

GetName = c.CFUNCTYPE(P, P)
Create = c.CFUNCTYPE(P, P, P)
EnumSources = c.CFUNCTYPE(BOOL, P, P)
Start = c.CFUNCTYPE(BOOL, P)
Stop = c.CFUNCTYPE(None, P, U64)
RawVideo = c.CFUNCTYPE(None, P, c.POINTER(VideoData))

_WANTED: dict[str, tuple[Any, ...]] = {
    "obs_get_version": (U32,),
    "obs_get_locale": (NAME,),
    "obs_get_video_info": (BOOL, c.POINTER(VideoInfo)),
    "obs_get_audio": (P,),
    "obs_register_source_s": (None, P, c.c_size_t),
    "obs_register_output_s": (None, P, c.c_size_t),
    "obs_source_create": (P, NAME, NAME, P, P),
    "obs_get_source_by_name": (P, NAME),
    "obs_source_get_name": (NAME, P),
    "obs_source_get_unversioned_id": (NAME, P),
    "obs_source_get_width": (U32, P),
    "obs_source_get_height": (U32, P),
    "obs_source_removed": (BOOL, P),
    "obs_source_get_ref": (P, P),
    "obs_source_inc_active": (None, P),
    "obs_source_dec_active": (None, P),
    "obs_source_get_weak_source": (P, P),
    "obs_weak_source_get_source": (P, P),
    "obs_weak_source_release": (None, P),
    "obs_enum_sources": (None, EnumSources, P),
    "bmalloc": (P, c.c_size_t),
    "bfree": (None, P),
    "obs_source_release": (None, P),
    "obs_source_set_async_unbuffered": (None, P, BOOL),
    "obs_source_output_video2": (None, P, c.POINTER(SourceFrame)),
    "video_format_get_parameters": (BOOL, INT, INT, P, P, P),
    "obs_view_create": (P,),
    "obs_view_set_source": (None, P, U32, P),
    "obs_view_add": (P, P),
    "obs_view_remove": (None, P),
    "obs_view_destroy": (None, P),
    "obs_output_create": (P, NAME, NAME, P, P),
    "obs_output_set_media": (None, P, P, P),
    "obs_output_start": (BOOL, P),
    "obs_output_force_stop": (None, P),
    "obs_output_active": (BOOL, P),
    "obs_output_release": (None, P),
    "obs_output_can_begin_data_capture": (BOOL, P, U32),
    "obs_output_begin_data_capture": (BOOL, P, U32),
    "obs_output_end_data_capture": (None, P),
    "obs_output_set_video_conversion": (None, P, c.POINTER(ScaleInfo)),
    "obs_scene_create_private": (P, NAME),
    "obs_scene_release": (None, P),
    "obs_scene_get_source": (P, P),
    "obs_scene_from_source": (P, P),
    "obs_group_from_source": (P, P),
    "obs_scene_add": (P, P, P),
    "obs_scene_find_source_recursive": (P, P, NAME),
    "obs_scene_find_sceneitem_by_id": (P, P, c.c_int64),
    "obs_sceneitem_get_scene": (P, P),
    "obs_sceneitem_get_source": (P, P),
    "obs_sceneitem_get_id": (c.c_int64, P),
    "obs_sceneitem_remove": (None, P),
    "obs_sceneitem_visible": (BOOL, P),
    "obs_sceneitem_set_visible": (BOOL, P, BOOL),
    "obs_sceneitem_get_pos": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_set_pos": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_get_rot": (FLOAT, P),
    "obs_sceneitem_set_rot": (None, P, FLOAT),
    "obs_sceneitem_get_scale": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_set_scale": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_get_alignment": (U32, P),
    "obs_sceneitem_set_alignment": (None, P, U32),
    "obs_sceneitem_get_bounds_type": (INT, P),
    "obs_sceneitem_set_bounds_type": (None, P, INT),
    "obs_sceneitem_get_bounds_alignment": (U32, P),
    "obs_sceneitem_set_bounds_alignment": (None, P, U32),
    "obs_sceneitem_get_bounds": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_set_bounds": (None, P, c.POINTER(Vec2)),
    "obs_sceneitem_get_crop": (None, P, c.POINTER(Crop)),
    "obs_sceneitem_set_crop": (None, P, c.POINTER(Crop)),
    "obs_sceneitem_get_scale_filter": (INT, P),
    "obs_sceneitem_set_scale_filter": (None, P, INT),
    "obs_sceneitem_get_blending_mode": (INT, P),
    "obs_sceneitem_set_blending_mode": (None, P, INT),
    "obs_sceneitem_get_order_position": (INT, P),
    "obs_sceneitem_set_order_position": (None, P, INT),
    "obs_sceneitem_set_locked": (BOOL, P, BOOL),
    "obs_sceneitem_locked": (BOOL, P),
}


_OPTIONAL: dict[str, tuple[Any, ...]] = {
    "obs_view_add2": (P, P, c.POINTER(VideoInfo)),  # from OBS 29 on
}


class ObsUnknown(Exception):
    """One sentence: this OBS is none that the script understands."""


class Libobs:
    """Its functions as attributes, each typed and without Python's lock."""

    def __init__(self, library: Any) -> None:
        """Raises ObsUnknown."""
        library.obs_get_version.restype = U32
        version = library.obs_get_version()
        self.version = version >> 24, version >> 16 & 255, version & 0xFFFF
        if self.version[0] not in KNOWN_MAJORS:
            known = f"{KNOWN_MAJORS[0]} to {KNOWN_MAJORS[-1]}"
            raise ObsUnknown(f"OBS {self.text}: this version of Brushcast knows OBS {known}")
        missing = [name for name in _WANTED if not hasattr(library, name)]
        if missing:
            raise ObsUnknown(f"OBS {self.text} lacks {', '.join(missing)}: Brushcast needs it")
        there = {name: types for name, types in _OPTIONAL.items() if hasattr(library, name)}
        self.views_have_sizes = "obs_view_add2" in there
        for name, (result, *arguments) in {**_WANTED, **there}.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.address_of_bfree = c.cast(library.bfree, P).value  # a `destroy` without Python

    def __getattr__(self, name: str) -> Any:  # for those who read types: set above
        raise AttributeError(f"{name} is not declared in libobs.py")

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))


KEPT: dict[str, Any] = {}


def load() -> Libobs:
    """The library that this process has loaded. Raises ObsUnknown."""
    if "libobs" not in KEPT:
        try:
            library = c.CDLL(_path("libobs", "obs.dll", "libobs.framework/Versions/A/libobs"))
        except OSError as error:
            raise ObsUnknown(f"this is no OBS: {error}") from None
        KEPT["libobs"] = Libobs(library)
    found: Libobs = KEPT["libobs"]
    return found


def current_scene() -> int | None:
    """The source of the scene that is edited or shown, with a reference; on OBS's UI thread."""
    if "frontend" not in KEPT:
        name = "libobs-frontend-api"
        mac = "obs-frontend-api.dylib"
        library = c.CDLL(_path(name, "obs-frontend-api.dll", mac))
        library.obs_frontend_get_current_scene.restype = P
        library.obs_frontend_get_current_scene.argtypes = []
        KEPT["frontend"] = library
    scene: int | None = KEPT["frontend"].obs_frontend_get_current_scene()
    return scene


def _path(linux: str, windows: str, mac: str) -> str:
    if sys.platform == "win32":
        return windows
    if sys.platform == "darwin":
        return mac
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        lines = []
    mapped = [line.split(maxsplit=5)[-1] for line in lines]
    for path in mapped:  # the very copy that OBS has loaded
        if Path(path).name.startswith(f"{linux}.so"):
            return path
    raise ObsUnknown(f"this process has loaded no {linux}: it is no OBS")
