"""The two bootstrappers. The shell one is run for real, on a clone and on an archive, with the
set-up itself replaced; of the Windows one only what can be read is checked: it was never compiled
here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from installer import install_record

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = ROOT / "packaging" / "bootstrap.sh"
INNO = ROOT / "packaging" / "windows" / "brushcast.iss"

posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's script")
STAND_IN = """\
import os, pathlib, sys
with open(os.environ["SEEN"], "a") as seen:
    print(os.getcwd(), *sys.argv[1:], sep="|", file=seen)
sys.exit(3 if sys.argv[1] == os.environ.get("FAILS") else 0)
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A repository with an installer that only writes down how it was called."""
    folder = tmp_path / "release"
    (folder / "installer").mkdir(parents=True)
    (folder / "installer" / "__init__.py").write_text("")
    (folder / "installer" / "__main__.py").write_text(STAND_IN)
    (folder / ".gitignore").write_text("__pycache__/\n/.brushcast-bootstrap\n/.venv/\n")
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a")


def bootstrap(
    tmp_path: Path, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The script in an empty home without a terminal; what the installer was called with."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    seen = tmp_path / "seen"
    seen.write_text("")
    base = getattr(sys, "_base_executable", sys.executable)
    path = f"{Path(base).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", str(BOOTSTRAP), *arguments],
        env={"HOME": str(home), "PATH": path, "SEEN": str(seen), "LANG": "C.UTF-8", **environment},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, seen.read_text().splitlines()


def app(tmp_path: Path) -> Path:
    in_home = "brushcast-app" if sys.platform == "darwin" else ".local/share/brushcast-app"
    return tmp_path / "home" / in_home


@posix
def test_the_shell_reads_it() -> None:
    subprocess.run(["/bin/sh", "-n", str(BOOTSTRAP)], check=True)
    assert BOOTSTRAP.read_text().startswith("#!/bin/sh\n")
    assert os.access(BOOTSTRAP, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    command = ["shellcheck", "-s", "sh", str(BOOTSTRAP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@posix
def test_a_clone_is_set_up_and_brought_up_to_date(tmp_path: Path, release: Path) -> None:
    done, calls = bootstrap(tmp_path, "--from", str(release), "--torch", "cpu")
    assert done.returncode == 0, done.stderr
    assert calls == [f"{app(tmp_path)}|setup|--torch|cpu"]
    assert (app(tmp_path) / ".brushcast-bootstrap").exists()
    assert "-m installer obs" in done.stdout  # offered: nobody is there to be asked
    (release / "news").write_text("")
    commit(release)
    done, calls = bootstrap(tmp_path, "--from", str(release), "--obs", "--yes")
    assert done.returncode == 0, done.stderr
    assert (app(tmp_path) / "news").exists()
    assert calls == [f"{app(tmp_path)}|setup", f"{app(tmp_path)}|obs|--yes"]


@posix
def test_a_version_can_be_chosen(tmp_path: Path, release: Path) -> None:
    git(release, "tag", "v1")
    (release / "news").write_text("")
    commit(release)
    done, _ = bootstrap(tmp_path, "--from", str(release), "--version", "v1")
    assert done.returncode == 0, done.stderr
    assert not (app(tmp_path) / "news").exists()


@posix
def test_an_archive_is_unpacked_and_the_environment_survives(tmp_path: Path, release: Path) -> None:
    archive = tmp_path / "brushcast-1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(release / "installer", "brushcast-1/installer")
    for _ in range(2):
        done, calls = bootstrap(tmp_path, "--from", str(archive))
        assert done.returncode == 0, done.stderr
        assert calls == [f"{app(tmp_path)}|setup"]
        (app(tmp_path) / ".venv").mkdir(exist_ok=True)
        assert not app(tmp_path).with_name("brushcast-app.part").exists()
    assert (app(tmp_path) / ".venv").is_dir()


@posix
def test_an_archive_that_is_something_else_leaves_the_program_as_it_was(
    tmp_path: Path, release: Path
) -> None:
    bootstrap(tmp_path, "--from", str(release))
    before = sorted(app(tmp_path).rglob("*"))
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"no archive")
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz") as file:
        file.add(release / ".gitignore", "x/readme")
    for archive, sentence in ((bad, "cannot be unpacked"), (other, "no release of Brushcast")):
        done, calls = bootstrap(tmp_path, "--from", str(archive))
        assert (done.returncode, calls) == (1, [])
        assert sentence in done.stderr.splitlines()[-1]
    assert sorted(app(tmp_path).rglob("*")) == before
    assert not app(tmp_path).with_name("brushcast-app.part").exists()


@posix
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, release: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    done, calls = bootstrap(tmp_path, "--from", str(release), "--into", str(mine))
    assert (done.returncode, calls) == (1, [])
    assert "was not made by this script" in done.stderr
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


@posix
def test_a_set_up_that_fails_ends_it_and_obs_that_is_declined_does_not(
    tmp_path: Path, release: Path
) -> None:
    done, calls = bootstrap(tmp_path, "--from", str(release), "--obs", FAILS="setup")
    assert done.returncode == 3
    assert len(calls) == 1
    done, calls = bootstrap(tmp_path, "--from", str(release), "--obs", FAILS="obs")
    assert done.returncode == 0
    assert "OBS is as it was" in done.stdout


@posix
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give --from"),
        (["--from"], "--from wants a value"),
        (["--into", "x", "--fast"], "There is no option --fast"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done, _ = bootstrap(tmp_path, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@posix
def test_without_a_python_it_says_how_to_get_one(tmp_path: Path, release: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("uname", "mkdir", "git", "ls", "dirname"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")  # too old, or without venv
        (tools / name).chmod(0o755)
    done, calls = bootstrap(tmp_path, "--from", str(release), PATH=str(tools))
    if "Python: " in done.stdout:
        pytest.skip("a Python lies in one of the absolute places that the script knows")
    assert (done.returncode, calls) == (1, [])
    assert "needs Python 3.11 or newer" in done.stderr
    assert not app(tmp_path).exists()


# ------------------------------------------------------------------ Windows, as text


def sections() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in INNO.read_text(encoding="utf-8-sig").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            name = header[1]
            assert name not in found, f"two sections [{name}]"
            found[name] = []
        elif line.strip() and not line.startswith((";", "#")):
            assert name, line
            found[name].append(line)
    return found


def fields(line: str) -> dict[str, str]:
    """An entry's `Name: "value"; Name: value`, quotes undone."""
    pairs = re.findall(r'(\w+):\s*(?:"((?:[^"]|"")*)"|([^;]*))(?:;\s*|$)', line)
    return {name: quoted.replace('""', '"') or bare.strip() for name, quoted, bare in pairs}


