"""`brushcast bench`: asks the worker package to measure itself in a process of its own, and prints
what it says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brushcast.config import check_model_size
from brushcast.errors import ChildError, ConfigError, InputError
from brushcast.frame import Size

PROGRESS = "... "  # how the worker's lines begin that tell how far it is


def run_bench(
    *, engine: str, size: Size | None, steps: int, device: str, seconds: float
) -> dict[str, Any]:
    """The worker's figures: fps end to end and per stage, first-frame ms, peak memory, versions.

    Raises InputError for what cannot be measured, ChildError when the measurement died.
    """
    _check_worker()
    arguments = ["bench", "--json", "--engine", engine, "--device", device]
    arguments += ["--seconds", str(seconds)]
    if size is not None:
        check_model_size(size)
        arguments += ["--size", str(size)]
    if steps:
        arguments += ["--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, "-m", "brushcast_worker", *arguments], capture_output=True, text=True
    )
    return _answer(done.returncode, done.stdout, done.stderr.splitlines())


def run_quality(
    *, engine: str, device: str, size: Size | None, clips: Sequence[Path], styles: Sequence[str],
    pictures: int, drift_seconds: float, ablations: bool, out: Path, tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """The figures of the worker's pictures; `tell` is told how far it is.

    Raises InputError for what cannot be measured, ChildError when the measurement died.
    """
    _check_worker()
    if size is not None:
        check_model_size(size)
    arguments = ["quality", "--json", "--engine", engine, "--device", device, "--out", str(out)]
    arguments += ["--pictures", str(pictures), "--drift-seconds", str(drift_seconds)]
    arguments += ["--size", str(size)] if size is not None else []
    for clip in clips:
        arguments += ["--clips", str(clip)]
    for style in styles:
        arguments += ["--styles", style]
    arguments += ["--ablations"] if ablations else []
    command = [sys.executable, "-m", "brushcast_worker", *arguments]
    words: list[str] = []
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
        subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True) as worker,
    ):
        assert worker.stderr is not None
        for line in worker.stderr:
            if line.startswith(PROGRESS):
                tell(line.removeprefix(PROGRESS).strip())
            else:
                words.append(line)
        code = worker.wait()
        answer.seek(0)
        return _answer(code, answer.read(), words)


def _check_worker() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("bench needs the worker: install brushcast[worker] (torch is missing)")


def _answer(code: int, out: str, words: Sequence[str]) -> dict[str, Any]:
    said = [line.strip() for line in words if line.strip()]
    last_words = said[-1] if said else f"exit code {code}"
    if code == 2:
        raise InputError(last_words.removeprefix("brushcast-worker: "))
    if code:
        raise ChildError(f"the measurement died: {last_words}")
    result: dict[str, Any] = json.loads(out)
    return result


def print_bench(result: Mapping[str, Any]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"brushcast bench: {result.get('engine')} on {result.get('device')}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, value in result.items():
        if isinstance(value, Mapping):
            for inner, figure in value.items():
                table.add_row(f"{key}.{inner}", _shown(figure))
        else:
            table.add_row(key, _shown(value))
    Console().print(table)


def print_quality(result: Mapping[str, Any]) -> None:
    """Tables for people: every bar and whether it is met, the looks, the ablations."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    clips = ", ".join(f"{c['name']} (trained on: {c['trained_on']})" for c in result["clips"])
    console.print(
        f"[bold]brushcast bench --quality[/]: {result['engine']} on {result['device']} "
        f"({result['dtype']}), {result['size']}; {clips}"
    )
    table = Table("figure", "", "look", "bar", "", box=SIMPLE_HEAD)
    for bar in result["bars"]:
        met = {True: "[green]met[/]", False: "[red]missed[/]", None: "not known"}[bar["met"]]
        table.add_row(bar["figure"], _brief(bar["value"]), bar["look"], bar["bar"], met)
    console.print(table)
    looks = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 0), pad_edge=False)
    looks.add_column("look", no_wrap=True, min_width=max(map(len, result["styles"]), default=0))
    for _, _, heading in COLUMNS:
        looks.add_column(heading, justify="right")
    for style, figures in {**result["styles"], "mean": result["mean"]}.items():
        looks.add_row(style, *(_brief(figures[group][name]) for group, name, _ in COLUMNS))
    console.print(looks)
    console.print(f"[dim]{LEGEND}[/]\n")
    if result["ablations"]:
        of = ", ".join(result["ablations_of"])
        title = f"Switched off one by one, {result['long_size']}, 108 latent frames: {of}"
        names = list(next(iter(result["ablations"].values())))
        table = Table("", *names, title=title, title_justify="left", box=SIMPLE_HEAD)
        for variant, figures in result["ablations"].items():
            shown = (figures[name] for name in names)
            table.add_row(variant, *("-" if x is None else f"{x:.3f}" for x in shown))
        console.print(table)
    console.print(f"{result['report']}\n" + "\n".join(result["sheets"]))


COLUMNS = (
    ("teacher", "gain_db", "dB"),
    ("latents", "margin_db", "own"),
    ("sharpness", "energy", "sharp"),
    ("warp", "relative", "warp"),
    ("warp", "to_alone_own_noise", "/one"),
    ("between", "mixed_relative", "mixed"),
    ("flicker", "noisy", "flick"),
    ("structure", "edge_ssim", "edges"),
    ("seeds", "difference", "seed"),
    ("landmarks", "p95_px", "px"),
    ("lettering", "recognised", "text"),
)
LEGEND = (
    "dB: to the teacher, beyond the source's own; own: its latents, beyond any other; sharp: "
    "gradient energy / the teacher's; warp: / the source's own; /one: / frame by frame; mixed: "
    "warp with pictures in between, at half the rate; flick: of a noisy still scene; edges: SSIM "
    "with the source's; seed: difference of two seeds; px: landmarks' p95; text: letters read"
)


def _brief(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
