"""The command line of the installer: reads arguments, prints sentences, hands over to Brushcast."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from installer import (
    checks,
    desktop,
    doctor,
    install_record,
    line,
    obs,
    places,
    prepare,
    system_packages,
    torch_build,
    uninstall,
)
from installer.errors import SetupError, from_os_error
from installer.prepare import Wanted
from installer.progress import Progress
from installer.question import NeedsAnswer
from installer.venv import Venv

ROOT = Path(__file__).resolve().parent.parent
_INTERRUPTED = 130

_USAGE = """\
usage: python3 -m installer COMMAND ...

  run [BRUSHCAST ARGUMENTS]   set up what is missing, then start Brushcast; without arguments: live
                              (run -- restyle IN OUT --preset watercolour; run -- --help)
  test [PYTEST ARGUMENTS]     style, types and tests; with arguments: only those tests
  setup [--torch BUILD] [--dev] [--fresh] [--system-packages]
                              set up, check and repair without starting anything
  obs [--collection NAME] [--config FOLDER] [--yes] [--remove | --status]
                              put the script into OBS's scene collection (Tools > Scripts)
  desktop [--autostart] [--remove]
                              an entry in the menu of programs, and at log-in on request
  uninstall [--yes] [--keep-models]
                              take away everything that was set up
  doctor                      what this machine has and lacks
  style | types | tests       one part of test
"""


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns the exit code: 0, the started program's own, 1 for a set-up
    that cannot go on, 2 for a command that there is not or a question that nobody can answer.
    Prints one sentence and no traceback."""
    command, *rest = arguments or ["--help"]
    progress = Progress(sys.stderr)
    try:
        match command:
            case "run":
                return _run(rest, progress)
            case "test":
                return _test(rest, progress)
            case "setup":
                return _setup(rest, progress)
            case "obs":
                return obs.run(rest, ROOT, obs.here())
            case "desktop":
                return desktop.run(rest, ROOT, places.find(), sys.stdout)
            case "uninstall":
                return uninstall.run(rest, ROOT, obs.here())
            case "doctor":
                found = list(doctor.examine(ROOT))
                sys.stdout.write(line.render(found) + "\n")
                return int(any(row.verdict == "BAD" for row in found))
            case "style" | "types" | "tests":
                ready = prepare.ensure(ROOT, Wanted(kind="dev"), progress)
                return checks.run(command, ready.venv, ROOT, rest)
            case "-h" | "--help" | "help":
                sys.stdout.write(_USAGE)
                return 0
            case _:
                raise _UnknownCommand(command)
    except _UnknownCommand as error:
        sys.stderr.write(
            f"There is no command {error.args[0]!r}: run, test, setup, obs, desktop, "
            "uninstall or doctor.\n"
        )
        return 2
    except NeedsAnswer as error:
        return _fail(progress, str(error), 2)
    except SetupError as error:
        return _fail(progress, str(error), 1)
    except OSError as error:
        return _fail(progress, str(from_os_error(error, f"running '{command}'")), 1)
    except KeyboardInterrupt:
        return _fail(progress, "Stopped; the same command goes on from here.", _INTERRUPTED)


class _UnknownCommand(Exception):
    pass


def brushcast_arguments(arguments: Sequence[str]) -> list[str]:
    """What Brushcast is started with: `--` in front is dropped, and options alone mean the live
    product."""
    rest = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    asks_for_help = rest[:1] in (["--help"], ["--version"])
    return rest if rest and (asks_for_help or not rest[0].startswith("-")) else ["run", *rest]


def _run(arguments: Sequence[str], progress: Progress) -> int:
    ready = prepare.ensure(ROOT, Wanted(kind="run"), progress)
    progress.say(ready.device)
    _record(ready.venv, progress)
    command = [str(ready.venv.python), "-m", "brushcast", *brushcast_arguments(arguments)]
    if sys.platform == "win32":
        # There, exec would give the terminal back to the shell at once.
        return _wait_for(command)
    sys.stdout.flush()
    os.execv(command[0], command)


def _wait_for(command: list[str]) -> int:
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the program got it too and ends by itself


def _test(arguments: Sequence[str], progress: Progress) -> int:
    ready = prepare.ensure(ROOT, Wanted(kind="dev"), progress)
    if arguments:
        return checks.run("tests", ready.venv, ROOT, _without_separator(arguments))
    system_packages.install_missing(progress, ROOT / ".venv-setup.log")
    codes = checks.run_all(ready.venv, ROOT)
    failed = [check for check, code in codes.items() if code != 0]
    if failed:
        progress.say(f"Not clean: {', '.join(failed)}.")
    return next((code for code in codes.values() if code != 0), 0)


def _without_separator(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[1:] if arguments[:1] == ["--"] else arguments


def _setup(arguments: Sequence[str], progress: Progress) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m installer setup")
    parser.add_argument(
        "--torch",
        choices=torch_build.ASKED,
        help="which build of PyTorch (default: by the hardware; none: the worker is elsewhere)",
    )
    parser.add_argument("--dev", action="store_true", help="the test tools as well")
    parser.add_argument("--fresh", action="store_true", help="make the environment anew")
    parser.add_argument(
        "--system-packages", action="store_true", help="Debian packages that tests drive, as root"
    )
    options = parser.parse_args(list(arguments))
    wanted = Wanted(
        kind="dev" if options.dev else "run", asked=options.torch, check=True, fresh=options.fresh
    )
    ready = prepare.ensure(ROOT, wanted, progress)
    progress.say(ready.device)
    _record(ready.venv, progress)
    if options.system_packages and (
        left := system_packages.install_missing(progress, ROOT / ".venv-setup.log")
    ):
        raise SetupError(
            f"Missing still: {', '.join(left)}; installing them takes root and apt-get."
        )
    return 0


def _record(venv: Venv, progress: Progress) -> None:
    """Tells the OBS script how to start the product. Brushcast itself does without it."""
    try:
        install_record.write(ROOT, venv, places.find())
    except OSError as error:
        progress.say(f"OBS cannot start Brushcast: {from_os_error(error, 'writing install.json')}")


def _fail(progress: Progress, sentence: str, code: int) -> int:
    progress.abandon()
    sys.stderr.write(sentence + "\n")
    return code