def test_inno_sections_are_those_that_inno_knows() -> None:
    known = {"Setup", "Languages", "CustomMessages", "Tasks", "Files", "Run", "UninstallDelete"}
    assert set(sections()) == known | {"Code"}
    assert INNO.read_bytes().startswith(b"\xef\xbb\xbf")  # or umlauts go wrong
    required = {"AppId", "AppName", "AppVersion", "DefaultDirName"}
    assert required <= {line.partition("=")[0] for line in sections()["Setup"]}
    assert "PrivilegesRequired=lowest" in sections()["Setup"]


def test_inno_names_the_products_version() -> None:
    text = INNO.read_text(encoding="utf-8-sig")
    assert f'#define AppVersion "{install_record.version(ROOT)}"' in text


def test_every_file_that_inno_takes_is_there_and_all_that_set_up_reads_is_taken() -> None:
    taken = []
    for line in sections()["Files"]:
        source = fields(line)["Source"]
        assert source.startswith("{#Root}\\")
        path = source.removeprefix("{#Root}\\").replace("\\", "/")
        if path.startswith("obs_scripts/") and not (ROOT / "obs_scripts").exists():
            pytest.skip("obs_scripts is not in this tree yet")
        assert list(ROOT.glob(path)), path
        taken.append(path)
        if path.endswith("/*"):
            assert fields(line)["DestDir"] == "{app}\\" + path[:-2].replace("/", "\\")
    needed = ("pyproject.toml", "README.md", "LICENSE", "installer/*", "plugin/*", "requirements/*")
    assert set(needed) <= set(taken)
    assert "worker/brushcast_worker/*" in taken
    (licence,) = [line for line in sections()["Setup"] if line.startswith("LicenseFile=")]
    assert (ROOT / licence.partition("{#Root}\\")[2]).is_file()


