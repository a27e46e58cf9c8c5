"""Where the OBS script finds a run, and what the run leaves there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from brushcast.errors import ConfigError
from brushcast.meeting import Meeting
from brushcast.run_file import RunFile, read_run_file, write_run_file

PANEL = "http://127.0.0.1:5555/?token=secret"
LATER = RunFile(pid=1, url="http://127.0.0.1:1", token="t", source="obs", version="1")


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder, empty."""
    monkeypatch.setenv("BRUSHCAST_RUNTIME_DIR", str(tmp_path / "meeting"))
    return tmp_path / "meeting"


def announced(*, with_obs: bool = False) -> Meeting:
    meeting = Meeting("auto", "secret", with_obs=with_obs)
    meeting.prepare()
    meeting.announce(PANEL)
    return meeting


def test_it_says_where_the_panel_is_without_its_token_in_the_address(meeting: Path) -> None:
    announced()
    found = read_run_file(meeting)
    assert found is not None
    assert (found.url, found.token) == ("http://127.0.0.1:5555", "secret")
    assert (found.pid, found.source) == (os.getpid(), "auto")


@pytest.mark.parametrize("with_obs", [False, True])
def test_the_end_takes_what_is_of_this_run(meeting: Path, with_obs: bool) -> None:
    ours = announced(with_obs=with_obs)
    (meeting / "obs-in").touch()
    ours.end()
    assert [path.name for path in meeting.iterdir()] == ([] if with_obs else ["obs-in"])


def test_the_end_leaves_a_later_runs_file(meeting: Path) -> None:
    ours = announced()
    write_run_file(LATER, meeting)
    ours.end()
    assert read_run_file(meeting) == LATER


def test_a_run_is_found_again_when_a_later_one_has_ended(meeting: Path) -> None:
    ours = announced()
    write_run_file(LATER, meeting)
    ours.stay_known()
    assert read_run_file(meeting) == LATER
    (meeting / "run.json").unlink()
    ours.stay_known()
    found = read_run_file(meeting)
    assert found is not None
    assert found.pid == os.getpid()


def test_without_a_folder_nothing_is_said_and_only_a_run_with_obs_is_stopped(meeting: Path) -> None:
    meeting.write_text("in the way")
    announced().end()
    with pytest.raises(ConfigError, match="runtime folder .*meeting"):
        announced(with_obs=True)
