"""The run file: how the OBS script finds a running product."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ConfigError
from brushcast.run_file import RunFile, read_run_file, remove_run_file, write_run_file

RUN = RunFile(
    pid=123, url="http://127.0.0.1:8787", token="a" * 43, source="obs", version="0.1.0"
)  # fmt: skip


def test_what_is_written_is_what_the_script_expects(tmp_path: Path) -> None:
    write_run_file(RUN, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "format": 1, "pid": 123, "url": "http://127.0.0.1:8787", "token": "a" * 43,
        "source": "obs", "version": "0.1.0",
    }  # fmt: skip
    assert read_run_file(tmp_path) == RUN
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_token_is_for_the_user_alone(tmp_path: Path) -> None:
    write_run_file(RUN, tmp_path)
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600


def test_a_later_run_replaces_it_and_the_earlier_one_leaves_it(tmp_path: Path) -> None:
    later = RunFile(pid=456, url=RUN.url, token=RUN.token, source="auto", version="0.1.0")
    write_run_file(RUN, tmp_path)
    write_run_file(later, tmp_path)
    remove_run_file(tmp_path, RUN.pid)
    assert read_run_file(tmp_path) == later
    remove_run_file(tmp_path, later.pid)
    assert read_run_file(tmp_path) is None
    remove_run_file(tmp_path, later.pid)


GOOD: dict[str, Any] = {
    "format": 1, "pid": 123, "url": "http://127.0.0.1:1", "token": "t", "source": "s",
    "version": "v",
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "[" * 5000, json.dumps({}), json.dumps({**GOOD, "format": 2}),
        json.dumps({**GOOD, "pid": "123"}), json.dumps({**GOOD, "pid": True}),
        json.dumps({**GOOD, "pid": -1}), json.dumps({**GOOD, "url": 5}),
        json.dumps({**GOOD, "url": "http://evil.example:80"}),
        json.dumps({**GOOD, "url": "http://127.0.0.1:1@evil.example"}),
        json.dumps({key: GOOD[key] for key in GOOD if key != "token"}),
        json.dumps({**GOOD, "token": "x" * 20_000}), "\udcff",
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_what_is_no_run_file_is_one_sentence_and_is_left_alone(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="run file .*run.json: ") as caught:
        read_run_file(tmp_path)
    assert "\n" not in str(caught.value)
    remove_run_file(tmp_path, 123)
    assert path.exists()


def test_unknown_keys_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**GOOD, "colour": "red"}))
    assert read_run_file(tmp_path) is not None


def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        write_run_file(RUN, tmp_path / "none")
