"""`brushcast-worker`: the command line. The only place of the worker that reads flags.

Exit codes: 0 success, 1 something failed, 2 the input cannot work (one line on standard error says
why), 130 Ctrl-C. torch is imported only once it is clear that the flags are right: a mistake is
answered at once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from brushcast.child import read_messages, say
from brushcast.errors import BrushcastError, InputError
from brushcast.folders import keys_folder
from brushcast.frame import Size
from brushcast.process import keep_freed_memory
from brushcast.wire.curve import BRIDGES
from brushcast.wire.endpoint import parse_endpoint
from brushcast_worker.config import (
    DRIFT_S,
    BenchConfig,
    PrecisionConfig,
    QualityConfig,
    ServeConfig,
    parse_listen,
    read_token,
)
from brushcast_worker.pair import pair, worker_keys
from brushcast_worker.quirks import parse_quirks
from brushcast_worker.sd_notify import asked_by_systemd

APP = "brushcast-worker"
QUIRKS = click.option(
    "--quirks",
    default="",
    envvar="BRUSHCAST_QUIRKS",
    show_envvar=True,
    help="NAME=VALUE,...: rope=slot|frame, normalise_encoded=on|off, sinks=COSINE|off, "
    "recache=on|off, noise=pixel|latent, noise_window=CHUNKS.",
)
DECODER = click.option(
    "--decoder",
    default="torch",
    show_default=True,
    type=click.Choice(["torch", "tensorrt"]),
    help="What compiles a Wan model's decoder; tensorrt wants brushcast[tensorrt].",
)
PATH = click.Path(path_type=Path)
PROGRESS = "... "  # how a line that tells how far it is begins


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process."""
    # OpenMP's threads spin while they wait for each other. On cores that OBS and the bridge use
    # too that made a chunk 2 to 10 times slower (measured, two cores, load 8). Read at its import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()  # activations of some MB each: fresh pages cost a chunk 8 % of its time
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Errors become one line on standard error."""
    try:
        code = cli.main(list(arguments), prog_name=APP, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except InputError as error:
        return _complain(str(error), 2)
    except BrushcastError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        # the reader of our events is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(message: str, code: int) -> int:
    click.echo(f"{APP}: {' '.join(message.split())}", err=True)
    return code


LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "ERROR": logging.ERROR}


def _level() -> int:
    """As BRUSHCAST_LOG says, which a supervisor hands on; warnings where it says nothing."""
    return LEVELS.get(os.environ.get("BRUSHCAST_LOG", ""), logging.WARNING)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, not only warnings.")
def cli(verbose: bool) -> None:
    """Brushcast's worker: holds the model and restyles streams of pictures."""
    logging.basicConfig(
        level=logging.INFO if verbose else _level(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


@cli.command()
@click.option(
    "--bind",
    default="tcp://127.0.0.1:0",
    show_default=True,
    help="Where to listen; port 0: any free one.",
)
@click.option("--engine", default="pocket", show_default=True, help="The model.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option("--threads", default=0, show_default=True, help="Of a CPU; 0: one per physical core.")
@QUIRKS
@DECODER
@click.option(
    "--standby",
    is_flag=True,
    help="Load and warm up, but listen only once told so on standard input.",
)
@click.option(
    "--supervised",
    is_flag=True,
    help="End with standard input; leave Ctrl-C to the parent. Implies --json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
@click.option("--metrics", default="", help="ADDRESS:PORT for Prometheus and health; default: off.")
@click.option(
    "--metrics-token", type=PATH, help="A file whose first line /metrics asks for (Bearer)."
)
def serve(
    bind: str,
    engine: str,
    device: str,
    threads: int,
    decoder: str,
    quirks: str,
    standby: bool,
    supervised: bool,
    as_json: bool,
    metrics: str,
    metrics_token: Path | None,
) -> int:
    """Serve streams until stopped."""
    # From here on the worker ends with its parent, though torch has yet to be imported.
    messages = read_messages() if supervised else None
    tell = say if supervised or as_json else _tell_people
    notify, watchdog_s = asked_by_systemd(os.environ, os.getpid())
    try:
        endpoint = parse_endpoint(bind)
        config = ServeConfig(
            bind=endpoint,
            engine=engine,
            device=device,
            threads=threads,
            decoder=decoder,
            supervised=supervised,
            standby=standby,
            quirks=parse_quirks(quirks),
            keys=None if endpoint.loopback else worker_keys(),
            bridges=keys_folder() / BRIDGES,
            notify=notify,
            watchdog_s=watchdog_s,
            metrics=parse_listen(metrics) if metrics else None,
            metrics_token=read_token(metrics_token) if metrics_token else "",
        )
        from brushcast_worker.serve import run_worker

        return run_worker(config, tell, messages)
    except BrushcastError as error:
        if tell is say:
            say("error", message=" ".join(str(error).split()))
        raise


@cli.command()
@click.option("--engine", default="pocket", show_default=True, help="The model.")
@click.option(
    "--size", default="", help="WIDTHxHEIGHT in multiples of 16; default: the model's own."
)
@click.option("--steps", default=0, show_default=True, help="Denoising steps; 0: the model's own.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option("--seconds", default=8.0, show_default=True, help="How long to measure.")
@click.option("--threads", default=0, show_default=True, help="Of a CPU; 0: one per physical core.")
@DECODER
@QUIRKS
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def bench(
    engine: str,
    size: str,
    steps: int,
    device: str,
    seconds: float,
    threads: int,
    decoder: str,
    quirks: str,
    as_json: bool,
) -> None:
    """Measure this machine: pictures per second from host memory to host memory, and where the time
    goes."""
    config = BenchConfig(
        engine=engine,
        device=device,
        size=Size.parse(size) if size else None,
        steps=steps,
        seconds=seconds,
        threads=threads,
        decoder=decoder,
        quirks=parse_quirks(quirks),
    )
    from brushcast_worker.bench import measure

    result = measure(config)
    click.echo(json.dumps(result) if as_json else _as_table(result))


@cli.command()
@click.option("--engine", default="pocket", show_default=True, help="The model.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option("--size", default="", help="WIDTHxHEIGHT in multiples of 16; default: 512x288.")
@click.option(
    "--clips", multiple=True, type=PATH, help="Files or folders; default: the bundled clip."
)
@click.option("--styles", multiple=True, help="Looks: NAME or NAME,NAME; default: all.")
@click.option(
    "--pictures", default=0, help="Of each clip, in multiples of 8; 0: 16 on a CPU, else 48."
)
@click.option("--drift-seconds", default=DRIFT_S, show_default=True, help="0: not measured.")
@click.option("--ablations", is_flag=True, help="Switch the stream's parts off one by one.")
@click.option(
    "--out", default="brushcast-quality", show_default=True, type=PATH, help="The report's folder."
)
@click.option("--weights", type=PATH, help="A folder with other weights.")
@click.option("--threads", default=0, show_default=True, help="Of a CPU; 0: one per physical core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def quality(
    engine: str,
    device: str,
    size: str,
    clips: tuple[Path, ...],
    styles: tuple[str, ...],
    pictures: int,
    drift_seconds: float,
    ablations: bool,
    out: Path,
    weights: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Measure the pictures: calm, drift, sharpness, structure, and how near they are to the
    teachers. Says on standard error how far it is; writes the report and its contact sheets."""
    config = QualityConfig(
        out=out,
        engine=engine,
        device=device,
        size=Size.parse(size) if size else None,
        clips=clips,
        styles=styles,
        pictures=pictures,
        drift_seconds=drift_seconds,
        ablations=ablations,
        weights=weights,
        threads=threads,
    )
    from brushcast_worker.quality.report import measure_quality

    result = measure_quality(config, lambda line: click.echo(f"{PROGRESS}{line}", err=True))
    click.echo(json.dumps(result) if as_json else _as_table(_short(result)))


@cli.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--size", default="512x288", show_default=True, help="WIDTHxHEIGHT of the pictures.")
@click.option(
    "--clips", multiple=True, type=PATH, help="Files or folders; default: the bundled clip."
)
@click.option("--styles", multiple=True, help="Looks: NAME or NAME,NAME; default: all.")
@click.option("--pictures", default=16, show_default=True, help="Of each clip, multiples of 8.")
@click.option("--width", default=256, show_default=True, help="Of the random blocks; 14B: 5120.")
@click.option("--layers", default=8, show_default=True, help="How many of them; 14B: 40.")
@click.option("--side", default=8, show_default=True, help="Their tokens a side; 512x512: 32.")
@click.option("--threads", default=0, show_default=True, help="Of a CPU; 0: one per physical core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def precision(
    device: str,
    size: str,
    clips: tuple[Path, ...],
    styles: tuple[str, ...],
    pictures: int,
    width: int,
    layers: int,
    side: int,
    threads: int,
    as_json: bool,
) -> None:
    """Measure what fewer bits cost: pictures of the embedded model in bfloat16 and with 8-bit
    floats against float32, and random blocks of the 14B's shape one after the other."""
    config = PrecisionConfig(
        device=device,
        size=Size.parse(size),
        clips=clips,
        styles=styles,
        pictures=pictures,
        width=width,
        layers=layers,
        side=side,
        threads=threads,
    )
    from brushcast_worker.quality.precision import measure_precision

    result = measure_precision(config)
    click.echo(json.dumps(result) if as_json else _as_table(result))


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="What the networks compute with.",
)
@click.option("--device", default="cpu", show_default=True, help="As of serve.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def verify(file: Path, dtype: str, device: str, as_json: bool) -> int:
    """Hold the models against a file of reference vectors of the published causal Wan. Exit code 1
    where one of its sections is further off than it may be: 1e-4 in float32, in bfloat16 what a
    model of its rounding gives."""
    import torch

    from brushcast_worker.engines.devices import choose_device
    from brushcast_worker.vectors import read_vectors
    from brushcast_worker.verify import Numbers, tolerances, verify

    numbers = Numbers(dtype=getattr(torch, dtype), device=choose_device(device))
    vectors = read_vectors(file)
    errors, allowed = verify(vectors, numbers), tolerances(vectors, numbers.dtype)
    agrees = {name: error <= allowed[name] for name, error in errors.items()}
    if as_json:
        told = {name: error if math.isfinite(error) else None for name, error in errors.items()}
        all_agree = all(agrees.values())
        click.echo(json.dumps({"sections": told, "tolerances": allowed, "agrees": all_agree}))
    else:
        told_as = {
            name: f"{error:.1e} of {allowed[name]:.1e}  {'agrees' if agrees[name] else 'DIFFERS'}"
            for name, error in errors.items()
        }
        click.echo(_as_table(told_as))
    return 0 if all(agrees.values()) else 1


cli.add_command(pair)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """The bars, line by line, and where the rest is."""
    lines = {
        bar["figure"]: f"{bar['value']}  {bar['bar']}  {bar['look']}" for bar in result["bars"]
    }
    return {**lines, "report": result["report"]}


def _tell_people(event: str, **data: Any) -> None:
    """An event as one line."""
    words = ", ".join(f"{key} {value}" for key, value in data.items())
    click.echo(f"{event}: {words}" if words else event)


def _as_table(result: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _as_table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<20} {value}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
