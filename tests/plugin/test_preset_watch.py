"""Presets of the user's folder come and go while the product runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from brushcast import preset_watch as module
from brushcast.preset_watch import EVERY_NS, PresetWatch
from brushcast.presets import load_presets, read_preset

GOOD = 'title = "Mine"\nprompt = "soft chalk"\n'


class Folder:
    """The user's folder, and looks at it that are always due."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.watch = PresetWatch(path)
        self._now_ns = 0
        self.watch.changed(0)

    def write(self, name: str, text: str) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / name).write_text(text)

    def look(self) -> list[str] | None:
        """The names beside the built-in ones; None when nothing has changed."""
        self._now_ns += EVERY_NS
        found = self.watch.changed(self._now_ns)
        return None if found is None else [name for name in found if name not in load_presets()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "presets")


def test_a_preset_appears_changes_and_goes(folder: Folder) -> None:
    assert folder.look() is None, "a folder that is missing is empty"
    folder.write("mine.toml", GOOD)
    assert folder.look() == ["mine"]
    assert folder.look() is None
    folder.write("mine.toml", GOOD.replace("soft chalk", "hard chalk"))
    assert folder.look() == ["mine"]
    assert folder.watch.presets["mine"].prompt == "hard chalk"
    (folder.path / "mine.toml").unlink()
    assert folder.look() == []


def test_one_that_replaces_a_built_in_one_gives_it_back(folder: Folder) -> None:
    built_in = folder.watch.presets["ink"]
    folder.write("ink.toml", GOOD)
    folder.look()
    assert folder.watch.presets["ink"].prompt == "soft chalk"
    assert list(folder.watch.presets) == list(load_presets()), "in its old place"
    (folder.path / "ink.toml").unlink()
    folder.look()
    assert folder.watch.presets["ink"] == built_in


def test_what_was_there_at_the_start_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    watch = PresetWatch(tmp_path)
    assert watch.presets["mine"].title == "Mine"
    assert watch.changed(0) is None
    assert watch.changed(EVERY_NS) is None
    assert PresetWatch(None).presets == load_presets()


@pytest.mark.parametrize("bad", ["title =", "x = 1", "[" * 50_000, "\0"], ids=lambda t: t[:9])
def test_a_bad_file_is_one_line_and_hurts_no_other(
    folder: Folder, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write("bad.toml", bad)
    folder.write("mine.toml", GOOD)
    with caplog.at_level(logging.WARNING):
        assert folder.look() == ["mine"]
        assert folder.look() is None
        folder.write("other.toml", GOOD)
        assert folder.look() == ["mine", "other"]
    assert len(caplog.messages) == 1
    assert "preset bad" in caplog.text
    folder.write("bad.toml", GOOD + "seed = 3\n")
    assert folder.look() == ["bad", "mine", "other"], "mended"


def test_one_that_was_good_and_is_bad_now_is_left_out(folder: Folder) -> None:
    folder.write("mine.toml", GOOD)
    folder.look()
    folder.write("mine.toml", "title =")
    assert folder.look() == []


@pytest.mark.skipif(os.name != "posix", reason="pipes and links are POSIX's")
def test_a_pipe_and_a_dead_link_stop_nothing(folder: Folder) -> None:
    folder.write("mine.toml", GOOD)
    os.mkfifo(folder.path / "a.toml")
    (folder.path / "b.toml").symlink_to(folder.path / "nowhere")
    (folder.path / "c.toml").mkdir()
    assert folder.look() == ["mine"]


def test_it_looks_once_a_second_and_reads_only_what_changed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("mine.toml", GOOD)
    folder.write("other.toml", GOOD)
    folder.look()
    reads: list[str] = []
    real = read_preset
    monkeypatch.setattr(
        module, "read_preset", lambda path: (reads.append(path.name), real(path))[1]
    )
    folder.write("third.toml", GOOD)
    now_ns = folder._now_ns
    assert folder.watch.changed(now_ns + EVERY_NS - 1) is None
    assert folder.watch.changed(now_ns + EVERY_NS) is not None
    assert reads == ["third.toml"]
