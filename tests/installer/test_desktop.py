from __future__ import annotations

import configparser
import io
import os
import plistlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from installer import desktop, places
from installer.errors import SetupError
from tests.installer.obs_home import checkout, linux

ODD = 'a "b" $HOME `x` 100% \\ ü'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "brushcast")


def command_of(entry: bytes) -> list[str]:
    """What a desktop starts: the string's escapes undone, then Exec's own quoting, then %%."""
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(entry.decode())
    text = parser["Desktop Entry"]["Exec"].replace("\\\\", "\\")
    parts = re.findall(r'"((?:\\["`$\\]|[^"`$\\])*)"|(\S+)', text)
    unquoted = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in parts]
    return [part.replace("%%", "%") for part in unquoted]


def test_the_menu_entry_and_its_icon_are_written_and_removed(home: Path, root: Path) -> None:
    where, out = linux(home), io.StringIO()
    before = sorted(home.rglob("*"))
    assert desktop.run([], root, where, out) == 0
    share = home / ".local/share"
    entry = share / "applications/brushcast.desktop"
    icon = share / "icons/hicolor/scalable/apps/brushcast.svg"
    assert icon.read_text() == "<svg/>\n"
    assert str(root / ".venv/bin/python") in command_of(entry.read_bytes())
    assert b"Terminal=true" in entry.read_bytes()  # a camera that is on must be seen
    assert not (home / ".config/autostart").exists()
    assert desktop.run(["--remove"], root, where, out) == 0
    assert [path for path in home.rglob("*") if not path.is_dir()] == [
        path for path in before if not path.is_dir()
    ]


def test_autostart_is_on_request(home: Path, root: Path) -> None:
    desktop.run(["--autostart"], root, linux(home), io.StringIO())
    entry = home / ".config/autostart/brushcast.desktop"
    assert entry.is_file()
    desktop.run(["--remove"], root, linux(home), io.StringIO())
    assert not entry.exists()
    out = io.StringIO()
    desktop.run(["--remove"], root, linux(home), out)
    assert out.getvalue() == "There was nothing of ours.\n"


def test_what_the_entry_starts_gets_the_right_arguments(tmp_path: Path) -> None:
    python = tmp_path / ODD / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    command = command_of(desktop.desktop_entry(python))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["-m", "brushcast", "run"]


def test_a_failure_stays_on_the_screen_until_it_was_read(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no camera >&2\nexit 2\n")
    python.chmod(0o755)
    command = command_of(desktop.desktop_entry(python))
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=True)
    assert "Press Enter" in done.stdout


@pytest.mark.skipif(shutil.which("desktop-file-validate") is None, reason="not installed here")
def test_the_entry_is_what_freedesktop_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "brushcast.desktop"
    path.write_bytes(desktop.desktop_entry(Path(f"/opt/{ODD}/python")))
    done = subprocess.run(
        ["desktop-file-validate", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_without_an_environment_it_says_so(home: Path, root: Path) -> None:
    (root / ".venv/bin/python").unlink()
    with pytest.raises(SetupError, match="installer setup"):
        desktop.run([], root, linux(home), io.StringIO())
    assert not (home / ".local").exists()


def test_macos_gets_a_command_and_an_agent_that_opens_it(home: Path, root: Path) -> None:
    where = places.find("darwin", {"HOME": str(home)})
    out = io.StringIO()
    desktop.run(["--autostart"], root, where, out)
    command = home / "Applications/Brushcast.command"
    assert os.access(command, os.X_OK)
    assert shlex.split(command.read_text().splitlines()[1])[-1] == str(root / ".venv/bin/python")
    agent = plistlib.loads(
        (home / "Library/LaunchAgents/io.brushcast.autostart.plist").read_bytes()
    )
    assert agent["ProgramArguments"][-1] == str(command)
    assert agent["RunAtLoad"] is True
    assert "tried on Linux alone" in out.getvalue()
    desktop.run(["--remove"], root, where, out)
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_the_command_file_starts_the_product(tmp_path: Path) -> None:
    python = tmp_path / ODD / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    command = tmp_path / "Brushcast.command"
    command.write_bytes(desktop.command_file(python))
    done = subprocess.run(["/bin/sh", str(command)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["-m", "brushcast", "run"]


def test_windows_texts_name_the_python_and_quote_it() -> None:
    python = Path("C:/it's 100%/python.exe")
    startup = desktop.startup_file(python).decode()
    assert startup.splitlines()[-1] == (
        'start "Brushcast" "C:/it\'s 100%%/python.exe" -m brushcast run'
    )
    assert "\r\n" in startup
    script = desktop.shortcut_script(Path("C:/Menu/Brushcast.lnk"), python)
    assert "$link.TargetPath = 'C:/it''s 100%/python.exe'" in script
    assert "$link.Arguments = '-m brushcast run'" in script
    assert script.splitlines()[-1] == "$link.Save()"


def test_windows_files_are_where_windows_looks(home: Path, root: Path) -> None:
    where = places.find("win32", {"USERPROFILE": str(home)})
    menu = home / "AppData/Roaming/Microsoft/Windows/Start Menu/Programs"
    wanted = desktop.entries(root, Path("p.exe"), where, autostart=True)
    assert [entry.path for entry in wanted] == [menu / "Startup/Brushcast.cmd"]
    assert desktop.paths(where) == [menu / "Brushcast.lnk", menu / "Startup/Brushcast.cmd"]
