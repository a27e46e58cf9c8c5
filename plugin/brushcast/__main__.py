"""The command line. It and `commands` are the only places that read flags, files of configuration
and the environment.

Exit codes: 0 success, 1 something failed, 2 the input cannot work (one line on standard error says
why), 130 Ctrl-C.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import brushcast
from brushcast.commands.models import models
from brushcast.commands.pair import pair
from brushcast.commands.presets import presets
from brushcast.errors import BrushcastError, ConfigError, InputError
from brushcast.folders import keys_folder, user_folder, user_presets_folder
from brushcast.frame import Size
from brushcast.options import FILE, SIZE, badge_options, json_option

APP = "brushcast"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Errors become one line on standard error."""
    try:
        code = cli.main(list(arguments), prog_name=APP, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except InputError as error:
        return _complain(str(error), 2)
    except BrushcastError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `brushcast ... | head`
        return 1


def _complain(message: str, code: int) -> int:
    click.echo(f"{APP}: {' '.join(message.split())}", err=True)
    return code


QUALITY_OPTIONS = ("clips", "styles", "pictures", "drift_seconds", "ablations", "out")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(brushcast.__version__, prog_name=APP)
def cli() -> None:
    """Live AI restyling of video: your camera becomes a painting, in any app."""
    level = os.environ.get("BRUSHCAST_LOG", "WARNING").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError(f"BRUSHCAST_LOG={level}: wanted DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)


@cli.command()
@click.option("--source", default="auto", help="auto, camera:N, file:PATH, obs or testcard.")
@click.option("--sink", "sinks", multiple=True, help="auto, camera[:DEVICE], obs, file:PATH, null.")
@click.option("--preset", default="watercolour", help="The look to start with.")
@click.option("--worker", default="local", help="local, or tcp://HOST:PORT of another machine.")
@click.option("--codec", default="auto", help="To a worker elsewhere: auto, jpeg or h264.")
@click.option("--panel", default="127.0.0.1:8787", help="HOST:PORT of the control page, or off.")
@click.option("--for", "seconds", type=float, help="Stop after so many seconds.")
@click.option("--report", type=FILE, help="Write the figures of the run as JSON.")
@click.option("--size", type=SIZE, help="The size that is painted, in multiples of 16.")
@click.option("--output-size", type=SIZE, default="1280x720", help="The size of the sinks.")
@click.option("--fps", type=int, default=30, help="The rate of the sinks.")
@click.option("--fit", type=click.Choice(["crop", "pad"]), default="crop", help="Other shapes.")
@click.option(
    "--steps", type=click.IntRange(0, 8), default=0, help="Denoising steps; 0: automatic."
)
@click.option("--mode", default="balanced", help="low-latency, balanced or quality.")
@click.option("--target-fps", type=int, default=0, help="Painted pictures a second; 0: all.")
@click.option("--engine", default="pocket", help="The model that a local worker loads.")
@click.option("--device", default="auto", help="Of a local worker: auto, cpu, cuda, mps.")
@click.option("--obs-audio", default="", help="An input in OBS: its sound waits for the picture.")
@click.option("--lifeline", is_flag=True, help="Stop when standard input ends.")
@badge_options
@json_option
def run(
    source: str, sinks: tuple[str, ...], preset: str, worker: str, codec: Any, panel: str,
    seconds: float | None, report: Path | None, size: Size | None, output_size: Size, fps: int,
    fit: Any, steps: int, engine: str, device: str, lifeline: bool, badge: str, badge_corner: Any,
    obs_audio: str, mode: str, target_fps: int, as_json: bool,
) -> None:  # fmt: skip
    """Restyle live: a camera, a file or OBS, into a virtual camera, a file, OBS or the panel."""
    from brushcast.config import RunConfig
    from brushcast.lifeline import watch_lifeline
    from brushcast.notice import Notice
    from brushcast.panel.access import read_or_make_token
    from brushcast.presets import find_preset, load_presets
    from brushcast.report import check_report_path, write_report
    from brushcast.supervisor import Supervisor
    from brushcast.wire.curve import client_keys
    from brushcast.wire.endpoint import parse_endpoint

    find_preset(preset, load_presets(user_presets_folder()))
    if worker != "local":
        where = parse_endpoint(worker)
        client_keys(keys_folder(), str(where), loopback=where.loopback)
    if report is not None:
        check_report_path(report)
    config = RunConfig(
        source=source, sinks=sinks or ("auto",), preset=preset, worker=worker, codec=codec,
        panel=None if panel == "off" else panel,
        panel_token="" if panel == "off" else read_or_make_token(user_folder() / "panel-token"),
        seconds=seconds, report=report,
        output_size=output_size, model_size=size, rate_fps=fps, fit=fit, steps=steps,
        engine=engine, device=device, badge=badge == "on", badge_corner=badge_corner,
        obs_audio=obs_audio, mode=mode, target_fps=target_fps,
    )  # fmt: skip
    if not as_json and sys.stdout.isatty():  # not where no person reads
        Notice(user_folder()).tell(click.echo)
    supervisor = Supervisor(
        config,
        user_presets=user_presets_folder(),
        user_folder=user_folder(),
        tell=lambda line: click.echo(line, err=as_json),
    )
    _on_signals(supervisor.stop)
    if lifeline:
        watch_lifeline(supervisor.stop)
    result = supervisor.run()
    if report is not None:
        write_report(result, report)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(
            f"{result['seconds']:.0f} s: {result['frames_out']} frames out at {result['fps']} fps, "
            f"{result['frames_styled']} styled at {result['styled_fps']} fps"
        )


def _on_signals(act: Callable[[], None]) -> None:
    """Ctrl-C and the like become a wish. As an exception it can get lost: in a callback from C or
    a finaliser Python prints it and goes on."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: act())


@cli.command()
@click.argument("source", metavar="INPUT", type=FILE)
@click.argument("target", metavar="OUTPUT", type=FILE)
@click.option("--preset", default="watercolour", help="The look.")
@click.option("--prompt", help="The look in words, instead of the preset's.")
@click.option("--strength", type=float, help="0 (barely touched) to 1 (free).")
@click.option("--size", type=SIZE, help="The size of the result; default: the input's.")
@click.option("--seed", type=int, help="Another seed, other strokes.")
@click.option(
    "--steps", type=click.IntRange(0, 8), default=0, help="Denoising steps; 0: automatic."
)
@click.option("--report", type=FILE, help="Write the figures as JSON.")
@click.option("--engine", default="pocket", help="The model.")
@click.option("--device", default="auto", help="auto, cpu, cuda, mps.")
@click.option("--overwrite/--no-overwrite", default=True, help="Replace an existing OUTPUT.")
@badge_options
@json_option
def restyle(
    source: Path, target: Path, preset: str, prompt: str | None, strength: float | None,
    size: Size | None, seed: int | None, steps: int, report: Path | None, engine: str,
    device: str, overwrite: bool, badge: str, badge_corner: Any, as_json: bool,
) -> None:  # fmt: skip
    """Restyle a whole video file, every frame of it."""
    from brushcast.presets import find_preset, load_presets
    from brushcast.report import check_report_path, write_report
    from brushcast.restyle import RestyleConfig, restyle_file

    look = find_preset(preset, load_presets(user_presets_folder()))
    look = look.changed(prompt=prompt, strength=strength, seed=seed)
    if report is not None:
        check_report_path(report)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists, and --no-overwrite was given")
    config = RestyleConfig(
        source=source,
        target=target,
        look=look,
        size=size,
        steps=steps,
        engine=engine,
        device=device,
        badge=badge_corner if badge == "on" else None,
        own_words=prompt is not None,
    )
    stop = threading.Event()
    _on_signals(stop.set)
    result = restyle_file(config, quiet=as_json, stop=stop)
    if report is not None:
        write_report(result, report)
    if result["remark"]:
        click.echo(f"{APP}: {result['remark']}", err=True)
    if as_json:
        click.echo(json.dumps(result))
    elif not result["complete"]:
        click.echo(f"Stopped after {result['frames_out']} frames; {target} is playable so far.")
    else:
        click.echo(
            f"{target}: {result['frames_out']} frames in {result['seconds']:.1f} s, "
            f"{result['styled_fps']:.1f} per second on {result['device']}"
        )
    if not result["complete"]:
        raise click.exceptions.Exit(130)


@cli.command()
@click.option("--engine", default="pocket", help="The model.")
@click.option("--size", type=SIZE, help="The size that is painted.")
@click.option(
    "--steps", type=click.IntRange(0, 8), default=0, help="Denoising steps; 0: automatic."
)
@click.option("--device", default="auto", help="auto, cpu, cuda, mps.")
@click.option(
    "--seconds", type=click.FloatRange(0.5, 600), default=8.0, help="How long to measure."
)
@click.option("--quality", is_flag=True, help="Measure the pictures instead of the speed.")
@click.option(
    "--clips", multiple=True, type=FILE, help="Of --quality: files or folders; default: ours."
)
@click.option("--styles", multiple=True, help="Of --quality: NAME or NAME,NAME; default: all.")
@click.option(
    "--pictures", type=int, default=0, help="Of --quality: of each clip; 0: 16 on a CPU, else 48."
)
@click.option(
    "--drift-seconds", type=float, default=10.0, help="Of --quality: of a looped clip; 0: none."
)
@click.option("--ablations", is_flag=True, help="Of --quality: parts switched off one by one.")
@click.option(
    "--out", type=FILE, default="brushcast-quality", help="Of --quality: report, contact sheets."
)
@json_option
def bench(
    engine: str, size: Size | None, steps: int, device: str, seconds: float, quality: bool,
    clips: tuple[Path, ...], styles: tuple[str, ...], pictures: int, drift_seconds: float,
    ablations: bool, out: Path, as_json: bool,
) -> None:  # fmt: skip
    """Measure the worker on this machine: pictures per second, and where the time goes.

    With --quality: how good the pictures are, each figure beside its bar. Calm (warp error by the
    source's own motion, flicker of still scenes, drift), sharpness, structure, faces, text, seeds,
    and how near the pictures are to the teachers. About three minutes for all looks on two quiet
    cores; --drift-seconds 600 takes 4 minutes more a look there, --ablations 3 minutes in all.
    """
    from brushcast.bench import print_bench, print_quality, run_bench, run_quality

    _check_bench(quality)
    if quality:
        result = run_quality(
            engine=engine, device=device, size=size, clips=clips, styles=styles, pictures=pictures,
            drift_seconds=drift_seconds, ablations=ablations, out=out,
            tell=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    else:
        result = run_bench(engine=engine, size=size, steps=steps, device=device, seconds=seconds)
    if as_json:
        click.echo(json.dumps(result))
    else:
        (print_quality if quality else print_bench)(result)


def _check_bench(quality: bool) -> None:
    """Options of one kind of bench are a mistake with the other. Raises ConfigError."""
    context = click.get_current_context()
    wrong = ("steps", "seconds") if quality else QUALITY_OPTIONS
    for name in wrong:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: wanted {'without' if quality else 'only with'} --quality")


cli.add_command(presets)
cli.add_command(models)
cli.add_command(pair)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """What this machine has, what is missing, and what to do about it."""
    from brushcast.doctor import examine, print_findings

    findings = examine(user_presets_folder())
    if as_json:
        click.echo(json.dumps(findings))
    else:
        print_findings(findings)
    if any(finding["state"] == "bad" for finding in findings):
        raise click.exceptions.Exit(1)


@cli.command("bridge-process", hidden=True)
def bridge_process() -> None:
    """The bridge, started by the supervisor."""
    from brushcast.bridge_process import main as bridge_main

    bridge_main()


@cli.command("camera-process", hidden=True)
def camera_process() -> None:
    """The camera process, started by the supervisor."""
    from brushcast.camera import main as camera_main

    camera_main()


if __name__ == "__main__":
    main()
