"""The binding: versions, missing functions, layouts."""

from __future__ import annotations

import ctypes as c
from typing import Any

import pytest

from brushcast_script import libobs
from brushcast_script.libobs import Libobs, ObsUnknown


class Function:
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def __call__(self, *_: Any) -> int:
        return self.value


def library(major: int, lacks: str = "") -> Any:
    """A library with everything that is wanted, but one."""
    names = [name for name in libobs._WANTED if name != lacks]
    made = type("Library", (), {name: Function() for name in names})()
    made.bfree = c.CFUNCTYPE(None)(lambda: None)
    made.obs_get_version = Function(major << 24 | 2 << 16 | 3)
    return made


@pytest.mark.parametrize("major", [28, 29, 30, 31, 32])
def test_known_versions(major: int) -> None:
    found = Libobs(library(major))
    assert found.version == (major, 2, 3)
    assert found.obs_view_create.restype is c.c_void_p  # a pointer would be cut to 32 bits


@pytest.mark.parametrize("major", [27, 33])
def test_unknown_versions_are_refused_politely(major: int) -> None:
    with pytest.raises(ObsUnknown, match=rf"OBS {major}\.2\.3.* knows OBS 28 to 32"):
        Libobs(library(major))


def test_a_missing_function_is_named() -> None:
    with pytest.raises(ObsUnknown, match="lacks obs_view_create"):
        Libobs(library(28, lacks="obs_view_create"))


def test_what_obs_28_lacks_is_noted() -> None:
    assert not Libobs(library(28)).views_have_sizes
    newer = library(29)
    newer.obs_view_add2 = Function()
    assert Libobs(newer).views_have_sizes


def test_no_obs_around() -> None:
    libobs.KEPT.pop("libobs", None)
    with pytest.raises(ObsUnknown):
        libobs.load()


def test_layouts_are_those_of_the_headers() -> None:
    """Offsets on 64 bits, from OBS's headers: obs-source.h, obs-output.h, video-io.h, obs.h."""
    assert libobs.SourceInfo.get_name.offset == 16
    assert libobs.SOURCE_INFO_BYTES == 16 + 14 * 8
    assert libobs.OUTPUT_INFO_BYTES == 16 + 8 * 8
    assert libobs.SourceFrame.timestamp.offset == 104
    assert libobs.SourceFrame.color_matrix.offset == 120
    assert libobs.SourceFrame.flip.offset == 120 + 64 + 24
    assert libobs.VideoInfo.output_format.offset == 32
    assert libobs.VideoInfo.colorspace.offset == 44
    assert libobs.VideoData.timestamp.offset == 96
