"""`make faults`, or `python -m tests.faults`: every fault of docs/RELIABILITY.md, and its table.

    python -m tests.faults                          all of them, 12 minutes
    python -m tests.faults --short                  some of each kind, 4 minutes
    python -m tests.faults --only link,engine       some scenes; of the others what --json FILE has
    python -m tests.faults --soak 7200 --every 20   two hours of them

Exit code 1 when a bar was missed. --write puts the table into docs/RELIABILITY.md; --json FILE
holds every figure. Wants a quiet machine, and for some of the faults root (they say so where they
are left out).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.faults import link_faults, process_faults, system_faults, worker_faults
from tests.faults.rows import FULL, SHORT, Row, Scale, Scene, holds, row_from_json
from tests.faults.soak import soak
from tests.faults.table import DOCUMENT, faults_table, overall, soak_table, written_into

SCENES: tuple[Scene, ...] = (
    worker_faults.SHOTS_SCENE,
    worker_faults.ENGINE_SCENE,
    process_faults.SCENE,
    link_faults.SCENE,
    system_faults.SCENE,
)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.soak:
        return _soak(asked)
    scale = SHORT if asked.short else FULL
    chosen = [scene for scene in SCENES if not asked.only or scene.name in asked.only.split(",")]
    begun_s = time.monotonic()
    by_scene = _known(asked.json) if asked.only and asked.json else {}
    by_scene |= {scene.name: play(scene, scale) for scene in chosen}
    rows = [row for scene in SCENES for row in by_scene.get(scene.name, [])]
    rows.append(overall(rows))
    _say(f"{time.monotonic() - begun_s:.0f} s; {_sum_up(rows)}")
    return _finish(asked, rows, faults_table(rows), "faults", by_scene)


def _known(file: str) -> dict[str, list[Row]]:
    """Of an earlier run, by scene; nothing where there was none."""
    path = Path(file)
    if not path.exists():
        return {}
    scenes = json.loads(path.read_text(encoding="utf-8"))["scenes"]
    return {name: [row_from_json(row) for row in rows] for name, rows in scenes.items()}


def play(scene: Scene, scale: Scale) -> list[Row]:
    """All of a scene's faults. One that cannot be made to its end is a row that missed, and so are
    those that were not reached for what broke the scene."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="brushcast-faults-") as folder:
        try:
            for fault, make in scene.play(Path(folder), scale):
                rows.append(_made(fault, make))
                _say(_line(rows[-1]))
        except Exception as error:  # noqa: BLE001 - whatever broke the scene is a row of the table
            for fault in scene.faults:
                if not any(row.fault.startswith(fault) for row in rows):
                    rows.append(_broken(fault, error))
                    _say(_line(rows[-1]))
    return rows


def _made(fault: str, make: Callable[[], Row]) -> Row:
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - the next one may still work
        return _broken(fault, error)


def _broken(fault: str, error: Exception) -> Row:
    why = f"{type(error).__name__}: {error}"[:300]
    return Row(fault=fault, promise="", checks=(holds("was made to its end", False),), note=why)


def _line(row: Row) -> str:
    word = "met" if row.met else "skipped" if row.skipped else "MISSED"
    values = "; ".join(check.measured() for check in row.checks)
    why = row.skipped or ("" if row.met else f" ({row.note})" if row.note else "")
    return f"{word:8}{row.fault}: {values}{why}"


def _soak(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="brushcast-soak-") as folder:
        row = soak(
            Path(folder), seconds=asked.soak, every_s=asked.every, seed=asked.seed, tell=_say
        )
    _say("; ".join(check.measured() for check in row.checks))
    return _finish(asked, [row], soak_table(row), "soak", {"soak": [row]})


def _finish(
    asked: argparse.Namespace,
    rows: list[Row],
    table: str,
    part: str,
    by_scene: Mapping[str, Sequence[Row]],
) -> int:
    if asked.json:
        found = {
            "machine": platform.platform(), "cores": os.cpu_count(), "python": sys.version,
            "scenes": {name: [row.as_json() for row in made] for name, made in by_scene.items()},
            "together": rows[-1].as_json(),
        }  # fmt: skip
        Path(asked.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if asked.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(written_into(text, part, table), encoding="utf-8")
    else:
        _say(table)
    return 0 if all(row.met or row.skipped for row in rows) else 1


def _sum_up(rows: list[Row]) -> str:
    missed = [row.fault for row in rows if not row.met and not row.skipped]
    skipped = sum(bool(row.skipped) for row in rows)
    return (
        f"{len(rows) - len(missed) - skipped} met, {len(missed)} missed, {skipped} left out"
        + "".join(f"\n  missed: {fault}" for fault in missed)
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = ",".join(scene.name for scene in SCENES)
    parser.add_argument("--short", action="store_true", help="fewer, shorter")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"of {names}")
    parser.add_argument("--soak", type=float, default=0, metavar="SECONDS", help="instead")
    parser.add_argument("--every", type=float, default=20, metavar="SECONDS", help="of --soak")
    parser.add_argument("--seed", type=int, default=0, help="of --soak")
    parser.add_argument("--json", default="", metavar="FILE", help="every figure, by scene")
    parser.add_argument("--write", action="store_true", help="the table into docs/RELIABILITY.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