def test_inno_says_everything_in_both_languages() -> None:
    keys: dict[str, set[str]] = {"en": set(), "de": set()}
    for line in sections()["CustomMessages"]:
        language, _, rest = line.partition(".")
        keys[language].add(rest.partition("=")[0])
    assert keys["en"] == keys["de"]
    text = INNO.read_text(encoding="utf-8-sig")
    used = set(re.findall(r"\{cm:(\w+)\}", text)) | set(
        re.findall(r"CustomMessage\('(\w+)'\)", text)
    )
    assert used == keys["en"]


def test_inno_calls_commands_that_the_installer_has() -> None:
    usage = (ROOT / "installer" / "commands.py").read_text(encoding="utf-8")
    text = INNO.read_text(encoding="utf-8-sig")
    called = re.findall(r"-m installer ([a-z]+)((?: --[a-z-]+)*)", text)
    assert {name for name, _ in called} == {"setup", "obs", "desktop", "uninstall"}
    for name, options in called:
        assert f'case "{name}"' in usage
        source = ROOT / "installer" / f"{'commands' if name == 'setup' else name}.py"
        for option in options.split():
            assert f'"{option}"' in source.read_text(encoding="utf-8")


def test_inno_code_is_closed_and_its_functions_are_there() -> None:
    code = re.sub(r"\{[^}]*\}|'(?:[^']|'')*'", " ", "\n".join(sections()["Code"]))
    assert len(re.findall(r"\bbegin\b", code)) == len(re.findall(r"\bend\b", code))
    assert code.count("(") == code.count(")")
    text = "\n".join(line for name in ("Run", "Files") for line in sections()[name])
    for name in set(re.findall(r"\{code:(\w+)", text)) | set(re.findall(r"Check: (\w+)", text)):
        assert f"function {name}" in code
    tasks = {fields(line)["Name"] for line in sections()["Tasks"]}
    for line in sections()["Run"]:
        words = set(re.findall(r"\w+", fields(line).get("Tasks", ""))) - {"and", "or", "not"}
        assert words <= tasks


UNIT = ROOT / "packaging" / "systemd" / "brushcast-worker.service"
INSTALLED = "/opt/brushcast/.venv/bin/brushcast-worker"


def directives(unit: str) -> dict[str, list[str]]:
    """Every setting's values, comments left out."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_service_is_confined_and_watched() -> None:
    set_ = directives(UNIT.read_text(encoding="utf-8"))
    wanted = {
        "Type": "notify", "NotifyAccess": "main", "Restart": "on-failure", "WatchdogSec": "30",
        "User": "brushcast", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
        "ProtectHome": "yes", "PrivateTmp": "yes", "CapabilityBoundingSet": "",
        "DevicePolicy": "closed", "UMask": "0077", "StateDirectoryMode": "0700",
    }  # fmt: skip
    assert {name: set_[name] for name in wanted} == {name: [v] for name, v in wanted.items()}
    assert not set(set_["DeviceAllow"]) & {"*", "char-* rw", "block-* rw"}
    (command,) = set_["ExecStart"]
    assert command.startswith(f"{INSTALLED} serve --bind ${{BRUSHCAST_BIND}}")
    assert "BRUSHCAST_BIND=tcp://127.0.0.1:7171" in set_["Environment"], "beyond is a choice"


def test_the_services_options_are_the_workers() -> None:
    (command,) = directives(UNIT.read_text(encoding="utf-8"))["ExecStart"]
    for placeholder, value in (
        ("${BRUSHCAST_BIND}", "tcp://127.0.0.1:0"),
        ("${BRUSHCAST_ENGINE}", "no-such-engine"),
        ("${BRUSHCAST_DEVICE}", "cpu"),
    ):
        command = command.replace(placeholder, value)
    arguments = command.removeprefix(INSTALLED).split()
    done = subprocess.run(
        [sys.executable, "-m", "brushcast_worker", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "no-such-engine" in done.stderr, "it got as far as the engine"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_service(tmp_path: Path) -> None:
    unit = UNIT.read_text(encoding="utf-8").replace(INSTALLED, sys.executable)
    path = tmp_path / UNIT.name
    path.write_text(unit, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not complaints
